//! Whether an object of the API server says everything that somebody wrote, and of lists nothing else: it fills in what
//! was left out, and writes amounts its own way.

use serde_json::Value;

/// Items that admission adds by itself.
fn is_added(path: &str, item: &Value) -> bool {
    let name = item["name"].as_str().unwrap_or_default();
    (path.ends_with("/volumes") || path.ends_with("/volumeMounts")) && name.starts_with("kube-api-access-")
        || path.ends_with("/tolerations") && item["operator"] == "Exists" && item["tolerationSeconds"] == 300
}

/// Asserts it; an error names the place.
pub(super) fn contains(actual: &Value, wanted: &Value) -> Result<(), String> {
    at("", actual, wanted)
}

fn at(path: &str, actual: &Value, wanted: &Value) -> Result<(), String> {
    let differs = || format!("{path}: {actual} is not {wanted}");
    match (actual, wanted) {
        // Empty, false and absent say the same.
        (_, Value::Null) | (Value::Null, Value::Bool(false)) => Ok(()),
        (Value::Null, Value::Array(items)) if items.is_empty() => Ok(()),
        (Value::Null, Value::Object(members)) if members.is_empty() => Ok(()),
        (Value::Object(found), Value::Object(members)) => members.iter().try_for_each(|(name, wanted)| {
            at(&format!("{path}/{name}"), found.get(name).unwrap_or(&Value::Null), wanted)
        }),
        (Value::Array(found), Value::Array(items)) => {
            let own: Vec<&Value> = found.iter().filter(|item| !is_added(path, item)).collect();
            if own.len() != items.len() {
                return Err(differs());
            }
            own.iter()
                .zip(items)
                .enumerate()
                .try_for_each(|(index, (found, wanted))| at(&format!("{path}/{index}"), found, wanted))
        }
        _ if actual == wanted => Ok(()),
        _ if path.contains("/resources/") && amount(actual).is_some() && amount(actual) == amount(wanted) => Ok(()),
        _ => Err(differs()),
    }
}

/// Takes out of `wanted` what an API server has dropped of `sent` when it made `taken` of it: fields that its version does
/// not know.
pub(super) fn forget(wanted: &mut Value, sent: &Value, taken: &Value) {
    match (wanted, sent, taken) {
        (Value::Object(wanted), Value::Object(sent), Value::Object(taken)) => {
            for (name, sent) in sent {
                match (wanted.get_mut(name), taken.get(name)) {
                    (Some(wanted), Some(taken)) => forget(wanted, sent, taken),
                    (_, None) => drop(wanted.remove(name)),
                    (None, _) => {}
                }
            }
        }
        (Value::Array(wanted), Value::Array(sent), Value::Array(taken)) => {
            // By name, since ours stand among them.
            for sent in sent.iter().filter(|item| item["name"].is_string()) {
                let of_name = |item: &Value| item["name"] == sent["name"];
                match taken.iter().find(|item| of_name(item)) {
                    Some(taken) => {
                        wanted.iter_mut().filter(|item| of_name(item)).for_each(|item| forget(item, sent, taken));
                    }
                    None => wanted.retain(|item| !of_name(item)),
                }
            }
        }
        _ => {}
    }
}

/// An amount in thousandths of its unit: `0.5` is `500m`, `1024Mi` is `1Gi`.
fn amount(value: &Value) -> Option<f64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "m" => 1.0,
        "" => 1e3,
        "k" => 1e6,
        "M" => 1e9,
        "G" => 1e12,
        "Ki" => 1e3 * 1024.0,
        "Mi" => 1e3 * 1024.0 * 1024.0,
        "Gi" => 1e3 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}
