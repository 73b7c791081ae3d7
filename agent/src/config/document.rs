//! YAML text to a tree; what is wrong with the text itself is told without repeating it.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use serde_saphyr::options::DuplicateKeyPolicy;

use super::Problems;
use super::reader::plain_key;

/// The tree, and what can be said of it already.
pub(super) fn read(text: &str) -> Result<(Value, Vec<String>), Problems> {
    if text.trim().is_empty() {
        // Nothing is a configuration in which every needed key is missing.
        return Ok((Value::Object(Map::new()), Vec::new()));
    }
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::PassThrough };
    let tree: Tree = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place =
            error.location().map_or_else(String::new, |at| format!("line {}, column {}: ", at.line(), at.column()));
        Problems(vec![format!("{place}this is no YAML; check indentation, colons and quotes")])
    })?;
    let mut twice = Vec::new();
    match tree.settle("", &mut twice) {
        tree @ Value::Object(_) => Ok((tree, twice)),
        Value::Null => Ok((Value::Object(Map::new()), Vec::new())),
        _ => Err(Problems(vec!["the configuration is a map of keys such as `listen` and `backend`".to_owned()])),
    }
}

/// A document as it was written: a key that stands twice is there twice.
enum Tree {
    Map(Vec<(String, Tree)>),
    List(Vec<Tree>),
    Leaf(Value),
}

impl Tree {
    /// The tree with every key once, and a problem for each that was not. Of two maps under one key the members of both
    /// stay, so that the mistakes of neither are hidden.
    fn settle(self, path: &str, twice: &mut Vec<String>) -> Value {
        match self {
            Self::Leaf(value) => value,
            Self::List(items) => {
                let settled = items.into_iter().enumerate();
                settled.map(|(index, item)| item.settle(&format!("{path}[{index}]"), twice)).collect()
            }
            Self::Map(entries) => {
                let mut members = Map::new();
                for (key, tree) in entries {
                    let shown = plain_key(&key).unwrap_or("(a key)");
                    let child = if path.is_empty() { shown.to_owned() } else { format!("{path}.{shown}") };
                    let value = tree.settle(&child, twice);
                    if let Some(first) = members.get_mut(&key) {
                        let problem = format!("{child}: stands twice; keep one of them");
                        if !twice.contains(&problem) {
                            twice.push(problem);
                        }
                        join(first, value);
                    } else {
                        members.insert(key, value);
                    }
                }
                Value::Object(members)
            }
        }
    }
}

fn join(first: &mut Value, second: Value) {
    match (first, second) {
        (Value::Object(first), Value::Object(second)) => {
            for (key, value) in second {
                join(first.entry(key).or_insert(Value::Null), value);
            }
        }
        (first, second) => *first = second,
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        // The parser has refused infinity and NaN, which would be null here.
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
}
