//! The configuration: what is taken, what is refused, and that every mistake is named.

use proptest::prelude::*;

use super::*;

const GOOD: &str = "\
listen: {allowUids: [1000]}
backend: {kind: embedded, embedded: {file: /s/store.redb, keyFile: /s/store.key}}
identity: {kind: uid}
permissions: {kind: file}
";

fn problems(text: &str) -> String {
    Config::parse(text).unwrap_err().to_string()
}

#[test]
fn the_smallest_configuration_has_the_defaults_of_the_documents() {
    let config = Config::parse(GOOD).unwrap();
    assert_eq!(config.listen.socket, PathBuf::from("/run/cloakroom/agent/agent.sock"));
    assert_eq!(config.listen.admin, Some(AdminAddress::Tcp("127.0.0.1:9187".parse().unwrap())));
    assert_eq!(config.permissions, Permissions::File(PathBuf::from("/etc/cloakroom/grants.yaml")));
    assert_eq!((config.cache.max_bytes, config.cache.max_entries), (8 << 20, 10_000));
    assert_eq!((config.cache.ttl, config.cache.negative_ttl), (Duration::from_mins(5), Duration::from_secs(1)));
    assert_eq!(config.audit.sink, AuditSink::Stdout);
    assert_eq!(config.limits.value_bytes, 64 << 10);
    assert_eq!(config.limits.connections, 64);
    assert_eq!(config.secrets.catalogue, Catalogue::default());
    assert!(!config.is_dev());
}

#[test]
fn three_mistakes_are_three_problems() {
    let text = format!("{GOOD}cache: {{ttl: soon, size: 1}}\nlimits: {{connections: 100000}}\n");
    let found = Config::parse(&text).unwrap_err();
    assert_eq!(found.count(), 3, "{found}");
    insta::assert_snapshot!(found);
}

#[test]
fn limits_that_do_not_fit_into_each_other_are_refused() {
    let text = format!("{GOOD}limits: {{bodyBytes: 4MiB, inFlightBytes: 1MiB, valueBytes: 1MiB, slotBytes: 64KiB}}\n");
    let found = Config::parse(&text).unwrap_err().to_string();
    assert!(found.contains("limits.bodyBytes") && found.contains("limits.valueBytes"), "{found}");
}

#[test]
fn nothing_at_all_names_everything_that_is_needed() {
    insta::assert_snapshot!(problems(""));
}

#[test]
fn what_is_not_in_this_version_is_refused_with_a_sentence() {
    let text = "\
listen: {allowUids: [65534, root]}
backend: {kind: conjur, conjur: {url: x}, kubernetes: {}, gateway: {}}
identity: {kind: pod, tokenDir: /x}
permissions: {kind: kubernetes}
renderSets: [{}]
render: [{}]
audit: {sink: file}
";
    insta::assert_snapshot!(problems(text));
}

#[test]
fn a_key_that_stands_twice_does_not_hide_other_mistakes() {
    let text = format!("{GOOD}log: {{level: loud}}\nidentity: {{kind: uid}}\n");
    let found = problems(&text);
    assert!(found.contains("stands twice") && found.contains("log.level"), "{found}");
}

#[test]
fn every_key_that_stands_twice_is_named_and_the_mistakes_of_both_are() {
    let text = "\
listen: {allowUids: [1000], sokcet: /x}
backend: {kind: embedded, embedded: {file: /s, file: /t, keyFile: /k}}
listen: {admin: nowhere}
identity: {kind: uid}
permissions: {kind: file}
permissions: {kind: file}
permissions: {kind: file}
\"s3cr3t one\": 1
\"s3cr3t one\": 2
";
    insta::assert_snapshot!(problems(text));
}

#[test]
fn no_mistake_repeats_what_stands_under_a_key() {
    for line in [
        "cache: {ttl: s3cr3t-value}",
        "cache: s3cr3t-value",
        "listen: {admin: s3cr3t-value}",
        "log: {level: s3cr3t-value}",
        "\"s3cr3t value\": 1",
        "audit: {sink: s3cr3t-value}",
        "secrets: {slots: {team: [s3cr3t-value]}}",
        "x: [s3cr3t-value",
    ] {
        let found = problems(&format!("{GOOD}{line}\n"));
        assert!(!found.contains("s3cr3t"), "{found}");
    }
}

#[test]
fn sizes_and_durations_are_read_in_their_units() {
    let parse = |text: &str| Config::parse(&format!("{GOOD}{text}\n"));
    assert_eq!(parse("cache: {maxBytes: 4MiB}").unwrap().cache.max_bytes, 4 << 20);
    assert_eq!(parse("cache: {maxBytes: 1048576}").unwrap().cache.max_bytes, 1 << 20);
    assert_eq!(parse("cache: {ttl: 0s}").unwrap().cache.ttl, Duration::ZERO);
    assert_eq!(parse("cache: {ttl: 2h}").unwrap().cache.ttl, Duration::from_hours(2));
    assert_eq!(parse("audit: {timeout: 250ms}").unwrap().audit.timeout, Duration::from_millis(250));
    for wrong in [
        "cache: {ttl: 5}",
        "cache: {ttl: -1s}",
        "cache: {ttl: 25h}",
        "cache: {maxBytes: 8MB}",
        "cache: {maxBytes: 1KiB}",
        "cache: {refreshAhead: 2}",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn slots_can_be_replaced_and_are_checked() {
    let parse = |slots: &str| Config::parse(&format!("{GOOD}secrets: {{slots: {{team: {slots}}}}}\n"));
    let config = parse("[{name: a, kind: scalar, initial: generated}, {name: b, kind: map}]").unwrap();
    assert_eq!(config.secrets.catalogue.team.len(), 2);
    for wrong in [
        "[]",
        "[{name: a}]",
        "[{name: 1a, kind: map}]",
        "[{name: a, kind: map, initial: generated}]",
        "[{name: a, kind: map}, {name: a, kind: map}]",
        "[{name: a, kind: map, x: 1}]",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_schema_is_pinned() {
    insta::assert_snapshot!(format!("{:#}", schema()));
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>(), tail in "[a-z{}\\[\\]:, \n\"'&*!|>#-]{0,80}") {
        drop(Config::parse(&text));
        drop(Config::parse(&format!("{GOOD}{tail}")));
    }
}
