//! Values: one, several at once, and a new one.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::core::{Caller, Core};
use super::id::Id;
use super::request::Asked;

/// `GET /secrets/{account}/variable/{id}`.
pub(super) fn get(core: &Core, asked: &Asked, caller: &Caller, variable: &Id) -> Answer {
    let state = core.view(asked);
    let version = match asked.parameter("version") {
        None => None,
        Some(text) => {
            let digits = text.strip_prefix('-').unwrap_or(&text);
            if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
                return Answer::argument("invalid type for parameter 'version'");
            }
            match text.parse::<i64>() {
                Ok(version) => Some(version),
                // Too large for the database.
                Err(_) => return Answer::outside(500, asked),
            }
        }
    };
    if !state.visible(&caller.role, variable) {
        return Answer::no_value(variable);
    }
    if !state.allowed(&caller.role, "execute", variable) {
        return Answer::head(403, asked);
    }
    let kept = state.secrets.get(variable);
    let found = match version {
        None => kept.and_then(|kept| kept.kept.back()),
        Some(wanted) => {
            kept.and_then(|kept| kept.kept.iter().find(|(version, _)| u64::try_from(wanted) == Ok(*version)))
        }
    };
    let Some((_, value)) = found else { return Answer::no_value(variable) };
    let mime = state.resource(variable).and_then(|found| found.annotations.get("conjur/mime_type"));
    Answer::typed(mime.map_or("application/octet-stream", |(mime, _)| mime), value.clone())
        .header("Content-Disposition", "attachment")
        .header("Content-Transfer-Encoding", "binary")
}

/// `POST /secrets/{account}/variable/{id}`: the body, whatever it is called, is the value.
pub(super) async fn set(core: &Core, asked: &Asked, caller: &Caller, variable: &Id) -> Answer {
    let refused = || {
        let state = core.view(asked);
        if !state.visible(&caller.role, variable) {
            return Some(Answer::missing(variable));
        }
        (!state.allowed(&caller.role, "update", variable)).then(|| Answer::head(403, asked))
    };
    if let Some(answer) = refused() {
        return answer;
    }
    if asked.query.as_deref().is_some_and(|query| query.split('&').any(|one| one == "expirations")) {
        return Answer::head(201, asked);
    }
    if asked.body.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)) {
        return Answer::argument("'value' may not be empty");
    }
    let writing = core.begin_write(variable);
    core.pause(asked).await;
    if let Some(answer) = refused() {
        return answer;
    }
    if writing.is_none() {
        return Answer::outside(500, asked);
    }
    core.store.change(&core.clock, |state| state.set_value(variable, asked.body.clone()));
    Answer::head(201, asked)
}

/// `GET /secrets?variable_ids=`: all of them or none.
pub(super) fn batch(core: &Core, asked: &Asked, caller: &Caller) -> Answer {
    let given = asked.parameter("variable_ids").or_else(|| asked.parameter("variable_ids[]")).unwrap_or_default();
    // One comma at the end is no element.
    let ids: Vec<&str> = given.strip_suffix(',').unwrap_or(&given).split(',').collect();
    if ids.iter().any(|id| id.trim().is_empty()) {
        return Answer::argument("variable_ids");
    }
    let state = core.view(asked);
    let found: Vec<Option<&Id>> = ids.iter().map(|id| state.resources.get_key_value(*id).map(|(id, _)| id)).collect();
    let found: Vec<Option<&Id>> =
        found.into_iter().map(|id| id.filter(|id| super::id::kind(id) == "variable")).collect();
    if found.iter().flatten().any(|id| !state.allowed(&caller.role, "execute", id)) {
        return Answer::head(403, asked);
    }
    let mut seen = HashSet::new();
    let twice = ids.iter().any(|id| !seen.insert(*id));
    if let Some(absent) = ids.iter().zip(&found).find(|(_, found)| found.is_none_or(|id| state.value(id).is_none())) {
        return Answer::no_value(absent.0);
    }
    if twice {
        return Answer::outside(500, asked);
    }
    let base64 = asked.header("accept-encoding").is_some_and(|wanted| wanted.eq_ignore_ascii_case("base64"));
    let mut values = Map::new();
    for id in found.iter().flatten() {
        let value = state.value(id).cloned().unwrap_or_default();
        let text = match String::from_utf8(value.to_vec()) {
            _ if base64 => mime(&value),
            Ok(text) => text,
            Err(_) => {
                let told = "CONJ00074E Issue encoding secret into JSON format, try including 'Accept-Encoding: base64' header in request.";
                return Answer::error(406, "not_acceptable", told);
            }
        };
        values.insert(id.to_string(), Value::String(text));
    }
    let answer = Answer::json(200, &values);
    if base64 { answer.header("Content-Encoding", "base64") } else { answer }
}

/// MIME's form: a line feed after every sixty characters and at the end.
fn mime(value: &[u8]) -> String {
    let plain = STANDARD.encode(value);
    plain.as_bytes().chunks(60).map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect()
}
