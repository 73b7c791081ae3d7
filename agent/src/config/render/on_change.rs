//! `onChange`: what happens when a file has become another.

use std::time::Duration;

use serde_json::Value;

use super::Reading;
use crate::config::{IdentityKind, units};
use crate::render::spec::{Action, OnChange, Process, parse_signal, parse_url};

const QUIET: Duration = Duration::from_secs(2);
const QUIET_MAX: Duration = Duration::from_hours(1);

impl Reading {
    pub(super) fn on_change(&mut self, path: &str, value: &Value) -> Option<OnChange> {
        let members = self.map(path, value, &["http", "signal", "exec", "quiet"])?;
        let quiet = match members.get("quiet").filter(|value| !value.is_null()) {
            None => QUIET,
            Some(value) => match value.as_str().and_then(units::duration).filter(|quiet| *quiet <= QUIET_MAX) {
                Some(quiet) => quiet,
                None => {
                    self.problem(&format!("{path}.quiet"), "must be a duration such as 250ms or 2s, at most 1h");
                    QUIET
                }
            },
        };
        let kinds: Vec<&str> =
            ["http", "signal", "exec"].into_iter().filter(|kind| members.contains_key(*kind)).collect();
        let [kind] = kinds[..] else {
            self.problem(path, "needs exactly one of http, signal and exec");
            return None;
        };
        let at = format!("{path}.{kind}");
        let value = members.get(kind).unwrap_or(&Value::Null);
        let action = match kind {
            "http" => self.http(&at, value),
            "signal" => self.signal(&at, value),
            _ => self.exec(&at, value),
        };
        Some(OnChange { action: action?, quiet })
    }

    fn http(&mut self, path: &str, value: &Value) -> Option<Action> {
        let members = self.map(path, value, &["url"])?;
        let action = self.text(path, members, "url").and_then(parse_url);
        if action.is_none() {
            self.problem(
                &format!("{path}.url"),
                "must be http:// with a loopback address, such as http://127.0.0.1:8080/reload, or unix:/SOCKET with \
                 :/PATH behind it",
            );
        }
        action
    }

    fn signal(&mut self, path: &str, value: &Value) -> Option<Action> {
        let members = self.map(path, value, &["pidFile", "processName", "name"])?;
        let signal = self.text(path, members, "name").and_then(parse_signal);
        if signal.is_none() {
            self.problem(&format!("{path}.name"), "must be one of HUP, INT, QUIT, TERM, USR1, USR2, WINCH");
        }
        let to = match (members.contains_key("pidFile"), members.contains_key("processName")) {
            (true, false) => Process::PidFile(self.absolute(path, members, "pidFile")?),
            (false, true) => {
                let name = self.text(path, members, "processName")?;
                if name.is_empty() || name.contains(['/', '\0']) {
                    self.problem(
                        &format!("{path}.processName"),
                        "must be the name of a process, as `ps -o comm` shows it",
                    );
                    return None;
                }
                Process::Name(name.to_owned())
            }
            _ => {
                self.problem(path, "needs exactly one of pidFile and processName");
                return None;
            }
        };
        Some(Action::Signal { to, signal: signal? })
    }

    fn exec(&mut self, path: &str, value: &Value) -> Option<Action> {
        // A pod's annotations can ask for files, and must never be able to have a program run beside the agent's tokens.
        if self.identity != Some(IdentityKind::Uid) {
            self.problem(path, "is for single hosts, with identity uid: in a pod use http or signal");
            return None;
        }
        let argv: Option<Vec<String>> =
            value.as_array().and_then(|list| list.iter().map(|word| word.as_str().map(str::to_owned)).collect());
        let argv = argv.filter(|argv| {
            argv.first().is_some_and(|program| program.starts_with('/')) && !argv.iter().any(|word| word.contains('\0'))
        });
        if argv.is_none() {
            self.problem(
                path,
                "must be a list of words, the first of them the absolute path of a program; no shell runs it",
            );
        }
        Some(Action::Exec { argv: argv? })
    }
}
