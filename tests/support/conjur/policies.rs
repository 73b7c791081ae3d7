//! `/policies`: who may load, what the text must be, one load at a time for a branch, and dry runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Object};
use super::core::{Caller, Core};
use super::id::{self, Id};
use super::load::{Load, Mode, count};
use super::request::Asked;
use super::state::State;
use super::statement::{self, Statement};
use super::yaml::Fault;

pub(super) async fn load(core: &Core, asked: &Asked, caller: &Caller, branch: &Id) -> Answer {
    let mode = match asked.method {
        Method::POST => Mode::Add,
        Method::PATCH => Mode::Change,
        _ => Mode::Replace,
    };
    if let Err(answer) = may(&core.view(asked), asked, caller, branch, mode) {
        return answer;
    }
    let dry = asked.parameter("dryRun").is_some_and(|dry| dry == "true");
    let text = String::from_utf8_lossy(&asked.body).into_owned();
    if text.trim().is_empty() {
        return invalid("is not present");
    }
    let statements = match statement::read(&core.account, id::identifier(branch), &text) {
        Ok(statements) => statements,
        Err(fault) if dry => return not_valid(&fault, branch, &text),
        Err(fault) => return refused(&fault),
    };
    let deletes = |statement: &Statement| {
        matches!(statement, Statement::Delete { .. } | Statement::Deny { .. } | Statement::Revoke { .. })
    };
    if mode == Mode::Add && statements.iter().any(deletes) {
        return invalid("may not contain deletion statements");
    }
    if dry {
        return dry_run(core, asked, branch, mode, &statements, &text);
    }
    let Some(_loading) = core.begin_load(branch).await else {
        let mut random = [0];
        getrandom::fill(&mut random).unwrap();
        let told = "Concurrent policy load in progress, please retry";
        return Answer::error(409, "policy_conflict", told).header("Retry-After", (1 + random[0] % 8).to_string());
    };
    core.pause(asked).await;
    let time = core.tuning().load_time;
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
    match commit(core, branch, mode, &statements, &text, &caller.role) {
        Ok((version, keys)) => {
            let mut created = Map::new();
            for (role, key) in keys {
                created.insert(role.to_string(), json!({"id": &*role, "api_key": &*key}));
            }
            Answer::json(201, &Object(vec![("created_roles", Value::Object(created)), ("version", json!(version))]))
        }
        Err(Some(told)) => Answer::error(422, "policy_invalid", told),
        Err(None) => Answer::outside(500, asked),
    }
}

/// What a load leaves behind: its number, and the keys of the roles that it made.
type Committed = (u64, Vec<(Id, Arc<str>)>);

/// Applies a text as a whole or not at all. No error text means that the branch is gone.
pub(super) fn commit(
    core: &Core,
    branch: &Id,
    mode: Mode,
    statements: &[Statement],
    text: &str,
    role: &Id,
) -> Result<Committed, Option<String>> {
    let now = core.clock.unix();
    core.store.attempt(&core.clock, |state| {
        // Deleted by a load into the parent meanwhile: the real server runs into its own database here.
        if state.resource(branch).is_none() {
            return Err(None);
        }
        let mut load = Load::new(branch, mode, now);
        load.apply(state, statements).map_err(Some)?;
        let version = count(state, branch, text, role, now);
        if state.resource(branch).is_none() {
            // The load has deleted its own branch, and the count goes with it.
            Arc::make_mut(&mut state.policies).remove(branch);
        }
        let keys = load.created.iter().filter_map(|role| Some((Arc::clone(role), Arc::clone(state.keys.get(role)?))));
        Ok((version, keys.collect()))
    })
}

/// The privilege on the branch counts and nothing else; a replacing load needs it on all policies below as well.
fn may(state: &State, asked: &Asked, caller: &Caller, branch: &Id, mode: Mode) -> Result<(), Answer> {
    if !state.visible(&caller.role, branch) {
        return Err(Answer::missing(branch));
    }
    let privilege = if mode == Mode::Add { "create" } else { "update" };
    let below = format!("{branch}/");
    let all = state
        .resources
        .range(Arc::<str>::from(below.as_str())..)
        .map(|(id, _)| id)
        .take_while(|id| id.starts_with(&below));
    let all: Vec<&Id> = if mode == Mode::Replace { all.collect() } else { Vec::new() };
    let allowed = |policy: &Id| state.allowed(&caller.role, privilege, policy);
    if allowed(branch) && all.into_iter().all(allowed) { Ok(()) } else { Err(Answer::head(403, asked)) }
}

fn invalid(told: &str) -> Answer {
    let message = format!("policy_text {told}");
    let detail = json!({"code": "validation_failed", "target": "policy_text", "message": told});
    Answer::json(422, &json!({"error": {"code": "validation_failed", "message": message, "details": [detail]}}))
}

fn refused(fault: &Fault) -> Answer {
    let Some(place) = fault.place else { return Answer::error(422, "policy_invalid", &*fault.message) };
    let (line, column) = (place.line, place.column);
    let message = format!("Error at line {line}, column {column} in policy : {}", fault.message);
    let inner = json!({"code": "policy_invalid", "filename": "policy", "line": line, "column": column});
    Answer::json(422, &json!({"error": {"code": "policy_invalid", "message": message, "innererror": inner}}))
}

fn not_valid(fault: &Fault, branch: &Id, text: &str) -> Answer {
    let place = fault.place.unwrap_or(super::yaml::Place { line: text.lines().count(), column: 0 });
    let context = json!({"policy_id": id::identifier(branch), "offending_lines": [place.line]});
    let error = Object(vec![
        ("line", json!(place.line)),
        ("column", json!(place.column)),
        ("message", json!(format!("{}\n", fault.message))),
        ("context", context),
    ]);
    let errors = json!([serde_json::to_value(error).unwrap()]);
    Answer::json(422, &Object(vec![("status", json!("Invalid YAML")), ("errors", errors)]))
}

/// What a load would make and take, without a trace of it.
fn dry_run(core: &Core, asked: &Asked, branch: &Id, mode: Mode, statements: &[Statement], text: &str) -> Answer {
    let before = core.view(asked);
    let mut after = State::clone(&before);
    let mut load = Load::new(branch, mode, core.clock.unix());
    if let Err(told) = load.apply(&mut after, statements) {
        return not_valid(&Fault::new(told), branch, text);
    }
    let created = load.made.iter().filter_map(|id| Some(item(&after, after.resource(id)?)));
    let gone = before.resources.values().filter(|one| after.resource(&one.id).is_none());
    let changed = before.resources.values().filter(|one| {
        after.resource(&one.id).is_some_and(|now| now.owner != one.owner || now.annotations != one.annotations)
    });
    let changed: Vec<_> =
        changed.map(|one| (item(&before, one), after.resource(&one.id).map(|now| item(&after, now)))).collect();
    let (old, new): (Vec<Value>, Vec<Option<Value>>) = changed.into_iter().unzip();
    Answer::json(
        200,
        &Object(vec![
            ("status", json!("Valid YAML")),
            ("created", json!({"items": created.collect::<Vec<_>>()})),
            ("updated", json!({"before": {"items": old}, "after": {"items": new}})),
            ("deleted", json!({"items": gone.map(|one| item(&before, one)).collect::<Vec<_>>()})),
        ]),
    )
}

fn item(state: &State, one: &super::state::Resource) -> Value {
    let mut permitted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (role, privilege) in state.permissions.get(&one.id).into_iter().flat_map(BTreeMap::keys) {
        permitted.entry(privilege.to_string()).or_default().push(role.to_string());
    }
    let annotations: BTreeMap<&str, &str> =
        one.annotations.iter().map(|(name, (value, _))| (&**name, &**value)).collect();
    json!({
        "identifier": &*one.id,
        "id": id::identifier(&one.id),
        "type": id::kind(&one.id),
        "owner": &*one.owner,
        "policy": one.policy.as_deref(),
        "permitted": permitted,
        "annotations": annotations,
    })
}
