//! Slots: what onboarding means, before any backend.

use std::collections::HashSet;

use proptest::prelude::{prop, prop_assert_eq, prop_assume, proptest};

use super::*;
use crate::id::{ScopeKind, SubKey};
use crate::secret::SecretValue;

fn value(text: &str) -> SecretValue {
    SecretValue::new(text.to_owned())
}

fn request(strategy: Strategy, entries: &[(&str, &str)]) -> Result<OnboardRequest, OnboardError> {
    let entries = entries.iter().map(|(name, text)| OnboardEntry { name: (*name).to_owned(), value: value(text) });
    OnboardRequest::new(strategy, entries.collect(), &Catalogue::default(), ScopeKind::Application)
        .map_err(|refusal| refusal.cause)
}

/// What becomes of a slot of an application.
fn change(request: &OnboardRequest, slot: &str, current: Option<&str>) -> Option<String> {
    let catalogue = Catalogue::default();
    let spec = catalogue.slot(ScopeKind::Application, slot).unwrap();
    let current = current.map(value);
    match request.change(spec, current.as_ref(), &Generator::default()).unwrap() {
        SlotChange::Keep => current.map(|current| current.expose().to_owned()),
        SlotChange::Set(value) => Some(value.expose().to_owned()),
        SlotChange::Remove => None,
    }
}

#[test]
fn a_request_is_refused_as_a_whole_for_its_first_mistake() {
    for (entries, error) in [
        (vec![("other", "x")], OnboardError::NotAllowed),
        (vec![("zones", "{}")], OnboardError::NotAllowed),
        (vec![("clientSecret/x", "y")], OnboardError::SubKeyOfScalar),
        (vec![("clientSecret", "a"), ("clientSecret", "b")], OnboardError::Duplicate),
        (vec![("externalSecrets/a", "1"), ("externalSecrets/a", "1")], OnboardError::Duplicate),
        (vec![("externalSecrets/a", "1"), ("externalSecrets", "{}")], OnboardError::SlotAndSubKey),
        (vec![("externalSecrets", "{}"), ("externalSecrets/a", "")], OnboardError::SlotAndSubKey),
        (vec![("clientSecret", " \t")], OnboardError::Blank),
        (vec![("externalSecrets", "text")], OnboardError::Map(MapError::NotFlat)),
        (vec![("externalSecrets", r#"{"a":" "}"#)], OnboardError::Map(MapError::Blank)),
    ] {
        assert_eq!(request(Strategy::Merge, &entries).err(), Some(error), "{entries:?}");
    }
    assert!(matches!(request(Strategy::Merge, &[("a/../b", "x")]).err(), Some(OnboardError::Name(_))));
    assert!(matches!(request(Strategy::Merge, &[("", "x")]).err(), Some(OnboardError::Name(_))));
}

#[test]
fn unnamed_slots_begin_once_and_then_stay() {
    let nothing = request(Strategy::Replace, &[("clientSecret", "")]).unwrap();
    assert!(change(&nothing, "clientSecret", None).unwrap().starts_with("trd_"));
    assert_eq!(change(&nothing, "clientSecret", Some("old")).as_deref(), Some("old"));
    assert_eq!(change(&nothing, "rotatedClientSecret", None).as_deref(), Some("NOT_USED"));
    assert_eq!(change(&nothing, "rotatedClientSecret", Some("old")).as_deref(), Some("old"));
    assert_eq!(change(&nothing, "externalSecrets", None), None);
    assert_eq!(change(&nothing, "externalSecrets", Some(r#"{"a":1}"#)).as_deref(), Some(r#"{"a":1}"#));
}

#[test]
fn merge_keeps_what_others_wrote_and_replace_drops_it() {
    let foreign = r#"{ "n" : 1, "deep":{"x":[null]}, "a":"old", "odd key":true }"#;
    let merge = request(Strategy::Merge, &[("externalSecrets/a", "new"), ("externalSecrets/b", "2")]).unwrap();
    let merged = change(&merge, "externalSecrets", Some(foreign)).unwrap();
    assert_eq!(merged, r#"{"n":1,"deep":{"x":[null]},"a":"new","odd key":true,"b":"2"}"#);
    let replace = request(Strategy::Replace, &[("externalSecrets/b", "2")]).unwrap();
    assert_eq!(change(&replace, "externalSecrets", Some(foreign)).unwrap(), r#"{"b":"2"}"#);
    let empty = request(Strategy::Replace, &[("externalSecrets", "{}")]).unwrap();
    assert_eq!(change(&empty, "externalSecrets", Some(foreign)), None);
    let unreadable = merge.change(
        Catalogue::default().slot(ScopeKind::Application, "externalSecrets").unwrap(),
        Some(&value("no JSON")),
        &Generator::default(),
    );
    assert_eq!(unreadable.err(), Some(SlotError::Unreadable), "a merge would lose what cannot be read");
}

#[test]
fn what_others_wrote_can_be_read_by_its_key() {
    let map = MapSlot::read(r#"{"n":1,"s":"a\nb","o":{"x": 2},"d":"1","d":"2"}"#).unwrap();
    let get = |key: &str| map.get(key).map(|value| value.expose().to_owned());
    assert_eq!(get("n").as_deref(), Some("1"));
    assert_eq!(get("s").as_deref(), Some("a\nb"));
    assert_eq!(get("o").as_deref(), Some(r#"{"x": 2}"#));
    assert_eq!(get("d").as_deref(), Some("2"), "the last of two equal keys, as everywhere");
    assert_eq!(get("x"), None);
    assert!(MapSlot::read("[]").is_err() && MapSlot::read("").is_err());
}

#[test]
fn generated_values_have_their_form_and_use_the_whole_alphabet() {
    let generator = Generator::default();
    let mut seen = HashSet::new();
    let mut characters = HashSet::new();
    for _ in 0..1000 {
        let generated = generator.generate().unwrap();
        let text = generated.expose();
        let random = text.strip_prefix("trd_").unwrap();
        assert_eq!(random.len(), 32);
        assert!(random.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert!(random.bytes().any(|b| b.is_ascii_lowercase()));
        assert!(random.bytes().any(|b| b.is_ascii_uppercase()));
        assert!(random.bytes().any(|b| b.is_ascii_digit()));
        characters.extend(random.bytes());
        assert!(seen.insert(text.to_owned()), "twice the same");
    }
    assert_eq!(characters.len(), 62);
    assert_eq!(Generator::new("x".to_owned(), 16).generate().unwrap().len(), 17);
}

proptest! {
    #[test]
    fn an_accepted_map_keeps_every_entry(entries in prop::collection::btree_map("[a-z0-9._@+-]{1,10}", "\\PC{1,20}[a-z]", 0..8)) {
        prop_assume!(entries.keys().all(|key| key != "." && key != ".."));
        let text = serde_json::to_string(&entries).unwrap();
        let map = MapSlot::accept(&text).unwrap();
        for (key, expected) in &entries {
            let found = map.get(key).unwrap();
            prop_assert_eq!(found.expose(), expected);
        }
        let written = map.to_value();
        let again: std::collections::BTreeMap<String, String> = serde_json::from_str(written.expose()).unwrap();
        prop_assert_eq!(again, entries);
    }

    #[test]
    fn setting_one_entry_touches_no_other(text in "\\PC{1,40}", key in "[a-z]{1,5}") {
        let mut map = MapSlot::read(r#"{"KEEP":{"a": 1},"other":"x"}"#).unwrap();
        map.set(&SubKey::parse(&key).unwrap(), &value(&text));
        let found = map.get(&key).unwrap();
        prop_assert_eq!(found.expose(), text);
        let kept = map.get("KEEP").unwrap();
        prop_assert_eq!(kept.expose(), r#"{"a": 1}"#);
    }
}
