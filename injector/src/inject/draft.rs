//! A pod while it is edited: each edit is done to a copy and written down, so that the next one finds its way.

use serde::Serialize;
use serde_json::{Map, Value};

use super::pod::name;

/// One operation of a JSON Patch (RFC 6902).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Edit {
    /// Adds a member or an element; what a member was before, `null` at most, is replaced.
    Add {
        /// A JSON pointer.
        path: String,
        /// What is added.
        value: Value,
    },
    /// Puts a value into the place of another one.
    Replace {
        /// A JSON pointer.
        path: String,
        /// What is put there.
        value: Value,
    },
    /// Takes an element away; only ever one with a reserved name.
    Remove {
        /// A JSON pointer.
        path: String,
    },
}

/// The copy and the list.
///
/// Paths are made of our own words and of numbers, never of text from the pod, so none of them can lead elsewhere
/// through a `/` or `~` in a name.
pub(super) struct Draft {
    pod: Value,
    patch: Vec<Edit>,
}

impl Draft {
    pub(super) fn new(pod: &Value) -> Self {
        Self { pod: pod.clone(), patch: Vec::new() }
    }

    pub(super) fn finish(self) -> Vec<Edit> {
        self.patch
    }

    /// The list at `path`; absent and `null` are empty.
    pub(super) fn list(&self, path: &str) -> &[Value] {
        at(&self.pod, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The name of the container or volume at `path`; empty where there is none.
    pub(super) fn name(&self, path: &str) -> &str {
        at(&self.pod, path).map_or("", name)
    }

    /// Sets the member `name` of the object at `path`, which is made where it is absent or `null`.
    pub(super) fn set(&mut self, path: &str, name: &str, value: Value) {
        if !at(&self.pod, path).is_some_and(Value::is_object) {
            let Some((parent, member)) = path.rsplit_once('/') else { return };
            let object = Value::Object(Map::from_iter([(name.to_owned(), value)]));
            return self.set(parent, member, object);
        }
        let Some(Value::Object(object)) = at_mut(&mut self.pod, path) else { return };
        let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
        let before = object.insert(name.to_owned(), outline(&value));
        self.patch.push(match before {
            None | Some(Value::Null) => Edit::Add { path, value },
            Some(_) => Edit::Replace { path, value },
        });
    }

    /// Appends to the list `name` in the object at `path`; both are made where they are absent or `null`.
    pub(super) fn append(&mut self, path: &str, name: &str, value: Value) {
        let list = format!("{path}/{name}");
        match at_mut(&mut self.pod, &list).and_then(Value::as_array_mut) {
            Some(items) => {
                items.push(outline(&value));
                self.patch.push(Edit::Add { path: format!("{list}/-"), value });
            }
            None => self.set(path, name, Value::Array(vec![value])),
        }
    }

    /// Inserts into the list `name` in the object at `path`.
    pub(super) fn insert(&mut self, path: &str, name: &str, index: usize, value: Value) {
        let list = format!("{path}/{name}");
        match at_mut(&mut self.pod, &list).and_then(Value::as_array_mut) {
            Some(items) if index < items.len() => {
                items.insert(index, outline(&value));
                self.patch.push(Edit::Add { path: format!("{list}/{index}"), value });
            }
            _ => self.append(path, name, value),
        }
    }

    /// Puts `value` into the place of the element at `index`.
    pub(super) fn replace(&mut self, list: &str, index: usize, value: Value) {
        let path = format!("{list}/{index}");
        if let Some(item) = at_mut(&mut self.pod, &path) {
            *item = outline(&value);
            self.patch.push(Edit::Replace { path, value });
        }
    }

    /// Takes the element at `index` away.
    pub(super) fn remove(&mut self, list: &str, index: usize) {
        if let Some(items) = at_mut(&mut self.pod, list).and_then(Value::as_array_mut).filter(|all| index < all.len()) {
            items.remove(index);
            self.patch.push(Edit::Remove { path: format!("{list}/{index}") });
        }
    }
}

/// What a later edit looks at of a value that was put in: where it is and what it is called.
fn outline(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.get("name").map_or_else(
            || members.iter().map(|(name, value)| (name.clone(), outline(value))).collect(),
            |name| Value::Object(Map::from_iter([("name".to_owned(), name.clone())])),
        ),
        Value::Array(items) => items.iter().map(outline).collect(),
        plain => plain.clone(),
    }
}

/// What stands at a path of ours. As [`Value::pointer`], which makes two texts of every step for the sake of `~`, and we
/// have none.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('/').skip(1).try_fold(value, |value, step| match value {
        Value::Object(members) => members.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

fn at_mut<'a>(value: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('/').skip(1).try_fold(value, |value, step| match value {
        Value::Object(members) => members.get_mut(step),
        Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
        _ => None,
    })
}
