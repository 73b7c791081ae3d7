//! `backend`: which one, and the keys of each.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::reader::Reader;
use super::{BackendConfig, EmbeddedConfig, IdentityConfig, KubernetesConfig, conjur};

const GATEWAY: &str = "gateway is not part of this version; use conjur, kubernetes or embedded";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Embedded,
    Kubernetes,
    Conjur,
}

/// The backend, and whether it was to be Conjur, which other keys depend on even where this one has mistakes.
pub(super) fn read(reader: &mut Reader<'_>, identity: Option<&IdentityConfig>) -> (Option<BackendConfig>, bool) {
    let kind = kind(reader);
    (of_kind(reader, kind, identity), kind == Some(Kind::Conjur))
}

fn kind(reader: &mut Reader<'_>) -> Option<Kind> {
    let schema = json!({"enum": ["embedded", "kubernetes", "conjur"], "description": "Where values live."});
    let kind = match reader.value("backend.kind", schema).map(Value::as_str) {
        None => None,
        Some(Some("embedded")) => Some(Kind::Embedded),
        Some(Some("kubernetes")) => Some(Kind::Kubernetes),
        Some(Some("conjur")) => Some(Kind::Conjur),
        Some(name) => {
            let what = if name == Some("gateway") { GATEWAY } else { "must be embedded, kubernetes or conjur" };
            reader.problem("backend.kind", what);
            None
        }
    };
    let kind = reader.required("backend.kind", kind, "is missing; write kubernetes, conjur or embedded");
    if reader.value("backend.gateway", json!(false)).is_some() {
        reader.problem("backend.gateway", GATEWAY);
    }
    kind
}

fn of_kind(reader: &mut Reader<'_>, kind: Option<Kind>, identity: Option<&IdentityConfig>) -> Option<BackendConfig> {
    let embedded = embedded(reader, kind == Some(Kind::Embedded));
    let kubernetes = kubernetes(reader, kind == Some(Kind::Kubernetes));
    let conjur = conjur::read(reader);
    match kind {
        Some(Kind::Conjur) => {
            let conjur = conjur.check(reader, identity)?;
            return Some(BackendConfig::Conjur(Box::new(conjur)));
        }
        _ if conjur.is_given() => {
            reader.problem("backend.conjur", "stands without `kind: conjur`; add it, or take the key away");
        }
        _ => {}
    }
    match kind? {
        Kind::Embedded => embedded.map(BackendConfig::Embedded),
        Kind::Kubernetes => kubernetes.map(BackendConfig::Kubernetes),
        Kind::Conjur => None,
    }
}

fn embedded(reader: &mut Reader<'_>, chosen: bool) -> Option<EmbeddedConfig> {
    const FILE: &str = "backend.embedded.file";
    const KEY: &str = "backend.embedded.keyFile";
    let file = reader.absolute(FILE, "The store; made with mode 0600 where it is missing.");
    let key = reader.absolute(KEY, "The store's key; made once with mode 0600.");
    if !chosen {
        for (path, given) in [(FILE, file.is_some()), (KEY, key.is_some())] {
            if given {
                reader.problem(path, "stands without `kind: embedded`; add it, or take the key away");
            }
        }
        return None;
    }
    let file = reader.required(FILE, file, "is missing; give the path of the store");
    let key_file = reader.required(KEY, key, "is missing; give the path of the store's key");
    Some(EmbeddedConfig { file: file?, key_file: key_file? })
}

fn kubernetes(reader: &mut Reader<'_>, chosen: bool) -> Option<KubernetesConfig> {
    let scope = [
        (
            "backend.kubernetes.labels.environment",
            "cp.ei.telekom.de/environment",
            "The label that says which environment.",
        ),
        ("backend.kubernetes.labels.team", "cp.ei.telekom.de/team", "The label that says which team."),
        (
            "backend.kubernetes.labels.application",
            "cp.ei.telekom.de/application",
            "The label that says which application.",
        ),
    ];
    let mut given = false;
    let mut text = |reader: &mut Reader<'_>, path, default: &str, description: &str| {
        let schema =
            json!({"type": "string", "default": default, "description": format!("{description} \"\" for none.")});
        match reader.value(path, schema) {
            None => default.to_owned(),
            Some(value) => {
                given = true;
                let name = value.as_str().filter(|name| name.is_empty() || is_qualified(name));
                if name.is_none() {
                    reader.problem(path, "must be a name such as example.com/name, or \"\"");
                }
                name.unwrap_or(default).to_owned()
            }
        }
    };
    let [environment, team, application] = scope.map(|(path, default, what)| text(reader, path, default, what));
    let finalizer = text(
        reader,
        "backend.kubernetes.finalizer",
        "secret-manager/finalizer",
        "The finalizer that keeps a Secret from being deleted by hand.",
    );
    let fixed_labels = fixed(reader);
    let create_namespaces = reader.flag(
        "backend.kubernetes.createNamespaces",
        false,
        "Whether onboarding makes a missing namespace; it needs the right to.",
    );
    if !chosen {
        if given || create_namespaces {
            reader.problem("backend.kubernetes", "stands without `kind: kubernetes`; add it, or take the key away");
        }
        return None;
    }
    Some(KubernetesConfig { environment, team, application, fixed_labels, finalizer, create_namespaces })
}

fn fixed(reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    const PATH: &str = "backend.kubernetes.labels.fixed";
    let default = json!({"app.kubernetes.io/managed-by": "secret-manager"});
    let schema = json!({
        "type": "object", "additionalProperties": {"type": "string"}, "default": default,
        "description": "Labels with the same value on each Secret.",
    });
    let value = reader.value(PATH, schema).unwrap_or(&default).clone();
    let Value::Object(members) = value else {
        reader.problem(PATH, "must be a map of label to value");
        return BTreeMap::new();
    };
    let mut labels = BTreeMap::new();
    for (name, value) in members {
        match value.as_str().filter(|value| is_label_value(value) && is_qualified(&name)) {
            Some(value) => drop(labels.insert(name, value.to_owned())),
            None => reader.problem(PATH, "there is an entry that is no label"),
        }
    }
    labels
}

/// A label's or finalizer's name: an optional DNS subdomain and `/`, then at most 63 of letters, digits, `-`, `_`, `.`
/// (Kubernetes, "Labels and Selectors", syntax).
fn is_qualified(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let subdomain = |prefix: &str| {
        prefix.len() <= 253
            && prefix.split('.').all(|label| {
                !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            })
    };
    prefix.is_none_or(subdomain) && !name.is_empty() && is_label_value(name)
}

fn is_label_value(text: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && ends(text.as_bytes().first())
        && ends(text.as_bytes().last())
}
