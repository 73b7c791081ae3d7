//! `/resources`: one with its metadata, lists, and permission checks. Values are never in it.

use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::answer::{Answer, Object};
use super::clock::stamp;
use super::core::{Caller, Core};
use super::id::{self, Id};
use super::request::Asked;
use super::search;
use super::state::{Resource, State};

/// The most that one list gives.
const LIMIT: i64 = 1000;

/// `GET /resources/{account}/{kind}/{id}`, with `check` and `permitted_roles`.
pub(super) fn show(core: &Core, asked: &Asked, caller: &Caller, resource: &Id) -> Answer {
    let state = core.view(asked);
    if asked.parameter("check").is_some_and(|check| check == "true") {
        return check(&state, asked, caller, resource);
    }
    if !state.visible(&caller.role, resource) {
        return Answer::missing(resource);
    }
    if asked.parameter("permitted_roles").is_some_and(|wanted| wanted == "true") {
        let Some(privilege) = asked.parameter("privilege") else { return Answer::argument("privilege") };
        let roles =
            state.resources.keys().filter(|id| id::is_role(id::kind(id)) && state.allowed(id, &privilege, resource));
        return Answer::json(200, &roles.map(|id| &**id).collect::<Vec<_>>());
    }
    match state.resource(resource) {
        Some(found) => Answer::json(200, &describe(&state, found)),
        None => Answer::missing(resource),
    }
}

fn check(state: &State, asked: &Asked, caller: &Caller, resource: &Id) -> Answer {
    let role = match asked.parameter("role") {
        None => Arc::clone(&caller.role),
        Some(role) => {
            let role = Arc::from(role);
            if !acts_for(state, caller, &role) {
                return Answer::head(403, asked);
            }
            role
        }
    };
    if !state.visible(&caller.role, resource) {
        return Answer::missing(resource);
    }
    let Some(privilege) = asked.parameter("privilege") else { return Answer::argument("privilege") };
    if state.allowed(&role, &privilege, resource) { Answer::no_content() } else { Answer::head(404, asked) }
}

/// Whether the caller may look with the eyes of another role: as its owner.
fn acts_for(state: &State, caller: &Caller, role: &Id) -> bool {
    *role == caller.role || (state.resource(role).is_some() && state.graph.closure(&caller.role).contains(role))
}

/// `GET /resources/{account}[/{kind}]`.
pub(super) fn list(core: &Core, asked: &Asked, caller: &Caller, account: &str, kind: Option<String>) -> Answer {
    let state = core.view(asked);
    let wrong = |message: &str| Answer::error(422, "unprocessable_entity", message);
    let limit = match asked.parameter("limit").map(|limit| limit.parse::<i64>()) {
        None => None,
        Some(Ok(limit)) if limit > LIMIT => return wrong("'Limit' parameter must not exceed 1000"),
        Some(Ok(limit @ 1..)) => Some(limit),
        _ => return wrong("'limit' contains an invalid value. 'limit' must be a positive integer."),
    };
    let offset = match asked.parameter("offset").map(|offset| offset.parse::<usize>()) {
        None => None,
        Some(Ok(offset)) => Some(offset),
        Some(Err(_)) => {
            return wrong(
                "'offset' contains an invalid value. 'offset' must be an integer greater than or equal to 0.",
            );
        }
    };
    let role = match asked.parameter("acting_as").or_else(|| asked.parameter("role")) {
        None => Arc::clone(&caller.role),
        Some(role) => {
            let role = Arc::from(role);
            if !acts_for(&state, caller, &role) {
                return Answer::head(403, asked);
            }
            role
        }
    };
    let kind = kind.or_else(|| asked.parameter("kind"));
    let owner = asked.parameter("owner");
    let query = asked.parameter("search").map(|text| search::words(&text));
    let prefix = match &kind {
        Some(kind) => format!("{account}:{kind}:"),
        None => format!("{account}:"),
    };
    let found = state
        .resources
        .range(Arc::<str>::from(prefix.as_str())..)
        .take_while(|(id, _)| id.starts_with(&prefix))
        .map(|(_, found)| found)
        .filter(|found| owner.as_deref().is_none_or(|owner| *found.owner == *owner))
        .filter(|found| query.as_ref().is_none_or(|words| search::matches(found, words)))
        .filter(|found| state.visible(&role, &found.id));
    if asked.parameter("count").is_some_and(|count| count == "true") {
        return Answer::json(200, &json!({"count": found.count()}));
    }
    let limit = limit.unwrap_or(if offset.is_some() { 10 } else { LIMIT });
    let limit = usize::try_from(limit).unwrap();
    let page: Vec<Object> = found.skip(offset.unwrap_or(0)).take(limit).map(|found| describe(&state, found)).collect();
    Answer::json(200, &page)
}

fn describe(state: &State, one: &Resource) -> Object {
    let mut fields =
        vec![("created_at", json!(stamp(one.created))), ("id", json!(&*one.id)), ("owner", json!(&*one.owner))];
    if let Some(policy) = &one.policy {
        fields.push(("policy", json!(&**policy)));
    }
    let permissions = state.permissions.get(&one.id).into_iter().flatten().map(|((role, privilege), policy)| {
        let mut permission = vec![("privilege", json!(&**privilege)), ("role", json!(&**role))];
        permission.extend(policy.as_ref().map(|policy| ("policy", json!(&**policy))));
        serde_json::to_value(Object(permission)).unwrap()
    });
    fields.push(("permissions", permissions.collect()));
    let annotations = one
        .annotations
        .iter()
        .map(|(name, (value, policy))| json!({"name": name, "value": value, "policy": &**policy}));
    fields.push(("annotations", annotations.collect()));
    match id::kind(&one.id) {
        "variable" => fields.push(("secrets", versions(state, one))),
        "policy" => fields.push(("policy_versions", texts(state, one))),
        "host" | "user" if !one.restricted_to.is_empty() => fields.push(("restricted_to", json!(one.restricted_to))),
        _ => {}
    }
    Object(fields)
}

fn versions(state: &State, one: &Resource) -> Value {
    let kept = state.secrets.get(&one.id).into_iter().flat_map(|found| &found.kept);
    kept.map(|(version, _)| json!({"version": version, "expires_at": null})).collect()
}

fn texts(state: &State, one: &Resource) -> Value {
    let kept = state.policies.get(&one.id).into_iter().flatten().map(|kept| {
        let digest = Sha256::digest(kept.text.as_bytes());
        json!({
            "version": kept.version,
            "created_at": stamp(kept.loaded),
            "policy_text": &*kept.text,
            "policy_sha256": digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
            "finished_at": stamp(kept.loaded),
            "client_ip": "127.0.0.1",
            "id": &*one.id,
            "role": &*kept.role,
        })
    });
    kept.collect()
}
