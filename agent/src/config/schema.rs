//! The JSON Schema of the configuration, made from the same calls that read it.

use serde_json::{Map, Value, json};

use super::keys;
use super::reader::Reader;

/// JSON Schema, draft 2020-12.
#[must_use]
pub fn schema() -> Value {
    let mut reader = Reader::describing();
    // Nothing is there to be read: what counts is what was asked.
    drop(keys::read(&mut reader));
    let mut root = object("Configuration of the Cloakroom agent.");
    for key in &reader.keys {
        insert(&mut root, key.path, &key.schema, key.required);
    }
    let mut members = Map::new();
    members.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    members.insert("title".to_owned(), "cloakroom.yaml".into());
    members.append(&mut root);
    Value::Object(members)
}

fn object(description: &str) -> Map<String, Value> {
    let shape = json!({"type": "object", "additionalProperties": false, "properties": {}});
    let mut members = shape.as_object().cloned().unwrap_or_default();
    if !description.is_empty() {
        members.insert("description".to_owned(), description.into());
    }
    members
}

fn insert(parent: &mut Map<String, Value>, path: &str, schema: &Value, required: bool) {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    if required {
        let list = parent.entry("required").or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut().filter(|list| !list.iter().any(|known| known == name)) {
            list.push(name.into());
        }
    }
    let Some(properties) = parent.get_mut("properties").and_then(Value::as_object_mut) else { return };
    match rest {
        None => {
            properties.insert(name.to_owned(), schema.clone());
        }
        Some(rest) => {
            let child = properties.entry(name).or_insert_with(|| Value::Object(object("")));
            if let Some(child) = child.as_object_mut() {
                insert(child, rest, schema, required);
            }
        }
    }
}
