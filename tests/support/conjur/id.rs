//! The ids of roles and resources, `account:kind:identifier`, and the logins that stand for them.

use std::sync::Arc;

/// A full id; shared, because every grant and permission repeats it.
pub(super) type Id = Arc<str>;

/// The full id of a record.
pub(super) fn full(account: &str, kind: &str, identifier: &str) -> Id {
    format!("{account}:{kind}:{identifier}").into()
}

/// Account, kind and identifier. Only the first two colons divide: an identifier may hold more.
pub(super) fn parts(id: &str) -> (&str, &str, &str) {
    let mut parts = id.splitn(3, ':');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

pub(super) fn kind(id: &str) -> &str {
    parts(id).1
}

pub(super) fn identifier(id: &str) -> &str {
    parts(id).2
}

/// Whether records of this kind can be members, owners and subjects.
pub(super) fn is_role(kind: &str) -> bool {
    matches!(kind, "user" | "host" | "group" | "layer" | "policy")
}

/// The role behind a login: `host/…` or the bare name of a user.
pub(super) fn of_login(account: &str, login: &str) -> Id {
    match login.split_once('/') {
        Some((kind @ ("host" | "user"), rest)) => full(account, kind, rest),
        _ => full(account, "user", login),
    }
}

/// The login of a role, as it stands in a token.
pub(super) fn login(id: &str) -> String {
    match parts(id) {
        (_, "user", name) => name.to_owned(),
        (_, kind, identifier) => format!("{kind}/{identifier}"),
    }
}

/// How the server's sentences name a kind: the first letter large, whatever it is.
pub(super) fn title(kind: &str) -> String {
    let mut letters = kind.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The sentence for a record that is not there, or that the caller must not know of.
pub(super) fn missing(id: &str) -> String {
    let (account, kind, identifier) = parts(id);
    format!("{} '{identifier}' not found in account '{account}'", title(kind))
}
