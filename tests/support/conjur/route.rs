//! From a request to its handler: what needs no token, then the token, then everything else.

use std::sync::Arc;

use http::Method;
use serde_json::json;

use super::answer::{Answer, Object};
use super::core::{Caller, Core};
use super::id;
use super::log::{Kind, Side};
use super::request::{Asked, BadPath};
use super::{authn, info, jwt, policies, resources, roles, secrets};

/// Beyond these the web server itself refuses.
const QUERY_LIMIT: usize = 10_240;
const PATH_LIMIT: usize = 8_192;

pub(super) async fn answer(core: &Arc<Core>, asked: &Asked) -> Answer {
    if core.tuning().target_limit.is_some_and(|limit| asked.target().len() > limit) {
        return Answer::too_long(414);
    }
    if asked.query.as_ref().is_some_and(|query| query.len() > QUERY_LIMIT) || asked.path.len() > PATH_LIMIT {
        return Answer::too_long(400);
    }
    // These two wait only when they are about to do something.
    if !matches!(asked.kind(), Kind::Write | Kind::PolicyLoad) {
        core.pause(asked).await;
    }
    let done = match open(core, asked) {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => known(core, asked).await,
        Err(bad) => Err(bad),
    };
    match done {
        Ok(answer) => answer,
        Err(BadPath::Encoding) => {
            let mut answer = Answer::outside(400, asked);
            answer.body = bytes::Bytes::new();
            answer
        }
        Err(BadPath::Byte) => Answer::argument("string contains null byte"),
    }
}

/// What is answered without a token, or with a check of its own.
fn open(core: &Core, asked: &Asked) -> Result<Option<Answer>, BadPath> {
    let piece = |at: usize| asked.piece(at);
    Ok(match asked.pieces().as_slice() {
        [] if asked.is(&Method::GET) => Some(info::root(asked)),
        ["authenticators"] if asked.is(&Method::GET) => Some(info::authenticators(core, asked)),
        ["authn", _, "login"] => Some(authn::login(core, asked, &piece(1)?)),
        ["authn", _, "api_key"] if asked.method == Method::PUT => {
            Some(writable(asked, || authn::rotate(core, asked, &piece_or(asked, 1))))
        }
        ["authn", _, "status"] if asked.is(&Method::GET) => Some(info::no_status("authn")),
        ["authn", _, _, "authenticate"] => Some(authn::authenticate(core, asked, &piece(1)?, &piece(2)?)),
        ["authn-jwt", _, _, "status"] if asked.is(&Method::GET) => {
            Some(jwt::status(core, asked, &piece(1)?, &piece(2)?))
        }
        ["authn-jwt", _, _, "authenticate"] => Some(jwt::authenticate(core, asked, &piece(1)?, &piece(2)?, None)),
        ["authn-jwt", _, _, _, "authenticate"] => {
            Some(jwt::authenticate(core, asked, &piece(1)?, &piece(2)?, Some(&piece(3)?)))
        }
        // A slash that is not encoded makes another route of a login: an authenticator that nobody has enabled.
        [first, .., "authenticate"] if first.starts_with("authn") && asked.method == Method::POST => {
            Some(Answer::head(401, asked))
        }
        [first, ..] if first.starts_with("authn") && asked.method != Method::PATCH => Some(Answer::outside(404, asked)),
        _ => None,
    })
}

fn piece_or(asked: &Asked, at: usize) -> String {
    asked.piece(at).unwrap_or_default()
}

/// What needs a token. It is checked before anybody looks whether there is such a path.
async fn known(core: &Core, asked: &Asked) -> Result<Answer, BadPath> {
    let caller = match core.caller(asked) {
        Ok(caller) => caller,
        Err(answer) => return Ok(answer),
    };
    let pieces = asked.pieces();
    if pieces.as_slice() == ["whoami"] && asked.is(&Method::GET) {
        return Ok(info::whoami(core, asked, &caller));
    }
    if !exists(asked) {
        return Ok(Answer::outside(404, asked));
    }
    let writes = !asked.is(&Method::GET);
    if writes && asked.side == Side::Follower {
        return Ok(read_only());
    }
    // The token outlives its role, but says nothing any more.
    if core.view(asked).resource(&caller.role).is_none() {
        return Ok(Answer::head(403, asked));
    }
    handle(core, asked, &caller).await
}

fn exists(asked: &Asked) -> bool {
    let (method, get) = (&asked.method, asked.is(&Method::GET));
    match asked.pieces().as_slice() {
        ["secrets"] | ["resources", _, ..] => get,
        ["secrets", _, "variable", _, ..] => get || *method == Method::POST,
        ["policies", _, "policy", _, ..] => matches!(*method, Method::POST | Method::PATCH | Method::PUT),
        ["roles", _, _, _, ..] => get || roles::is_change(asked),
        ["authn-jwt", _, _] => *method == Method::PATCH,
        _ => false,
    }
}

async fn handle(core: &Core, asked: &Asked, caller: &Caller) -> Result<Answer, BadPath> {
    let get = asked.is(&Method::GET);
    Ok(match asked.pieces().as_slice() {
        ["secrets"] => secrets::batch(core, asked, caller),
        ["secrets", ..] => {
            let variable = id::full(&asked.piece(1)?, "variable", &asked.identifier(3)?);
            if get {
                secrets::get(core, asked, caller, &variable)
            } else {
                secrets::set(core, asked, caller, &variable).await
            }
        }
        ["policies", ..] => {
            let branch = id::full(&asked.piece(1)?, "policy", &asked.identifier(3)?);
            Box::pin(policies::load(core, asked, caller, &branch)).await
        }
        ["resources", _] => resources::list(core, asked, caller, &asked.piece(1)?, None),
        ["resources", _, _] => resources::list(core, asked, caller, &asked.piece(1)?, Some(asked.piece(2)?)),
        ["resources", ..] => {
            let resource = id::full(&asked.piece(1)?, &asked.piece(2)?, &asked.identifier(3)?);
            resources::show(core, asked, caller, &resource)
        }
        ["roles", ..] => {
            let role = id::full(&asked.piece(1)?, &asked.piece(2)?, &asked.identifier(3)?);
            if get { roles::get(core, asked, caller, &role) } else { roles::change(core, asked, caller, &role) }
        }
        _ => jwt::enable(core, asked, caller, &asked.piece(1)?, &asked.piece(2)?),
    })
}

fn writable(asked: &Asked, write: impl FnOnce() -> Answer) -> Answer {
    if asked.side == Side::Follower { read_only() } else { write() }
}

/// What a follower says to a write, with a number where other errors have a word.
fn read_only() -> Answer {
    let error = Object(vec![("code", json!(405)), ("message", json!("Write operations are not allowed"))]);
    Answer::json(405, &Object(vec![("error", serde_json::to_value(error).unwrap())]))
}
