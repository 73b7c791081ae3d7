//! YAML text to a tree; what is wrong with the text itself is told without repeating it.

use serde_json::Value;
use serde_saphyr::options::DuplicateKeyPolicy;

use super::Problems;

/// The tree, and what can be said of it already.
pub(super) fn read(text: &str) -> Result<(Value, Vec<String>), Problems> {
    if text.trim().is_empty() {
        // Nothing is a configuration in which every needed key is missing.
        return Ok((Value::Object(serde_json::Map::new()), Vec::new()));
    }
    match serde_saphyr::from_str::<Value>(text) {
        Ok(tree) => whole(tree).map(|tree| (tree, Vec::new())),
        Err(error) => {
            let place =
                error.location().map_or_else(String::new, |at| format!("line {}, column {}: ", at.line(), at.column()));
            // A key that stands twice should not hide what else is wrong.
            let lenient = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
            match serde_saphyr::from_str_with_options::<Value>(text, lenient) {
                Ok(tree) => {
                    let twice = format!("{place}a key stands twice in one map; keep one of them");
                    whole(tree).map(|tree| (tree, vec![twice]))
                }
                Err(_) => Err(Problems(vec![format!("{place}this is no YAML; check indentation, colons and quotes")])),
            }
        }
    }
}

fn whole(tree: Value) -> Result<Value, Problems> {
    match tree {
        Value::Object(_) => Ok(tree),
        Value::Null => Ok(Value::Object(serde_json::Map::new())),
        _ => Err(Problems(vec!["the configuration is a map of keys such as `listen` and `backend`".to_owned()])),
    }
}
