//! The commands that ask the agent about itself and its caller: `ready`, `whoami` and `status`.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::client::{Client, runtime, segment};
use super::console::{Console, printable};
use super::error::{CliError, Exit};
use super::secrets::print_json;

const STATUS: &str = "/api/v1/status";

/// How long `ready` waits: less than the period of a probe.
const READY_DEADLINE: Duration = Duration::from_secs(2);

/// How long `status --watch` pauses.
const WATCH_PERIOD: Duration = Duration::from_secs(2);

pub(super) fn ready(client: &Client, files: bool) -> Result<(), CliError> {
    // Whatever went wrong, it is not ready for this caller: a probe knows only one way to fail.
    let not_ready = |error| CliError::NotReady(Box::new(error));
    let answer = client.within(READY_DEADLINE).call(Method::GET, STATUS, None).map_err(not_ready)?;
    if !files {
        return Ok(());
    }
    let status: Value = answer.parse().map_err(not_ready)?;
    let listed = status.get("files").and_then(Value::as_array).ok_or(not_ready(CliError::Unexpected))?;
    let waits =
        |file: &&Value| file.get("required") != Some(&false.into()) && file.get("settled") != Some(&true.into());
    let names: Vec<String> = listed.iter().filter(waits).map(|file| told(file, "name")).collect();
    if names.is_empty() { Ok(()) } else { Err(not_ready(CliError::FilesMissing { names: names.join(", ") })) }
}

/// A member as text for people.
fn told(file: &Value, member: &str) -> String {
    match file.get(member) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => printable(text),
        Some(other) => other.to_string(),
    }
}

/// One line for a rendered file: what has become of it, and what is done about it.
fn file_line(file: &Value) -> String {
    let mut line = format!("{} {}", told(file, "name"), told(file, "state"));
    for (before, member, after) in [
        (" ", "path", ""),
        (", age ", "ageSeconds", " s"),
        (", error ", "error", ""),
        (": ", "reason", ""),
        (", next try in ", "nextTrySeconds", " s"),
    ] {
        let shown = told(file, member);
        if !shown.is_empty() {
            line = format!("{line}{before}{shown}{after}");
        }
    }
    if let Some(action) = file.get("onChange").filter(|action| action.is_object()) {
        line = format!("{line}; on change {} {}", told(action, "action"), told(action, "state"));
        for (before, member, after) in [(", error ", "error", ""), (", next try in ", "nextTrySeconds", " s")] {
            let shown = told(action, member);
            if !shown.is_empty() {
                line = format!("{line}{before}{shown}{after}");
            }
        }
    }
    line
}

pub(super) fn whoami(client: &Client, scope: Option<&str>, console: &mut Console) -> Result<(), CliError> {
    let query = scope.map(|scope| format!("?scope={}", segment(scope))).unwrap_or_default();
    let answer = client.call(Method::GET, &format!("/api/v1/whoami{query}"), None)?;
    if client.json { print_json(&answer, console) } else { print_table(&answer.parse()?, console) }
}

pub(super) fn status(client: &Client, watch: bool, console: &mut Console) -> Result<(), CliError> {
    runtime()?.block_on(async {
        let mut answered = false;
        loop {
            match client.ask(Method::GET, STATUS, None).await {
                Ok(answer) if client.json => print_json(&answer, console)?,
                Ok(answer) => print_table(&answer.parse()?, console)?,
                // An agent that restarts is what somebody watches for; one that never was there is a mistake.
                Err(error) if answered && error.exit() == Exit::Unavailable => drop(error.report(console)),
                Err(error) => return Err(error),
            }
            if !watch {
                return Ok(());
            }
            answered = true;
            if !client.json {
                console.line("")?;
            }
            console.output.flush()?;
            tokio::time::sleep(WATCH_PERIOD).await;
        }
    })
}

/// One line per fact, so that a member that a later agent adds is shown as well.
fn print_table(answer: &Value, console: &mut Console) -> Result<(), CliError> {
    let mut rows = Vec::new();
    flatten("", answer, &mut rows);
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, fact) in rows {
        console.line(format!("{name:width$}  {fact}"))?;
    }
    Ok(())
}

fn flatten(name: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(members) => {
            for (member, value) in members {
                let member = printable(member);
                let name = if name.is_empty() { member } else { format!("{name}.{member}") };
                flatten(&name, value, rows);
            }
        }
        Value::Array(items) if name == "files" => {
            rows.extend(items.iter().map(|file| ("file".to_owned(), file_line(file))));
        }
        Value::Array(items) => items.iter().for_each(|item| match item {
            Value::Object(_) | Value::Array(_) => rows.push((name.to_owned(), printable(&item.to_string()))),
            scalar => flatten(name, scalar, rows),
        }),
        Value::String(text) => rows.push((name.to_owned(), printable(text))),
        Value::Bool(_) | Value::Number(_) => rows.push((name.to_owned(), value.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_one_a_line_and_absent_ones_are_left_out() {
        let mut rows = Vec::new();
        let answer = serde_json::json!({
            "subject": "uid:1\u{1b}[2J", "pod": null, "rights": {"secrets_read": true},
            "grants": [{"a": 1}], "warnings": ["one", "two"],
            "files": [{
                "name": "a", "path": "/f/a", "state": "failed", "ageSeconds": null, "error": "missing", "reason": "gone",
                "nextTrySeconds": 2, "onChange": {"action": "http", "state": "failed", "error": "refused"},
            }],
        });
        flatten("", &answer, &mut rows);
        rows.sort();
        let rows: Vec<_> = rows.iter().map(|(name, fact)| (name.as_str(), fact.as_str())).collect();
        assert_eq!(
            rows,
            [
                ("file", "a failed /f/a, error missing: gone, next try in 2 s; on change http failed, error refused"),
                ("grants", r#"{"a":1}"#),
                ("rights.secrets_read", "true"),
                ("subject", "uid:1?[2J"),
                ("warnings", "one"),
                ("warnings", "two"),
            ]
        );
    }
}
