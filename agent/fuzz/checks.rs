//! What must hold of every input of a parser: shared by the fuzz targets and by the tests that replay the corpora.
#![allow(dead_code, reason = "each target uses one of them")]

#[path = "conjur.rs"]
pub(crate) mod conjur;
#[path = "documents.rs"]
pub(crate) mod documents;
#[path = "rendered.rs"]
pub(crate) mod rendered;
#[path = "served.rs"]
mod served;

use cloakroom_agent::access::file::GrantTable;
use cloakroom_agent::api::body::{OnboardBody, PutBody, RotateBody, parse};
use cloakroom_agent::backend::kubernetes::object::{Event, Object};
use cloakroom_agent::config::Config;
use cloakroom_agent::id::{SecretId, SubKey, scan};
use cloakroom_agent::server::framing::Framing;
use cloakroom_agent::slots::MapSlot;

/// An error must not repeat what it is about: the needle is long enough not to be one of our own words.
fn says_nothing_of(text: &str, input: &str) {
    let long = input.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() >= 24);
    for word in long {
        assert!(!text.contains(word), "an error repeats its input");
    }
}

/// Parse, print, parse: the same id; and a location's parts are the text's parts.
pub(crate) fn secret_id(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match SecretId::parse_reference(text) {
        Err(error) => says_nothing_of(&error.to_string(), text),
        Ok(id) => {
            let printed = id.to_string();
            assert_eq!(SecretId::parse(&printed).as_ref(), Ok(&id));
            assert!(text == printed || text == format!("$<{printed}>"), "two texts of one id");
            let place = id.location();
            let path = place.sub_key().map_or_else(|| place.slot().to_owned(), |key| format!("{}/{key}", place.slot()));
            let parts = [place.env(), place.team(), place.app(), &path, id.checksum().as_str()];
            assert_eq!(parts.join(":"), printed);
            assert!(!place.env().contains("--"));
            assert_eq!(place.whole_slot().sub_key(), None);
        }
    }
}

/// What is found lies in the text, in order, apart, and is what the text says there.
pub(crate) fn placeholder_scan(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut end = 0;
    for found in scan(text) {
        assert!(found.range.start >= end && found.range.end > found.range.start);
        end = found.range.end;
        assert_eq!(text.get(found.range).map(str::to_owned), Some(format!("$<{}>", found.id)));
    }
}

/// What is taken is an object whose members say the same to a plain JSON reader.
pub(crate) fn json_body(data: &[u8]) {
    if let Ok(body) = parse::<PutBody>(data) {
        let plain: serde_json::Value = serde_json::from_slice(data).expect("a body that is taken must be JSON");
        assert_eq!(plain["value"].as_str(), Some(body.value.expose()));
        assert_eq!(plain.get("literal").and_then(serde_json::Value::as_bool).unwrap_or_default(), body.literal);
    }
    if let Ok(body) = parse::<OnboardBody>(data) {
        let plain: serde_json::Value = serde_json::from_slice(data).expect("a body that is taken must be JSON");
        for (index, entry) in body.secrets.iter().enumerate() {
            assert_eq!(plain["secrets"][index]["name"].as_str(), Some(entry.0.name.as_str()));
            assert_eq!(plain["secrets"][index]["value"].as_str(), Some(entry.0.value.expose()));
        }
    }
    if let Err(error) = parse::<RotateBody>(data) {
        says_nothing_of(&error.to_string(), &String::from_utf8_lossy(data));
    }
}

/// The verdict does not depend on how the bytes arrive, and the server ends with whole answers, of which none is to
/// bytes behind a refused request.
pub(crate) fn http_bytes(data: &[u8]) {
    let (cuts, bytes) = data.split_at(data.len().min(4));
    let mut whole = Framing::new(16 * 1024);
    let verdict = whole.push(bytes).is_ok();
    let mut split = Framing::new(16 * 1024);
    let mut rest = bytes;
    let mut same = true;
    for cut in cuts {
        let (part, after) = rest.split_at(rest.len().min(usize::from(*cut)));
        same = same && split.push(part).is_ok();
        rest = after;
    }
    same = same && split.push(rest).is_ok();
    assert_eq!(verdict, same, "the verdict depends on how the bytes arrive");
    let (handled, answer) = served::talk(bytes);
    assert!(handled <= whole.heads(), "the server has seen a request that the scanner has not");
    let text = String::from_utf8_lossy(&answer);
    // `100 Continue` is no answer (RFC 9110 §15.2): one stands before it.
    let answers = text.matches("HTTP/1.").count() - text.matches("HTTP/1.1 100 Continue").count();
    assert!(answers as u64 <= whole.heads() + 1, "more answers than requests");
    assert!(!text.contains(" 500 "), "a defect");
}

/// Every text is a configuration or a list of problems that repeat nothing.
pub(crate) fn config_yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(problems) = Config::parse(text) {
        assert!(problems.count() > 0);
        says_nothing_of(&problems.to_string(), text);
    }
}

/// Every text is a table of grants or a list of problems that repeat nothing.
pub(crate) fn grants_yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(problems) = GrantTable::parse(text) {
        says_nothing_of(&problems.to_string(), text);
    }
}

/// Every answer of an API server is a Secret or none, and every line of a watch an event or none; each slot is text or
/// an error.
pub(crate) fn kube_object(data: &[u8]) {
    let look = |object: &Object| {
        for name in object.names() {
            assert!(
                object.slot(name).is_err() || object.slot(name).is_ok_and(|slot| slot.is_none_or(|v| !v.is_blank()))
            );
        }
    };
    if let Ok(object) = Object::parse(data) {
        look(&object);
    }
    if let Ok(Event::Is(object) | Event::Gone(object)) = Event::parse(data) {
        look(&object);
    }
}

/// An object whose entries are not looked into.
type RawEntries<'a> = std::collections::BTreeMap<String, &'a serde_json::value::RawValue>;

/// What is accepted is kept byte for byte in its entries; what is read survives a write.
pub(crate) fn map_slot(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if MapSlot::accept(text).is_ok() {
        let plain: serde_json::Value = serde_json::from_str(text).expect("what is accepted must be JSON");
        let map = MapSlot::read(text).unwrap_or_else(|_| panic!("what is accepted must be readable"));
        for (key, value) in plain.as_object().expect("what is accepted must be an object") {
            assert!(SubKey::parse(key).is_ok());
            assert_eq!(map.get(key).map(|found| found.expose().to_owned()).as_deref(), value.as_str());
        }
    }
    if let Ok(map) = MapSlot::read(text) {
        let written = map.to_value();
        let again = MapSlot::read(written.expose()).unwrap_or_else(|_| panic!("what is written must be readable"));
        assert_eq!(again.to_value().expose(), written.expose());
        // Entry by entry: a string that others have stored may hold half of a surrogate pair, and stays as it is.
        let entries: RawEntries<'_> =
            serde_json::from_str(written.expose()).expect("what is written must be an object");
        assert_eq!(entries.is_empty(), map.is_empty());
    }
}
