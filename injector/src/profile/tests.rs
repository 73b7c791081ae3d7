//! What an operator can write wrong, and what a profile's configuration becomes.

use super::*;

const RIGHT: &str = "{image: cloakroom:1, profiles: {default: {config: {backend: {kind: kubernetes}}}}}";

fn problems(text: &str) -> String {
    Settings::parse(text).unwrap_err().to_string()
}

#[test]
fn little_is_enough_and_the_rest_has_defaults() {
    let settings = Settings::parse(RIGHT).unwrap();
    assert_eq!((settings.uid, settings.gid, settings.group), (65532, 65532, 65533));
    assert_eq!(settings.image_pull_policy, "IfNotPresent");
    let profile = settings.usual_profile("anywhere");
    assert_eq!(profile.resources, Resources::default());
    assert_eq!(profile.token_expiration_seconds, 3600);
    assert_eq!((profile.metrics_port, profile.conjur_audience.as_deref()), (None, None));
}

#[test]
fn n1_every_mistake_is_named_at_once_and_no_value_is_repeated() {
    let text = "
imagePullPolicy: Sometimes
uid: 0
colour: SECRETVALUE
defaultProfile: nobody
namespaces: {team-a: nobody}
profiles:
  one:
    config:
      backend: {kind: conjur, conjur: {caFile: /SECRETVALUE, authn: {apiKey: {login: SECRETVALUE}}}}
      listen: {group: 1, admin: SECRETVALUE}
      audit: {sink: file}
    resources: {requests: {memory: 128Mi}, limits: {cpu: lots}}
    locks: [inject]
    logLevels: [loud]
    metricsPort: 80
    tokenExpirationSeconds: 10
    conjurAudience: 'a b'
    runAsUserFromNamespace: maybe
    shape: round
";
    let said = problems(text);
    assert!(!said.contains("SECRETVALUE"), "{said}");
    insta::assert_snapshot!(said);
}

#[test]
fn what_the_agent_would_refuse_is_refused_before_any_pod_has_it_and_no_value_is_repeated() {
    let text = "
image: cloakroom:1
profiles:
  default:
    config:
      backend: {kind: kubernets}
      cach: {ttl: SECRETVALUE}
      cache: {ttl: SECRETVALUE, size: 1}
      limits: 7
      log: {level: loud}
      listen: {allowUids: [SECRETVALUE], admin: '', sockets: []}
  conjur:
    config:
      backend: {kind: conjur, conjur: {url: ftp://SECRETVALUE, caPem: SECRETVALUE, rootPolicyPath: a//b}}
      secrets: {generated: {length: 3}}
  odd:
    config: {backend: {kind: kubernetes, embedded: {file: SECRETVALUE}}, \"a b\": SECRETVALUE}
  host:
    config: {backend: {kind: embedded}, permissions: {kind: file}, audit: {sink: file}}
";
    let said = problems(text);
    assert!(!said.contains("SECRETVALUE"), "{said}");
    insta::assert_snapshot!(said);
}

#[test]
fn a_text_that_is_no_yaml_or_no_map_or_says_a_key_twice_is_refused() {
    for text in ["", "[]", "a: [", "image: a\nimage: b", "- x"] {
        assert!(!problems(text).is_empty(), "{text}");
    }
}

#[test]
fn n10_the_kubelet_expands_nothing_in_what_the_operator_wrote() {
    let text = RIGHT.replace("kind: kubernetes", CONJUR).replace("main", "$(EVIL_SERVICE_HOST)$$");
    let settings = Settings::parse(&text).unwrap();
    let inline = settings.usual_profile("").inline(65533, Admin::Socket, None, &[]);
    assert!(inline.contains(r#""account":"$$(EVIL_SERVICE_HOST)$$$$""#), "{inline}");
}

#[test]
fn what_injection_decides_is_added_and_what_the_operator_wrote_stays() {
    let text = RIGHT.replace("backend:", "listen: {allowUids: [7]}, log: , backend:");
    let settings = Settings::parse(&text).unwrap();
    let inline = settings.usual_profile("").inline(4, Admin::Port(9187), LogLevel::parse("debug"), &[]);
    insta::assert_snapshot!(inline);
}

const CONJUR: &str =
    "kind: conjur, conjur: {url: 'https://conjur.example', account: main, authn: {jwt: {serviceId: k8s}}}";

#[test]
fn conjur_brings_its_token_unless_somebody_says_otherwise() {
    let audience = |more: &str| {
        let text = RIGHT.replace("kind: kubernetes}}", &format!("{CONJUR}}}}}{more}"));
        Settings::parse(&text).unwrap().usual_profile("").conjur_audience.clone()
    };
    assert_eq!(audience("").as_deref(), Some("conjur"));
    assert_eq!(audience(", conjurAudience: elsewhere").as_deref(), Some("elsewhere"));
    assert_eq!(audience(", conjur: false"), None);
}

#[test]
fn amounts_are_written_as_the_api_server_writes_them() {
    use quantity::{Cpu, Memory};
    let cpu = |text| Cpu::parse(text).map(|cpu| cpu.to_string());
    let memory = |text| Memory::parse(text).map(|memory| memory.to_string());
    assert_eq!(
        [cpu("5m"), cpu("1000m"), cpu("1500m"), cpu("2")],
        ["5m", "1", "1500m", "2"].map(|t| Some(t.to_owned()))
    );
    assert_eq!(
        [memory("16Mi"), memory("1024Mi"), memory("1536Ki")],
        ["16Mi", "1Gi", "1536Ki"].map(|t| Some(t.to_owned()))
    );
    for wrong in ["", "m", "0", "0m", "-1", "0.5", "1e3", "1234567", "1k"] {
        assert_eq!(cpu(wrong), None, "{wrong}");
    }
    for wrong in ["", "16", "0Mi", "16M", "16Ti", "1.5Gi", "Mi"] {
        assert_eq!(memory(wrong), None, "{wrong}");
    }
}
