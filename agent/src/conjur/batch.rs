//! Many variables in one call: which fit into one, and what came back for each.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::call::ConjurError;
use super::requests::encode;

/// Ids in one call.
const IDS_MAX: usize = 50;

/// Bytes of the ids in the request line. Conjur takes 10,240; a proxy in front of it often 8,192 for the whole line.
const QUERY_BYTES_MAX: usize = 6 << 10;

/// Splits ids, each a path in `account`, into what one call can ask for, and writes the query of each.
#[must_use]
pub fn chunks<'a>(account: &str, ids: &[&'a str]) -> Vec<(Vec<&'a str>, String)> {
    const NAME: &str = "variable_ids=";
    let mut chunks: Vec<(Vec<&str>, String)> = Vec::new();
    for id in ids {
        let encoded = encode(&full(account, id));
        match chunks.last_mut() {
            Some((ids, query)) if ids.len() < IDS_MAX && query.len() + 3 + encoded.len() <= QUERY_BYTES_MAX => {
                ids.push(id);
                query.push_str("%2C");
                query.push_str(&encoded);
            }
            _ => chunks.push((vec![id], format!("{NAME}{encoded}"))),
        }
    }
    chunks
}

/// The whole id of a variable.
fn full(account: &str, id: &str) -> String {
    format!("{account}:variable:{id}")
}

#[derive(PartialEq, Eq, Hash, serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads the body of an answer in base64: a value for each of `ids`, and for nothing else.
///
/// # Errors
/// [`ConjurError::Misbehaved`].
pub fn parse(account: &str, ids: &[&str], body: &[u8]) -> Result<Vec<Zeroizing<Vec<u8>>>, ConjurError> {
    // The values stay where they are until they are decoded into memory that is wiped: a string with an escape in it
    // would be copied on the way.
    let values: HashMap<Key<'_>, &RawValue> = serde_json::from_slice(body).map_err(|_| ConjurError::Misbehaved)?;
    if values.len() != ids.len() {
        return Err(ConjurError::Misbehaved);
    }
    let value = |id: &&str| {
        let value = values.get(&Key(full(account, id).into())).ok_or(ConjurError::Misbehaved)?;
        decode(value.get())
    };
    ids.iter().map(value).collect()
}

/// Decodes a JSON string of base64 in lines, as MIME has it: Conjur ends one after 60 characters.
fn decode(json: &str) -> Result<Zeroizing<Vec<u8>>, ConjurError> {
    let inside = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or(ConjurError::Misbehaved)?;
    let mut text = Zeroizing::new(Vec::with_capacity(inside.len()));
    let mut bytes = inside.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => match bytes.next() {
                Some(b'n' | b'r' | b't') => {}
                Some(b'/') => text.push(b'/'),
                _ => return Err(ConjurError::Misbehaved),
            },
            b' ' => {}
            byte => text.push(byte),
        }
    }
    let mut value = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3 + 3));
    STANDARD.decode_vec(&*text, &mut value).map_err(|_| ConjurError::Misbehaved)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As Conjur writes it: a line feed after 60 characters and at the end.
    fn mime(value: &[u8]) -> String {
        let encoded = STANDARD.encode(value).into_bytes();
        encoded
            .chunks(60)
            .flat_map(|line| [&String::from_utf8_lossy(line), "\n"].concat().chars().collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn what_was_not_asked_for_or_is_missing_is_no_answer() {
        let parse = |ids: &[&str], body: &str| parse("main", ids, body.as_bytes()).map(|values| values.len());
        assert_eq!(parse(&["a"], r#"{"main:variable:a":"eA==\n"}"#), Ok(1));
        for wrong in [
            "{}",
            r#"{"main:variable:b":"eA==\n"}"#,
            r#"{"main:variable:a":"eA==\n","main:variable:b":"eA==\n"}"#,
            r#"{"main:variable:a":null}"#,
            r#"{"main:variable:a":"eA"}"#,
            r#"{"main:variable:a":"\u0065A=="}"#,
            "<html>",
        ] {
            assert_eq!(parse(&["a"], wrong), Err(ConjurError::Misbehaved), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_value_comes_back_as_it_went_in(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..5)) {
            let names: Vec<String> = (0..values.len()).map(|n| format!("controlplane/poc/{n}")).collect();
            let ids: Vec<&str> = names.iter().map(String::as_str).collect();
            let body: HashMap<String, String> =
                ids.iter().zip(&values).map(|(id, value)| (full("main", id), mime(value))).collect();
            let parsed = parse("main", &ids, &serde_json::to_vec(&body).unwrap()).unwrap();
            for (parsed, value) in parsed.iter().zip(&values) {
                prop_assert_eq!(&**parsed, value);
            }
        }

        #[test]
        fn no_call_is_longer_than_a_request_line_and_every_id_is_in_one(lengths in prop::collection::vec(1..700_usize, 0..200)) {
            let names: Vec<String> = lengths.iter().enumerate().map(|(n, length)| format!("{n}-{}", "x/".repeat(*length))).collect();
            let ids: Vec<&str> = names.iter().map(String::as_str).collect();
            let chunks = chunks("main", &ids);
            for (ids, query) in &chunks {
                prop_assert!(ids.len() <= IDS_MAX && (query.len() <= QUERY_BYTES_MAX || ids.len() == 1));
            }
            let all: Vec<&str> = chunks.iter().flat_map(|(ids, _)| ids.clone()).collect();
            prop_assert_eq!(all, ids);
        }
    }
}
