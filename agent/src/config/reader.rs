//! Reads keys out of a tree: collects every problem, and remembers every key with its type and default.
//!
//! The same calls that read a configuration describe it: the schema is what a reader without a document has seen, so it
//! cannot say anything else than the code.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::units;

/// One key, as the code asks for it.
pub(super) struct Key {
    pub(super) path: &'static str,
    pub(super) schema: Value,
    pub(super) required: bool,
}

/// A tree, what was asked of it, and what was wrong.
pub(super) struct Reader<'a> {
    document: Option<&'a Value>,
    pub(super) keys: Vec<Key>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(document: &'a Value) -> Self {
        Self { document: Some(document), keys: Vec::new(), problems: Vec::new() }
    }

    /// A reader that finds nothing, so that every key has its default.
    pub(super) fn describing() -> Self {
        Self { document: None, keys: Vec::new(), problems: Vec::new() }
    }

    pub(super) fn problem(&mut self, path: &str, what: &str) {
        self.problems.push(format!("{path}: {what}"));
    }

    /// All problems, those of unknown keys included.
    pub(super) fn finish(mut self) -> Vec<String> {
        if let Some(document) = self.document {
            self.unknown(document, "");
        }
        self.problems
    }

    /// What stands under `path`. A key without a value counts as absent, which is how YAML writes an empty one.
    pub(super) fn value(&mut self, path: &'static str, schema: Value) -> Option<&'a Value> {
        self.keys.push(Key { path, schema, required: false });
        let mut value = self.document?;
        for segment in path.split('.') {
            value = value.as_object()?.get(segment)?;
        }
        Some(value).filter(|value| !value.is_null())
    }

    /// Says that a key must be there.
    pub(super) fn required<T>(&mut self, path: &'static str, value: Option<T>, what: &str) -> Option<T> {
        if let Some(key) = self.keys.iter_mut().find(|key| key.path == path) {
            key.required = true;
        }
        // What is there and wrong has been told already.
        if value.is_none() && self.document.is_some() && !self.told(path) {
            self.problem(path, what);
        }
        value
    }

    fn told(&self, path: &str) -> bool {
        self.problems.iter().any(|problem| problem.strip_prefix(path).is_some_and(|rest| rest.starts_with([':', '['])))
    }

    pub(super) fn text(&mut self, path: &'static str, description: &str) -> Option<String> {
        let value = self.value(path, json!({"type": "string", "description": description}))?;
        match value.as_str() {
            Some(text) if !text.contains('\0') => Some(text.to_owned()),
            _ => {
                self.problem(path, "must be text; put it in quotes if it looks like something else");
                None
            }
        }
    }

    pub(super) fn absolute(&mut self, path: &'static str, description: &str) -> Option<PathBuf> {
        let found = PathBuf::from(self.text(path, description)?);
        if found.is_absolute() {
            return Some(found);
        }
        self.problem(path, "must be an absolute path");
        None
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        path: &'static str,
        choices: &[(&'static str, T)],
        default: Option<&str>,
        description: &str,
    ) -> Option<T> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let mut schema = json!({"enum": names, "description": description});
        if let (Some(default), Some(members)) = (default, schema.as_object_mut()) {
            members.insert("default".to_owned(), default.into());
        }
        let chosen = |name: &str| choices.iter().find(|(known, _)| *known == name).map(|(_, choice)| *choice);
        let Some(value) = self.value(path, schema) else { return default.and_then(chosen) };
        let found = value.as_str().and_then(chosen);
        if found.is_none() {
            self.problem(path, &format!("must be one of {}", names.join(", ")));
        }
        found
    }

    pub(super) fn flag(&mut self, path: &'static str, default: bool, description: &str) -> bool {
        let schema = json!({"type": "boolean", "default": default, "description": description});
        let Some(value) = self.value(path, schema) else { return default };
        let found = value.as_bool();
        if found.is_none() {
            self.problem(path, "must be true or false");
        }
        found.unwrap_or(default)
    }

    pub(super) fn duration(
        &mut self,
        path: &'static str,
        default: Duration,
        range: (Duration, Duration),
        description: &str,
    ) -> Duration {
        let schema = json!({
            "type": "string",
            "pattern": "^[0-9]{1,15}(ms|s|m|h|d)$",
            "default": units::show_duration(default),
            "description": format!(
                "{description} At least {}, at most {}.", units::show_duration(range.0), units::show_duration(range.1)
            ),
        });
        let Some(value) = self.value(path, schema) else { return default };
        match value.as_str().and_then(units::duration) {
            Some(found) if (range.0..=range.1).contains(&found) => found,
            Some(_) => {
                let (least, most) = (units::show_duration(range.0), units::show_duration(range.1));
                self.problem(path, &format!("must be at least {least} and at most {most}"));
                default
            }
            None => {
                self.problem(path, "must be a duration such as 250ms, 5s, 10m or 2h");
                default
            }
        }
    }

    pub(super) fn bytes(&mut self, path: &'static str, default: u64, range: (u64, u64), description: &str) -> u64 {
        let schema = json!({
            "anyOf": [
                {"type": "integer", "minimum": range.0, "maximum": range.1},
                {"type": "string", "pattern": "^[0-9]{1,15}(B|KiB|MiB|GiB)?$"},
            ],
            "default": units::show_bytes(default),
            "description": format!(
                "{description} At least {}, at most {}.", units::show_bytes(range.0), units::show_bytes(range.1)
            ),
        });
        let Some(value) = self.value(path, schema) else { return default };
        let found = value.as_u64().or_else(|| value.as_str().and_then(units::bytes));
        self.within(path, found, default, range, units::show_bytes, "must be a size such as 64KiB or 8MiB")
    }

    pub(super) fn count(&mut self, path: &'static str, default: u64, range: (u64, u64), description: &str) -> u64 {
        let schema = json!({
            "type": "integer", "minimum": range.0, "maximum": range.1, "default": default, "description": description,
        });
        let Some(value) = self.value(path, schema) else { return default };
        self.within(path, value.as_u64(), default, range, |number| number.to_string(), "must be a whole number")
    }

    fn within(
        &mut self,
        path: &str,
        found: Option<u64>,
        default: u64,
        range: (u64, u64),
        show: fn(u64) -> String,
        otherwise: &str,
    ) -> u64 {
        match found {
            Some(found) if (range.0..=range.1).contains(&found) => return found,
            Some(_) => {
                self.problem(path, &format!("must be at least {} and at most {}", show(range.0), show(range.1)));
            }
            None => self.problem(path, otherwise),
        }
        default
    }

    pub(super) fn fraction(&mut self, path: &'static str, default: f64, description: &str) -> f64 {
        let schema =
            json!({"type": "number", "minimum": 0, "maximum": 1, "default": default, "description": description});
        let Some(value) = self.value(path, schema) else { return default };
        match value.as_f64() {
            Some(found) if (0.0..=1.0).contains(&found) => found,
            _ => {
                self.problem(path, "must be a number between 0 and 1");
                default
            }
        }
    }

    /// Every key of the document must be one that the code has asked for, or a map on the way to one.
    fn unknown(&mut self, value: &Value, path: &str) {
        let Some(members) = value.as_object() else { return };
        for (name, value) in members {
            let child = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if self.keys.iter().any(|key| key.path == child) {
                continue;
            }
            let prefix = format!("{child}.");
            if self.keys.iter().any(|key| key.path.starts_with(&prefix)) {
                match value {
                    Value::Object(_) => self.unknown(value, &child),
                    Value::Null => {}
                    _ => self.problem(&child, "must be a map of keys"),
                }
                continue;
            }
            let place = if path.is_empty() { "the configuration" } else { path };
            let said =
                plain_key(name).map_or_else(|| "an unknown key".to_owned(), |name| format!("unknown key `{name}`"));
            let known = self.siblings(path);
            self.problem(place, &format!("{said}; there are {known}"));
        }
    }

    fn siblings(&self, path: &str) -> String {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
        let mut names: Vec<&str> = Vec::new();
        for key in &self.keys {
            let name = key.path.strip_prefix(&prefix).and_then(|rest| rest.split('.').next());
            if let Some(name) = name.filter(|name| !names.contains(name)) {
                names.push(name);
            }
        }
        names.join(", ")
    }
}

/// A key is the writer's text: it is repeated where it looks like a misspelt key of ours, and told by its place otherwise.
pub(super) fn plain_key(name: &str) -> Option<&str> {
    let plain = name.len() < 24 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    plain.then_some(name)
}
