//! Logins by API key: `login`, `authenticate` and the rotation of keys.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;

use super::answer::Answer;
use super::core::Core;
use super::id::{self, Id};
use super::request::Asked;
use super::state::State;

/// `POST /authn/{account}/{login}/authenticate`: the body is the key, byte for byte.
pub(super) fn authenticate(core: &Core, asked: &Asked, account: &str, login: &str) -> Answer {
    if asked.method != Method::POST {
        return Answer::outside(404, asked);
    }
    let state = core.view(asked);
    let role = id::of_login(account, login);
    match state.keys.get(&role) {
        Some(key) if key.as_bytes() == &asked.body[..] && welcome(&state, &role, asked) => token(core, asked, &role),
        _ => Answer::head(401, asked),
    }
}

/// A token for a role that has shown who it is.
pub(super) fn token(core: &Core, asked: &Asked, role: &Id) -> Answer {
    let token = core.tokens.issue(&id::login(role), core.clock.unix(), core.tuning().token_ttl);
    let wanted = asked.header("accept-encoding").unwrap_or_default();
    if wanted.split(',').any(|one| one.trim().eq_ignore_ascii_case("base64")) {
        return Answer::plain(super::token::encode(&token)).header("Content-Encoding", "base64");
    }
    Answer::typed("application/json; charset=utf-8", token)
}

/// `GET /authn/{account}/login`: a key for a name and, as its password, the key.
pub(super) fn login(core: &Core, asked: &Asked, account: &str) -> Answer {
    if !asked.is(&Method::GET) {
        return Answer::outside(404, asked);
    }
    let state = core.view(asked);
    match basic(&state, asked, account) {
        Some((_, key)) => Answer::plain(key.to_string()),
        None => Answer::head(401, asked),
    }
}

/// `PUT /authn/{account}/api_key`: the own key by name and key, another one's by a token.
pub(super) fn rotate(core: &Core, asked: &Asked, account: &str) -> Answer {
    let state = core.view(asked);
    let target = match asked.parameter("role") {
        None => match basic(&state, asked, account) {
            Some((role, _)) => role,
            None if core.caller(asked).is_ok() => {
                return Answer::error(401, "unauthorized", "Credential strength is insufficient");
            }
            None => return Answer::head(401, asked),
        },
        Some(role) => {
            let caller = match core.caller(asked) {
                Ok(caller) => caller,
                Err(answer) => return answer,
            };
            let full: Id = if role.matches(':').count() < 2 { format!("{account}:{role}").into() } else { role.into() };
            if !state.visible(&caller.role, &full) {
                let message = format!("CONJ00123E Resource '{full}' requested by role '{}' not found", caller.role);
                return Answer::error(404, "not_found", message);
            }
            if !state.allowed(&caller.role, "update", &full) {
                return Answer::head(403, asked);
            }
            full
        }
    };
    let key = super::token::api_key();
    core.store.change(&core.clock, |state| Arc::make_mut(&mut state.keys).insert(target, key.as_str().into()));
    Answer::plain(key)
}

fn basic(state: &State, asked: &Asked, account: &str) -> Option<(Id, Arc<str>)> {
    let given = STANDARD.decode(asked.header("authorization")?.strip_prefix("Basic ")?).ok()?;
    let (name, secret) = std::str::from_utf8(&given).ok()?.split_once(':')?;
    let role = id::of_login(account, name);
    let key = state.keys.get(&role).filter(|key| &***key == secret)?;
    Some((role, Arc::clone(key)))
}

/// Whether the address may act as the role, where the policy restricts it.
pub(super) fn welcome(state: &State, role: &Id, asked: &Asked) -> bool {
    let Some(found) = state.resource(role) else { return false };
    // The real server trusts a proxy on its own machine to tell the address.
    let told = asked.header("x-forwarded-for").and_then(|told| told.split(',').next()?.trim().parse().ok());
    let address: IpAddr = told.unwrap_or(asked.peer);
    found.restricted_to.is_empty() || found.restricted_to.iter().any(|range| within(address, range))
}

fn within(address: IpAddr, range: &str) -> bool {
    let (base, bits) = range.split_once('/').unwrap_or((range, "32"));
    match (address, base.parse(), bits.parse::<u32>()) {
        (IpAddr::V4(address), Ok(IpAddr::V4(base)), Ok(bits @ 0..=32)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(address) & mask == u32::from(base) & mask
        }
        _ => false,
    }
}
