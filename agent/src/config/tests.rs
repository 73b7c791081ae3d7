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
backend: {kind: gateway, kubernetes: {}, gateway: {}}
identity: {kind: pod, tokenDir: /x}
permissions: {kind: kubernetes}
renderSets: [{}]
render: [{}]
audit: {sink: file}
";
    insta::assert_snapshot!(problems(text));
}

/// The files of a configuration with one set.
fn files(entries: &str) -> Result<Vec<crate::render::spec::FileSpec>, Problems> {
    let text = format!("{GOOD}renderSets: [{{directory: /f, files: [{entries}]}}]\n");
    Config::parse(&text).map(|mut config| config.render.remove(0).files)
}

const SECRET: &str = "name: a, destination: a.env, secret: 'poc:::zones/a:'";

#[test]
fn a_file_has_the_defaults_of_the_documents() {
    use crate::render::format::Format;
    use crate::render::spec::OnMissing;
    let file = files(&format!("{{{SECRET}}}")).unwrap().remove(0);
    assert_eq!((file.format, file.mode, file.on_missing), (Format::Env, 0o440, OnMissing::Fail));
    assert!(file.required && file.on_change.is_none());
    let config = Config::parse(&format!("{GOOD}render: [{{{SECRET}}}]\n")).unwrap();
    assert_eq!(config.render[0].directory, PathBuf::from("/cloakroom/files"));
}

#[test]
fn a_mode_is_octal_however_yaml_reads_it() {
    let mode = |text: &str| files(&format!("{{{SECRET}, mode: {text}}}")).map(|files| files[0].mode);
    for (text, expected) in
        [("0440", 0o440), ("'0440'", 0o440), ("0o440", 0o440), ("'640'", 0o640), ("288", 0o440), ("0400", 0o400)]
    {
        assert_eq!(mode(text).unwrap(), expected, "{text}");
    }
    // What looks like an octal mode and is another number would open the file, so that it is refused.
    for wrong in
        ["440", "400", "640", "0666", "'0620'", "0002", "04755", "-1", "1.5", "true", "''", "'0o9'", "0040", "1e3"]
    {
        assert!(mode(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn every_mistake_about_files_is_named_at_once() {
    let text = format!(
        "{GOOD}\
renderSets:
  - files: [{{{SECRET}, colour: red}}]
  - {{directory: /f/../g, files: []}}
  - directory: /f
    requireMemory: maybe
    files:
      - {{name: '-x', destination: /etc/x, template: '{{{{ env(1) }}}}'}}
      - {{name: b, destination: b, secret: s3cr3t, format: docx, mode: 9, onMissing: cry, required: 1}}
      - {{name: c, destination: c, source: '{{', format: json, onChange: {{http: {{url: 'http://s3cr3t/'}}}}}}
      - {{name: c, destination: c/d, sourceFile: relative, onChange: {{signal: {{name: KILL, pidFile: /p}}, quiet: 1y}}}}
      - {{name: e, destination: e, secret: 'poc:::zones/a:', onChange: {{exec: [true], http: {{}}}}}}
      - {{name: f, destination: f, secret: 'poc:::zones/a:', onChange: {{exec: ['sh']}}}}
      - s3cr3t
  - {{directory: /f/inner, files: [{{name: g, destination: g, template: 'x', secret: 'poc:::zones/a:'}}]}}
render: s3cr3t
"
    );
    let found = problems(&text);
    assert!(!found.contains("s3cr3t"), "{found}");
    insta::assert_snapshot!(found);
}

#[test]
fn a_command_is_run_on_single_hosts_only() {
    let exec = format!("[{{{SECRET}, onChange: {{exec: ['/bin/true']}}}}]");
    assert!(Config::parse(&format!("{GOOD}render: {exec}\n")).is_ok());
    let found = problems(&format!("backend: {{kind: kubernetes}}\nrender: {exec}\n"));
    assert!(found.starts_with("render[0].onChange.exec: is for single hosts"), "{found}");
}

/// A configuration with these keys under `backend.conjur`, of a pod.
fn conjur(keys: &str) -> Result<ConjurConfig, Problems> {
    let text = format!("backend:\n  kind: conjur\n  conjur: {{{keys}}}\n");
    Config::parse(&text).map(|config| match config.backend {
        BackendConfig::Conjur(conjur) => *conjur,
        other => panic!("{other:?}"),
    })
}

#[test]
fn conjur_takes_a_token_or_a_key() {
    let jwt = conjur("url: 'https://c/', account: main, authn: {jwt: {serviceId: k8s}}").unwrap();
    assert_eq!((jwt.url.as_str(), jwt.account.as_str(), jwt.root.as_str()), ("https://c", "main", "controlplane"));
    assert_eq!((jwt.follower_url, jwt.authorities), (None, Authorities::System));
    assert_eq!(jwt.version_poll, Duration::from_secs(30));
    assert_eq!(jwt.lease, LeaseConfig::Kubernetes { namespace: None });
    let token_file = PathBuf::from("/var/run/secrets/cloakroom/conjur/token");
    assert_eq!(jwt.authn, Authn::Jwt { service_id: "k8s".to_owned(), host_id: None, token_file });

    let named = conjur(
        "url: 'https://c', account: main, caFile: /ca.pem, rootPolicyPath: data/cp, followerUrl: 'https://f/api/', \
         versionPoll: 0s, authn: {jwt: {serviceId: k8s, hostId: apps/x, tokenFile: /t}}, lease: {namespace: cloakroom}",
    )
    .unwrap();
    assert_eq!(named.follower_url.as_deref(), Some("https://f/api"));
    assert_eq!((named.root.as_str(), named.version_poll), ("data/cp", Duration::ZERO));
    assert_eq!(named.authorities, Authorities::File("/ca.pem".into()));
    assert_eq!(named.lease, LeaseConfig::Kubernetes { namespace: Some("cloakroom".to_owned()) });
    let (service_id, host_id) = ("k8s".to_owned(), Some("host/apps/x".to_owned()));
    assert_eq!(named.authn, Authn::Jwt { service_id, host_id, token_file: "/t".into() });

    let key = conjur(
        "url: 'https://c', account: main, authn: {apiKey: {login: host/x, apiKeyFile: /k}}, lease: {mode: none}",
    );
    let key = key.unwrap();
    assert_eq!(key.authn, Authn::ApiKey { login: "host/x".to_owned(), file: "/k".into() });
    assert_eq!(key.lease, LeaseConfig::None);
}

#[test]
fn everything_that_conjur_needs_is_named_at_once() {
    insta::assert_snapshot!(conjur("").unwrap_err());
}

#[test]
fn every_mistake_about_conjur_is_named_at_once() {
    let text = "\
listen: {allowUids: [1000]}
identity: {kind: uid}
permissions: {kind: file}
secrets: {checksum: keyed}
backend:
  kind: conjur
  conjur:
    url: conjur.example.com
    followerUrl: 'https://user:s3cr3t@f'
    account: 'a:s3cr3t'
    caFile: /ca.pem
    caPem: s3cr3t
    rootPolicyPath: 's3cr3t branch'
    versionPoll: 2d
    authn: {jwt: {serviceId: k8s}, apiKey: {login: x}}
    lease: {mode: kubernetes}
    keyFile: s3cr3t
";
    let found = problems(text);
    assert!(!found.contains("s3cr3t"), "{found}");
    insta::assert_snapshot!(found);
}

#[test]
fn what_conjur_is_told_by_halves_is_refused() {
    let good = "url: 'https://c', account: main, ";
    for (keys, named) in [
        ("authn: {jwt: {hostId: x}}", "authn.jwt.serviceId: is missing"),
        ("authn: {jwt: {serviceId: ''}}", "authn.jwt.serviceId: is missing"),
        ("authn: {jwt: {serviceId: 'a b'}}", "authn.jwt.serviceId: must be an id"),
        ("authn: {apiKey: {login: x}}", "authn.apiKey.apiKeyFile: is missing"),
        ("authn: {apiKey: {apiKeyFile: /k}}", "authn.apiKey.login: is missing"),
        ("authn: {apiKey: {login: x, apiKeyFile: k}}", "authn.apiKey.apiKeyFile: must be an absolute path"),
        ("authn: {jwt: {serviceId: k}}, caPem: nonsense", "caPem: holds no certificate"),
        ("authn: {jwt: {serviceId: k}}, lease: {mode: none, namespace: x}", "lease.namespace: stands beside mode none"),
        ("authn: {jwt: {serviceId: k}}, lease: {namespace: 'A B'}", "lease.namespace: must be the name"),
        ("authn: {jwt: {serviceId: k}}, lease: {mode: file}", "lease.mode: must be one of kubernetes, none"),
    ] {
        let found = conjur(&format!("{good}{keys}")).unwrap_err();
        assert!(found.to_string().contains(&format!("backend.conjur.{named}")), "{keys}: {found}");
        assert_eq!(found.count(), 1, "{keys}: {found}");
    }
    let beside = problems("backend: {kind: kubernetes, conjur: {account: main}}");
    assert_eq!(beside, "backend.conjur: stands without `kind: conjur`; add it, or take the key away");
}

#[test]
fn conjur_has_no_key_for_checksums() {
    let text = |checksum: &str| {
        format!(
            "secrets: {{checksum: {checksum}}}\n\
             backend: {{kind: conjur, conjur: {{url: 'https://c', account: main, authn: {{jwt: {{serviceId: k}}}}}}}}\n"
        )
    };
    assert!(problems(&text("keyed")).starts_with("secrets.checksum: keyed needs a key"));
    for fits in ["auto", "sha256"] {
        assert!(Config::parse(&text(fits)).is_ok(), "{fits}");
    }
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
