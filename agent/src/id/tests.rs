//! Ids: every valid one in one way, no invalid one, and nothing of it repeated.

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::secret::SecretValue;

const DNS: &str = "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?";
const SLOT: &str = "[A-Za-z][A-Za-z0-9_-]{0,59}";
const SEGMENT: &str = "[A-Za-z0-9@+-][A-Za-z0-9._@+-]{0,20}";

/// The five segments of a valid id.
fn valid() -> impl Strategy<Value = [String; 5]> {
    let environment = DNS.prop_filter("an environment holds no --", |text| !text.contains("--"));
    let team = prop_oneof![Just(String::new()), DNS.prop_filter("reserved", |text| text != "secrets")];
    let app = prop_oneof![Just(String::new()), DNS.prop_filter("reserved", |text| text != "secrets")];
    let sub_key = prop::option::of(prop::collection::vec(SEGMENT, 1..4).prop_map(|segments| segments.join("/")));
    let path = (SLOT, sub_key).prop_map(|(slot, key)| key.map_or(slot.clone(), |key| format!("{slot}/{key}")));
    (environment, team, app, path, "[A-Za-z0-9]{0,64}").prop_map(|(environment, team, app, path, checksum)| {
        let app = if team.is_empty() { String::new() } else { app };
        [environment, team, app, path, checksum]
    })
}

proptest! {
    #[test]
    fn a_valid_id_is_read_and_printed_as_it_is(parts in valid()) {
        let text = parts.join(":");
        let id = SecretId::parse(&text).unwrap();
        prop_assert_eq!(id.to_string(), text.clone());
        prop_assert_eq!(SecretId::parse_reference(&format!("$<{text}>")), Ok(id.clone()));
        let place = id.location();
        let path = place.sub_key().map_or(place.slot().to_owned(), |key| format!("{}/{key}", place.slot()));
        let read = [place.env(), place.team(), place.app(), &path, id.checksum().as_str()];
        prop_assert_eq!(read.map(str::to_owned), parts);
        let scope = place.scope();
        prop_assert_eq!(Scope::parse(scope.as_str()), Ok(scope.clone()));
        let key = place.sub_key().map(|key| SubKey::parse(key).unwrap());
        prop_assert_eq!(&Location::of(&scope, &Slot::parse(place.slot()).unwrap(), key.as_ref()), place);
    }

    #[test]
    fn n2_two_places_have_two_texts_and_two_kubernetes_names(one in valid(), two in valid()) {
        let place = |parts: &[String; 5]| SecretId::parse(&parts.join(":")).unwrap().into_parts().0;
        let (first, second) = (place(&one), place(&two));
        let same = one.iter().take(4).eq(two.iter().take(4));
        prop_assert_eq!(first == second, same);
        prop_assert_eq!(first.as_str() == second.as_str(), same);
        // `env--team` splits in one way, because an environment holds no `--`.
        let namespace = |place: &Location| format!("{}--{}", place.env(), place.team());
        if namespace(&first) == namespace(&second) {
            prop_assert_eq!((first.env(), first.team()), (second.env(), second.team()));
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic_or_is_repeated_by_it(text in any::<String>()) {
        if let Err(error) = SecretId::parse_reference(&text) {
            prop_assert!(text.len() < 12 || !error.to_string().contains(&text));
        }
    }

    #[test]
    fn placeholders_are_found_where_they_stand(
        before in "[^$]{0,30}", between in "[^$]{0,30}", parts in valid(), more in valid(),
    ) {
        let (one, two) = (parts.join(":"), more.join(":"));
        let text = format!("{before}$<{one}>{between}$<{two}>");
        let found: Vec<Found> = scan(&text).collect();
        prop_assert_eq!(found.len(), 2);
        for (found, id) in found.iter().zip([one, two]) {
            prop_assert_eq!(text.get(found.range.clone()).map(str::to_owned), Some(format!("$<{id}>")));
            prop_assert_eq!(found.id.to_string(), id);
        }
    }

    #[test]
    fn no_text_makes_the_scan_panic_or_leave_its_text(text in "[$<>a-z:/.\u{e9}-]{0,200}") {
        let mut end = 0;
        for found in scan(&text) {
            prop_assert!(found.range.start >= end);
            end = found.range.end;
            prop_assert!(text.get(found.range).is_some_and(|found| SecretId::parse_reference(found).is_ok()));
        }
    }
}

#[test]
fn n2_every_segment_has_its_own_rule_and_its_own_error() {
    let long = |count: usize| "a".repeat(count);
    for (text, error) in [
        (String::new(), IdError::Segments),
        ("poc".to_owned(), IdError::Segments),
        ("poc:::zones".to_owned(), IdError::Segments),
        ("poc:::zones::".to_owned(), IdError::Segments),
        (":::zones:".to_owned(), IdError::Environment),
        ("POC:::zones:".to_owned(), IdError::Environment),
        ("po--c:::zones:".to_owned(), IdError::Environment),
        ("-poc:::zones:".to_owned(), IdError::Environment),
        ("poc-:::zones:".to_owned(), IdError::Environment),
        ("p_c:::zones:".to_owned(), IdError::Environment),
        (format!("{}:::zones:", long(64)), IdError::Environment),
        ("poc:secrets::teamToken:".to_owned(), IdError::Team),
        ("poc:Team::teamToken:".to_owned(), IdError::Team),
        (format!("poc:{}::teamToken:", long(59)), IdError::Team),
        ("poc::app:x:".to_owned(), IdError::ApplicationWithoutTeam),
        ("poc:team:secrets:x:".to_owned(), IdError::Application),
        ("poc:team:App:x:".to_owned(), IdError::Application),
        ("poc:::1zones:".to_owned(), IdError::Slot),
        ("poc::::".to_owned(), IdError::Slot),
        ("poc:::zo.nes:".to_owned(), IdError::Slot),
        (format!("poc:::{}:", long(61)), IdError::Slot),
        ("poc:::zones/:".to_owned(), IdError::SubKey),
        ("poc:::zones/a//b:".to_owned(), IdError::SubKey),
        ("poc:::zones/.:".to_owned(), IdError::SubKey),
        ("poc:::zones/a/../b:".to_owned(), IdError::SubKey),
        ("poc:::zones/a b:".to_owned(), IdError::SubKey),
        ("poc:::zones/a\0b:".to_owned(), IdError::SubKey),
        ("poc:::zones/\u{e9}:".to_owned(), IdError::SubKey),
        (format!("poc:::zones/{}:", long(201)), IdError::SubKey),
        ("poc:::zones:a-b".to_owned(), IdError::Checksum),
        (format!("poc:::zones:{}", long(65)), IdError::Checksum),
        (long(10_000), IdError::Length),
    ] {
        assert_eq!(SecretId::parse(&text), Err(error), "{text}");
    }
    for text in [
        format!("{}:::zones:", long(63)),
        format!("poc:{}::teamToken:", long(58)),
        format!("poc:::{}:", long(60)),
        format!("poc:::zones/{}:", long(200)),
        format!("poc:::zones:{}", long(64)),
        "poc:eni--hyperion:my-app:externalSecrets/foo/password:3f9a0c11d2be".to_owned(),
        "poc:::zones/a.b:".to_owned(),
        "poc:::zones/-1:".to_owned(),
        "poc:::zones/@this:".to_owned(),
        "poc:::zones/...:".to_owned(),
    ] {
        assert!(SecretId::parse(&text).is_ok(), "{text}");
    }
}

#[test]
fn a_placeholder_inside_an_invalid_one_is_found_and_a_flood_is_no_work() {
    let found: Vec<String> = scan("$<a$<poc:::zones:>").map(|found| found.id.to_string()).collect();
    assert_eq!(found, ["poc:::zones:"]);
    assert_eq!(scan(&"$<".repeat(512 * 1024)).count(), 0);
    assert_eq!(scan(&"$<poc:::zones:".repeat(50_000)).count(), 0);
}

#[test]
fn fingerprints_are_those_of_the_documents() {
    let place = SecretId::parse("poc:::zones/eu:").unwrap().into_parts().0;
    let value = SecretValue::new("s3cr3t".to_owned());
    // Worked out with another implementation of SHA-256 and HMAC.
    assert_eq!(Fingerprinter::Sha256.checksum(&place, &value).as_str(), "4e738ca5563c");
    let keyed = Fingerprinter::Keyed(Zeroizing::new(b"key".to_vec()));
    assert_eq!(keyed.checksum(&place, &value).as_str(), "16b9808c157b");
    let elsewhere = SecretId::parse("poc:::zones/us:").unwrap().into_parts().0;
    assert_ne!(keyed.checksum(&elsewhere, &value), keyed.checksum(&place, &value));
    assert_eq!(Fingerprinter::Sha256.checksum(&elsewhere, &value), Fingerprinter::Sha256.checksum(&place, &value));
}

#[test]
fn a_pattern_covers_its_scope_and_everything_below() {
    let covers =
        |pattern: &str, env: &str, team: &str, app: &str| ScopePattern::parse(pattern).unwrap().covers(env, team, app);
    assert!(covers("*", "a", "", "") && covers("a", "a", "", "") && covers("a", "a", "b", "c"));
    assert!(covers("a/b", "a", "b", "") && covers("a/b", "a", "b", "c") && covers("a/b/c", "a", "b", "c"));
    assert!(!covers("a/b", "a", "", "") && !covers("a/b", "a", "bb", "") && !covers("a/b/c", "a", "b", ""));
    for wrong in ["", "a/", "a//b", "a/b/c/d", "**", "a/*", "A", "/a"] {
        assert!(ScopePattern::parse(wrong).is_err(), "{wrong}");
    }
}
