//! The agent's configuration in an injected pod: the operator's, and the few keys that injection itself decides.

use cloakroom_agent::config::Config;
use serde_json::{Map, Value, json};

use super::reader::Lines;
use super::{LogLevel, Profile};

/// The longest text that Linux takes as one string of an environment is 128 KiB (`MAX_ARG_STRLEN`).
const LONGEST: usize = 96 * 1024;

/// Keys that an operator must not write, and why.
const REFUSED: [(&str, &str); 12] = [
    ("/listen/socket", "is decided by the injector; take it away"),
    ("/listen/group", "is decided by the injector; take it away, or set `group` of the settings"),
    ("/listen/admin", "is decided by the injector; take it away, or set metricsPort of the profile"),
    ("/identity", "is decided by the injector; take it away"),
    ("/backend/embedded", "is for a single host; injected pods use kubernetes or conjur"),
    ("/backend/conjur/caFile", "names a file that injected pods do not have; paste the PEM under caPem"),
    ("/backend/conjur/authn/apiKey", "needs a file that injected pods do not have; use jwt"),
    ("/backend/conjur/authn/jwt/tokenFile", "is decided by the injector; take it away"),
    ("/permissions/file", "needs a file that injected pods do not have; use kubernetes"),
    ("/audit/file", "needs a file that injected pods do not have; use stdout"),
    ("/renderSets", "has no directories in injected pods; list the files under render"),
    ("/audit/hmacKeyFile", "names a file that injected pods do not have; take it away"),
];

/// Values that make no sense in an injected pod.
const REFUSED_CHOICES: [(&str, &str, &str); 2] = [
    ("/permissions/kind", "file", "must be kubernetes in injected pods"),
    ("/audit/sink", "file", "must be stdout in injected pods"),
];

/// Every section of the agent's configuration but `render`.
///
/// All of them stand in the text, empty if need be: an agent takes no key twice, so whoever adds something at the end,
/// where a pod's files are, cannot say anything that the operator has left unsaid.
const SECTIONS: [&str; 9] =
    ["audit", "backend", "cache", "identity", "limits", "listen", "log", "permissions", "secrets"];

/// Where probes and metrics are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// On a socket beside the API's.
    Socket,
    /// On a port of the pod.
    Port(u16),
}

/// What an agent would take but an injected pod does not have, what ours would be put over, and then everything that the
/// agent itself would refuse: a mistake is told here, and not by every pod that gets it.
pub(super) fn check(config: &Map<String, Value>, path: &str, lines: &mut Lines) {
    let tree = Value::Object(config.clone());
    let mut told = Vec::new();
    let mut say = |pointer: &'static str, what: &str| {
        told.push(pointer);
        lines.push(format!("{path}{}: {what}", pointer.replace('/', ".")));
    };
    match tree.pointer("/backend/kind") {
        None | Some(Value::Null) => say("/backend/kind", "is missing; write kubernetes or conjur"),
        Some(kind) if ["kubernetes", "conjur"].map(Value::from).contains(kind) => {}
        Some(_) => say("/backend/kind", "must be kubernetes or conjur in injected pods"),
    }
    for (pointer, what) in REFUSED {
        if tree.pointer(pointer).is_some_and(|value| !value.is_null()) {
            say(pointer, what);
        }
    }
    for (pointer, choice, what) in REFUSED_CHOICES {
        if tree.pointer(pointer).and_then(Value::as_str) == Some(choice) {
            say(pointer, what);
        }
    }
    for pointer in ["/listen", "/log"] {
        // Ours are put into them: what is no map would be lost instead of told.
        if tree.pointer(pointer).is_some_and(|value| !value.is_null() && !value.is_object()) {
            say(pointer, "must be a map of keys");
        }
    }
    if tree.pointer("/render").is_some_and(|value| !value.is_null() && !value.is_array()) {
        say("/render", "must be a list of files");
    }
    if tree.to_string().len() > LONGEST {
        say("", "is longer than 96 KiB, which is what an environment variable can hold");
        return;
    }
    // Keys that no injected pod has, and those that have been told about: there the agent could only repeat or mislead.
    let settled: Vec<&str> = REFUSED.iter().map(|(pointer, _)| *pointer).chain(told).collect();
    let group = 1;
    if let Err(problems) = Config::parse(&text(config, group, Admin::Socket, None, &[])) {
        lines.extend(problems.lines().filter(|line| !settled.iter().any(|at| is_about(line, at))).map(|line| {
            match line.strip_prefix("the configuration") {
                Some(rest) => format!("{path}{rest}"),
                None => format!("{path}.{line}"),
            }
        }));
    }
}

/// Whether a problem of the agent's is about this key or one below it.
fn is_about(line: &str, pointer: &str) -> bool {
    let key = pointer.trim_start_matches('/').replace('/', ".");
    line.strip_prefix(&key).is_some_and(|rest| rest.starts_with([':', '.', '[']))
}

impl Profile {
    /// The value of `CLOAKROOM_CONFIG_INLINE`.
    pub(crate) fn inline(&self, group: u32, admin: Admin, level: Option<LogLevel>, files: &[Value]) -> String {
        // The kubelet expands `$(NAME)` in values, also from Services that anybody in the namespace can make; `$$` is
        // how a dollar is written.
        text(&self.config, group, admin, level, files).replace('$', "$$")
    }

    /// The files of the profile itself.
    pub(crate) fn files(&self) -> &[Value] {
        files(&self.config)
    }
}

fn files(config: &Map<String, Value>) -> &[Value] {
    config.get("render").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What the agent reads: JSON, which is YAML too. The files come last, those of the pod behind those of the profile, so
/// that all texts of a profile begin alike, which is what the policy of mandatory namespaces looks at.
fn text(config: &Map<String, Value>, group: u32, admin: Admin, level: Option<LogLevel>, added: &[Value]) -> String {
    let admin = match admin {
        Admin::Socket => "unix:/run/cloakroom/agent/admin.sock".to_owned(),
        Admin::Port(port) => format!("0.0.0.0:{port}"),
    };
    let files = files(config).iter().chain(added).cloned().collect();
    let mut config = config.clone();
    config.remove("render");
    // Refused where there is anything in it.
    config.insert("renderSets".to_owned(), json!([]));
    for section in SECTIONS {
        let entry = config.entry(section).or_insert(Value::Null);
        if entry.is_null() {
            *entry = json!({});
        }
    }
    let mut put = |section: &str, name: &str, value: Value| {
        let entry = config.entry(section).or_insert(Value::Null);
        if !entry.is_object() {
            *entry = json!({});
        }
        entry[name] = value;
    };
    put("listen", "socket", "/run/cloakroom/agent/agent.sock".into());
    put("listen", "group", group.into());
    put("listen", "admin", admin.into());
    put("identity", "kind", "pod".into());
    put("identity", "tokenDir", "/var/run/secrets/cloakroom/kube".into());
    if let Some(level) = level {
        put("log", "level", level.name().into());
    }
    let mut text = Value::Object(config).to_string();
    text.pop();
    text + ",\"render\":" + &Value::Array(files).to_string() + "}"
}
