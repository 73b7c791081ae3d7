//! Reads members of a map out of the settings, and remembers what was wrong and what nobody has asked for.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// A map of the settings at its path.
pub(super) struct Reader<'a> {
    members: &'a Map<String, Value>,
    path: String,
    asked: BTreeSet<&'static str>,
}

/// What is wrong, one line each.
pub(super) type Lines = Vec<String>;

impl<'a> Reader<'a> {
    pub(super) fn new(members: &'a Map<String, Value>, path: &str) -> Self {
        Self { members, path: path.to_owned(), asked: BTreeSet::new() }
    }

    pub(super) fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A key without a value counts as absent, which is how YAML writes an empty one.
    pub(super) fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        self.asked.insert(name);
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// The value as `take` reads it; a value that it does not take is a problem.
    pub(super) fn read<T>(
        &mut self,
        lines: &mut Lines,
        name: &'static str,
        must: &str,
        take: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let found = take(self.value(name)?);
        if found.is_none() {
            lines.push(format!("{}: must be {must}", self.at(name)));
        }
        found
    }

    /// Names the keys that nobody has asked for.
    pub(super) fn finish(self, lines: &mut Lines) {
        let known: Vec<&str> = self.asked.iter().copied().collect();
        for name in self.members.keys().filter(|name| !self.asked.contains(name.as_str())) {
            let place = if self.path.is_empty() { "the settings" } else { &self.path };
            let shown =
                plain_key(name).map_or_else(|| "an unknown key".to_owned(), |key| format!("unknown key `{key}`"));
            lines.push(format!("{place}: {shown}; there are {}", known.join(", ")));
        }
    }
}

/// A key is the writer's text: it is repeated where it looks like a misspelt key of ours.
pub(super) fn plain_key(name: &str) -> Option<&str> {
    let plain = name.len() < 24 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    plain.then_some(name)
}
