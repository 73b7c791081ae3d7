//! An answer beside the recorded one: status, the headers that matter, and the body but for what differs by nature.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::exchange::{Body, Exchange};
use super::markers::Markers;
use super::raw::Reply;

/// Headers that are the same or absent on both sides.
const SAME: [&str; 6] = [
    "content-type",
    "content-encoding",
    "content-disposition",
    "content-transfer-encoding",
    "x-frame-options",
    "cache-control",
];

/// Headers that are there on both sides or on none.
const PRESENT: [&str; 4] = ["retry-after", "etag", "x-request-id", "content-length"];

/// Comparing one file.
#[derive(Default)]
pub(super) struct Comparison {
    /// How far the counts of loads of a branch are apart: loads that were not recorded count too.
    apart: HashMap<String, i64>,
}

impl Comparison {
    pub(super) fn check(&mut self, markers: &mut Markers, one: &Exchange, reply: &Reply) -> Result<(), String> {
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        if reply.status != one.status {
            return Err(format!(
                "status {} in place of {}: {body} in place of {}",
                reply.status,
                one.status,
                one.text()
            ));
        }
        markers.tag(one, reply.header("etag"));
        if one.name.contains("round ") {
            // More rounds were run than recorded.
            self.apart.clear();
        }
        for name in SAME {
            if reply.header(name) != one.header(name) {
                return Err(format!("{name}: {:?} in place of {:?}", reply.header(name), one.header(name)));
            }
        }
        for name in PRESENT {
            // Our HTTP library takes the length of nothing away from a 304.
            if one.status == 304 && name == "content-length" {
                continue;
            }
            if reply.header(name).is_some() != one.header(name).is_some() {
                return Err(format!("{name}: {:?} in place of {:?}", reply.header(name), one.header(name)));
            }
        }
        if let Some(after) = reply.header("retry-after") {
            let seconds: u32 = after.parse().map_err(|_| format!("retry-after: {after}"))?;
            if !(1..=8).contains(&seconds) {
                return Err(format!("retry-after: {after}"));
            }
        }
        match &one.answer {
            None => Ok(()),
            Some(Body::Omitted { size, sha256 }) => {
                let digest: String = Sha256::digest(&reply.body).iter().map(|byte| format!("{byte:02x}")).collect();
                if reply.body.len() == *size && digest == *sha256 {
                    Ok(())
                } else {
                    Err("another long body".to_owned())
                }
            }
            Some(Body::Bytes(expected)) if *expected == reply.body => {
                // The tag is a digest of the body, so the same body has the same one.
                let (ours, theirs) = (reply.header("etag"), one.header("etag"));
                if ours == theirs || reply.body.is_empty() {
                    Ok(())
                } else {
                    Err(format!("etag {ours:?} in place of {theirs:?}"))
                }
            }
            Some(Body::Bytes(expected)) => self.text(markers, one, &String::from_utf8_lossy(expected), &body),
        }
    }

    fn text(&mut self, markers: &mut Markers, one: &Exchange, expected: &str, body: &str) -> Result<(), String> {
        let differ = || Err(format!("{body} in place of {expected}"));
        if expected.starts_with("<ACCESS-TOKEN") {
            let decoded = STANDARD.decode(body).map_err(|error| error.to_string())?;
            let value: Value = serde_json::from_slice(&decoded).map_err(|error| error.to_string())?;
            return token(&value).map(|_| ());
        }
        if expected.starts_with("apikey") {
            return markers.learn(expected, body);
        }
        if expected.starts_with("<!DOCTYPE html>") {
            return if body.contains("Your Conjur server is running!") { Ok(()) } else { differ() };
        }
        let (Ok(expected), Ok(actual)) = (serde_json::from_str::<Value>(expected), serde_json::from_str::<Value>(body))
        else {
            return differ();
        };
        if expected.get("signature").is_some() {
            let payload = token(&actual)?;
            let recorded = part(&expected, "payload")?;
            return if recorded["sub"] == payload["sub"] {
                Ok(())
            } else {
                Err(format!("a token for {}", payload["sub"]))
            };
        }
        if expected.get("created_roles").is_some() {
            self.version(&branch(&one.path), &expected["version"], &actual["version"])?;
        }
        same(markers, "", &expected, &actual)
            .map_err(|told| format!("{told}\n    {actual}\n    in place of\n    {expected}"))
    }

    fn version(&mut self, branch: &str, expected: &Value, actual: &Value) -> Result<(), String> {
        let (Some(expected), Some(actual)) = (expected.as_i64(), actual.as_i64()) else {
            return Err("no version".to_owned());
        };
        // A count that begins is a branch that was made anew.
        let apart = if expected == 1 { 0 } else { *self.apart.get(branch).unwrap_or(&(expected - actual)) };
        self.apart.insert(branch.to_owned(), apart);
        if expected - actual == apart {
            Ok(())
        } else {
            Err(format!("version {actual} of {branch}, {expected} recorded, {apart} apart before"))
        }
    }
}

/// The branch that a load goes to, as it was written.
fn branch(path: &str) -> String {
    path.split('?').next().unwrap().replace("%2F", "/")
}

fn part(token: &Value, name: &str) -> Result<Value, String> {
    let text = token[name].as_str().ok_or("not a token")?;
    serde_json::from_slice(&URL_SAFE.decode(text).map_err(|error| error.to_string())?)
        .map_err(|error| error.to_string())
}

/// The payload of a token, if it looks as a token has to.
fn token(value: &Value) -> Result<Value, String> {
    let (protected, payload) = (part(value, "protected")?, part(value, "payload")?);
    let lasts = payload["exp"].as_u64().zip(payload["iat"].as_u64()).map(|(exp, iat)| exp - iat);
    let fine = protected["alg"] == "conjur.org/slosilo/v2"
        && value["signature"].as_str().is_some_and(|text| text.len() == 384);
    if fine && lasts == Some(480) { Ok(payload) } else { Err(format!("an odd token: {value}")) }
}

fn same(markers: &mut Markers, at: &str, expected: &Value, actual: &Value) -> Result<(), String> {
    let differ = || Err(format!("{at}: {actual} in place of {expected}"));
    match (expected, actual) {
        (Value::Object(left), Value::Object(right)) => {
            if !left.keys().eq(right.keys()) {
                return differ();
            }
            for (key, value) in left {
                let ours = &right[key];
                match key.as_str() {
                    "created_at" | "finished_at" | "token_issued_at" => {
                        let length = |value: &Value| value.as_str().map(str::len);
                        if length(value) != length(ours) {
                            return Err(format!("{key}: {ours} in place of {value}"));
                        }
                    }
                    "api_key" => {
                        markers.learn(value.as_str().unwrap_or_default(), ours.as_str().unwrap_or_default())?;
                    }
                    // Compared with its branch in mind.
                    "version" if left.contains_key("created_roles") => {}
                    _ => same(markers, &format!("{at}/{key}"), value, ours)?,
                }
            }
            Ok(())
        }
        (Value::Array(left), Value::Array(right)) => {
            let text =
                |list: &[Value]| list.iter().map(|one| one.as_str().map(ToOwned::to_owned)).collect::<Option<Vec<_>>>();
            if let (Some(mut left), Some(mut right)) = (text(left), text(right)) {
                left.sort();
                right.sort();
                return if left == right { Ok(()) } else { differ() };
            }
            if left.len() != right.len() {
                return Err(format!("{at}: {} in place of {}", right.len(), left.len()));
            }
            left.iter()
                .zip(right)
                .enumerate()
                .try_for_each(|(index, (left, right))| same(markers, &format!("{at}/{index}"), left, right))
        }
        _ if expected == actual => Ok(()),
        _ => differ(),
    }
}
