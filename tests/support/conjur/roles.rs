//! `/roles`: members and memberships, and grants without a policy load.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use super::answer::{Answer, Object};
use super::clock::stamp;
use super::core::{Caller, Core};
use super::graph::Membership;
use super::id::{self, Id};
use super::request::Asked;

pub(super) fn get(core: &Core, asked: &Asked, caller: &Caller, role: &Id) -> Answer {
    let state = core.view(asked);
    let Some(found) = state.resource(role).filter(|_| state.visible(&caller.role, role)) else {
        return Answer::missing(role);
    };
    let has = |name: &str| asked.parameter(name).is_some();
    let members = || state.graph.members(role).map(describe).collect::<Vec<Value>>();
    if has("memberships") {
        return Answer::json(200, &state.graph.memberships(role).map(describe).collect::<Vec<Value>>());
    }
    if has("all") {
        let mut all: Vec<Id> = state.graph.closure(role).iter().cloned().collect();
        all.sort();
        return Answer::json(200, &all.iter().map(|id| &**id).collect::<Vec<_>>());
    }
    if has("members") {
        return Answer::json(200, &members());
    }
    let mut fields = vec![("created_at", json!(stamp(found.created))), ("id", json!(&**role))];
    fields.extend(found.policy.as_ref().map(|policy| ("policy", json!(&**policy))));
    fields.push(("members", Value::Array(members())));
    Answer::json(200, &Object(fields))
}

/// `POST` and `DELETE /roles/{account}/{kind}/{id}?members&member=`.
pub(super) fn change(core: &Core, asked: &Asked, caller: &Caller, role: &Id) -> Answer {
    let state = core.view(asked);
    let Some(found) = state.resource(role).filter(|_| state.visible(&caller.role, role)) else {
        return Answer::missing(role);
    };
    let Some(member) = asked.parameter("member") else { return Answer::argument("member") };
    // With two colons it is a full id, even where they belong to the identifier.
    let full = if member.matches(':').count() < 2 { format!("{}:{member}", core.account) } else { member };
    let member: Id = full.into();
    let grant = asked.method == Method::POST;
    let policy = found.policy.clone().unwrap_or_else(|| Arc::clone(role));
    if !state.allowed(&caller.role, if grant { "create" } else { "update" }, &policy) {
        return Answer::head(403, asked);
    }
    if state.resource(&member).is_none() || (!grant && state.graph.get(role, &member, false).is_none()) {
        return Answer::missing(&member);
    }
    core.store.change(&core.clock, |state| {
        let graph = Arc::make_mut(&mut state.graph);
        if grant {
            let (role, member) = (Arc::clone(role), member);
            graph.add(Membership { role, member, admin: false, ownership: false, policy: None });
        } else {
            graph.remove(role, &member, false);
        }
    });
    Answer::no_content()
}

fn describe(edge: &Membership) -> Value {
    let mut fields = vec![
        ("admin_option", json!(edge.admin)),
        ("ownership", json!(edge.ownership)),
        ("role", json!(&*edge.role)),
        ("member", json!(&*edge.member)),
    ];
    fields.extend(edge.policy.as_ref().map(|policy| ("policy", json!(&**policy))));
    serde_json::to_value(Object(fields)).unwrap()
}

/// Kept beside the handlers: which of a role's parameters ask for a change.
pub(super) fn is_change(asked: &Asked) -> bool {
    matches!(asked.method, Method::POST | Method::DELETE)
        && asked.parameter("members").is_some()
        && id::is_role(&asked.pieces[2])
}
