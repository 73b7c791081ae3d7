//! I1, I2, I6: who may do what.

use std::fs;

use cloakroom_agent::access::file::DevGrants;
use cloakroom_agent::access::{Decision, PermissionProvider as _, Right, Subject, Target};
use cloakroom_tests::agent::{Agent, Options, binary, eventually, own_uid, wait_with_deadline};
use cloakroom_tests::wire::{Connection, Response};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::api::{APP, call, id_path};

const RIGHTS: [&str; 3] = ["secrets_read", "secrets_write", "onboarding_write"];
const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"];

const OBFUSCATE: &str =
    r#"{"scope":"poc/eni--hyperion/my-app","slot":"externalSecrets","paths":[{"pointer":"/a"}],"document":{"a":"s"}}"#;

/// One endpoint: for each method that it has, the right that it needs, a body, and the answer to who holds the right.
struct Endpoint {
    path: String,
    methods: Vec<(&'static str, Option<&'static str>, &'static str, u16)>,
}

impl Endpoint {
    fn has(&self, method: &str) -> bool {
        self.methods.iter().any(|(name, ..)| *name == method)
    }
}

fn endpoints() -> Vec<Endpoint> {
    let secret = id_path("poc:eni--hyperion:my-app:externalSecrets/a:");
    let scope = |text: &str| format!("/api/v1/onboarding/{text}");
    let onboarding = |path: String| Endpoint {
        path,
        methods: vec![
            ("PUT", Some("onboarding_write"), r#"{"secrets":[]}"#, 200),
            ("DELETE", Some("onboarding_write"), "", 204),
        ],
    };
    let open =
        |path: &str| Endpoint { path: path.to_owned(), methods: vec![("GET", None, "", 200), ("HEAD", None, "", 200)] };
    vec![
        Endpoint {
            path: secret.clone(),
            methods: vec![
                ("GET", Some("secrets_read"), "", 200),
                ("HEAD", Some("secrets_read"), "", 200),
                ("PUT", Some("secrets_write"), r#"{"value":"v"}"#, 200),
                ("DELETE", Some("secrets_write"), "", 204),
            ],
        },
        Endpoint {
            path: "/api/v1/secrets?secretId=poc:eni--hyperion:my-app:externalSecrets%2Fa:".to_owned(),
            methods: vec![("GET", Some("secrets_read"), "", 200), ("HEAD", Some("secrets_read"), "", 200)],
        },
        Endpoint { path: format!("{secret}/rotate"), methods: vec![("POST", Some("secrets_write"), "{}", 200)] },
        Endpoint {
            path: format!("{secret}/events"),
            // Its GET is a stream, which a test of its own reads.
            methods: vec![("HEAD", Some("secrets_read"), "", 200)],
        },
        Endpoint {
            path: "/api/v1/resolve".to_owned(),
            methods: vec![("POST", Some("secrets_read"), r#"["$<poc:eni--hyperion:my-app:externalSecrets/a:>"]"#, 200)],
        },
        Endpoint {
            path: "/api/v1/obfuscate".to_owned(),
            methods: vec![("POST", Some("secrets_write"), OBFUSCATE, 200)],
        },
        onboarding(scope("environments/poc")),
        onboarding(scope("environments/poc/teams/eni--hyperion")),
        onboarding(scope("environments/poc/teams/eni--hyperion/apps/my-app")),
        open("/api/v1/whoami"),
        open("/api/v1/status"),
        open("/api/openapi.json"),
    ]
}

/// Puts the scopes and the secret back that the table's own calls delete. Needs every right.
fn restore(connection: &mut Connection) {
    for scope in ["environments/poc", "environments/poc/teams/eni--hyperion"] {
        assert_eq!(call(connection, "PUT", &format!("/api/v1/onboarding/{scope}"), "{}").status, 200);
    }
    let body = r#"{"secrets":[{"name":"externalSecrets/a","value":"old"}]}"#;
    assert_eq!(call(connection, "PUT", APP, body).status, 200);
}

fn set_grants(agent: &Agent, rights: &[&str]) {
    let rights_text = rights.join(", ");
    let subject = format!("uid:{}", own_uid());
    fs::write(
        agent.grants(),
        format!("grants: [{{subject: \"{subject}\", rights: [{rights_text}], scopes: [poc]}}]\n"),
    )
    .unwrap();
    agent.signal(Signal::SIGHUP);
    eventually(std::time::Duration::from_secs(10), "the new grants", || {
        let answer = Connection::open(&agent.socket()).request("GET", "/api/v1/whoami?scope=poc", &[], b"");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        RIGHTS.iter().all(|right| body["rights"][right] == rights.contains(right))
    });
}

#[test]
fn i2_every_right_opens_its_own_endpoints_and_no_other() {
    let agent = Agent::start(Options {
        extra: "limits: {callerRate: 10000, callerBurst: 20000}".to_owned(),
        ..Options::default()
    });
    let mut checked = 0;
    for held in RIGHTS {
        for endpoint in endpoints() {
            for method in METHODS {
                set_grants(&agent, &RIGHTS);
                restore(&mut Connection::open(&agent.socket()));
                set_grants(&agent, &[held]);
                let known = endpoint.methods.iter().find(|(name, ..)| *name == method);
                if endpoint.path.ends_with("/events") && method == "GET" {
                    continue;
                }
                let body = known.map_or("", |(_, _, body, _)| body);
                let expected = match known {
                    None => 405,
                    Some((_, Some(needed), ..)) if *needed != held => 403,
                    Some((.., status)) => *status,
                };
                let answer = call(&mut Connection::open(&agent.socket()), method, &endpoint.path, body);
                assert_eq!(answer.status, expected, "{method} {} with {held} alone", endpoint.path);
                assert_eq!(answer.header("allow").is_some(), expected == 405, "{method} {}", endpoint.path);
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 3 * (12 * 7 - 1));
}

#[test]
fn i2_head_is_get_without_the_body() {
    let agent = Agent::start(Options::default());
    let mut connection = Connection::open(&agent.socket());
    restore(&mut connection);
    let with_head = |endpoint: &Endpoint| ["GET", "HEAD"].iter().all(|method| endpoint.has(method));
    for endpoint in endpoints().into_iter().filter(with_head) {
        let get = call(&mut connection, "GET", &endpoint.path, "");
        let get =
            if get.header("cache-status").is_some() { call(&mut connection, "GET", &endpoint.path, "") } else { get };
        let head = call(&mut connection, "HEAD", &endpoint.path, "");
        assert_eq!(head.status, get.status, "{}", endpoint.path);
        assert!(head.body.is_empty());
        for name in ["content-type", "content-length", "etag", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {}", endpoint.path);
        }
    }
}

/// The answer without what is different in every answer by design: its own request id and the date.
fn comparable(answer: &Response) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let id = answer.header("x-request-id").unwrap().to_owned();
    let headers = answer
        .headers
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case("date") && !name.eq_ignore_ascii_case("x-request-id"))
        .cloned()
        .collect();
    let body = String::from_utf8(answer.body.clone()).unwrap().replace(&id, "REQUEST");
    (answer.status, headers, body.into_bytes())
}

#[test]
fn i6_a_foreign_id_is_refused_with_the_same_bytes_whether_or_not_it_exists() {
    let agent = Agent::start(Options::default());
    let mut connection = Connection::open(&agent.socket());
    restore(&mut connection);
    set_grants_for(&agent, "poc/other");
    let before = backend_calls(&agent);
    let id = "poc:eni--hyperion:my-app:externalSecrets/a:";
    let existing = call(&mut connection, "GET", &id_path(id), "");
    let known = comparable(&existing);
    assert_eq!(known.0, 403);
    for absent in [
        "poc:eni--hyperion:my-app:externalSecrets/b:",
        "poc:eni--hyperion:no-app:clientSecret:",
        "poc:no-team::teamToken:",
        "other:::zones:",
    ] {
        let answer = call(&mut connection, "GET", &id_path(absent), "");
        assert_eq!(comparable(&answer), known, "GET {absent}");
    }
    for (method, body) in [("PUT", r#"{"value":"x"}"#), ("DELETE", "")] {
        let existing = comparable(&call(&mut connection, method, &id_path(id), body));
        let absent = comparable(&call(&mut connection, method, &id_path("poc:no-team::teamToken:"), body));
        assert_eq!(existing, absent, "{method}");
        assert_eq!(existing.0, 403);
    }
    assert_eq!(backend_calls(&agent), before, "a denied request reached the backend");
}

#[test]
fn i6_one_denied_id_denies_the_whole_batch_and_nothing_is_read() {
    let agent = Agent::start(Options::default());
    restore(&mut Connection::open(&agent.socket()));
    set_grants_for(&agent, "poc/eni--hyperion/my-app");
    let before = backend_calls(&agent);
    let mut connection = Connection::open(&agent.socket());
    let path = "/api/v1/secrets?secretId=poc:eni--hyperion:my-app:externalSecrets%2Fa:&secretId=poc:::zones:";
    assert_eq!(call(&mut connection, "GET", path, "").status, 403);
    assert_eq!(backend_calls(&agent), before);
}

fn set_grants_for(agent: &Agent, scope: &str) {
    let subject = format!("uid:{}", own_uid());
    let rights = RIGHTS.join(", ");
    fs::write(
        agent.grants(),
        format!("grants: [{{subject: \"{subject}\", rights: [{rights}], scopes: [\"{scope}\"]}}]\n"),
    )
    .unwrap();
    agent.signal(Signal::SIGHUP);
    eventually(std::time::Duration::from_secs(10), "the new grants", || {
        let answer = Connection::open(&agent.socket()).request("GET", "/api/v1/whoami?scope=poc", &[], b"");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        body["rights"]["secrets_read"] == false
    });
}

/// The sum of all calls to the backend, from the agent's own metrics.
fn backend_calls(agent: &Agent) -> u64 {
    let answer = Connection::open(&agent.admin()).request("GET", "/metrics", &[], b"");
    let text = String::from_utf8(answer.body).unwrap();
    text.lines()
        .filter(|line| line.starts_with("cloakroom_backend_requests_total{"))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(_, count)| count.parse::<u64>().unwrap())
        .sum()
}

#[test]
fn i1_a_grants_file_that_is_not_right_stops_the_start() {
    let good = cloakroom_tests::agent::grant_everything(own_uid());
    for (what, text) in [
        ("empty", ""),
        ("no list", "grants:\n"),
        ("a typo in a key", "grant: []\n"),
        ("a typo in a right", "grants: [{subject: \"uid:1\", rights: [secret_read], scopes: [poc]}]\n"),
        ("no scopes", "grants: [{subject: \"uid:1\", rights: [secrets_read], scopes: []}]\n"),
        ("no YAML", "grants: [\n"),
        ("a key beside the grants", &format!("{good}rights: []\n")),
        ("more than a megabyte", &format!("{good}#{}\n", "x".repeat(1 << 20))),
    ] {
        let (code, said) = Agent::refused(&Options { grants: text.to_owned(), ..Options::default() });
        assert_eq!(code, Some(64), "{what}: an invalid configuration: {said}");
        assert!(said.contains("grants"), "{what}: the message must name the file: {said}");
    }
}

#[test]
fn i1_without_a_grants_file_there_is_no_start() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let config = format!(
        "listen: {{socket: {}, allowUids: [{}], admin: \"\"}}\n\
         backend: {{kind: embedded, embedded: {{file: {}, keyFile: {}}}}}\n\
         identity: {{kind: uid}}\npermissions: {{kind: file, file: {}}}\naudit: {{sink: file, file: /dev/null}}\n",
        path("run/agent.sock"),
        own_uid(),
        path("store.redb"),
        path("store.key"),
        path("grants.yaml"),
    );
    fs::write(directory.path().join("cloakroom.yaml"), config).unwrap();
    let mut child = std::process::Command::new(binary())
        .args(["agent", "--config", &path("cloakroom.yaml")])
        .env_clear()
        .stderr(fs::File::create(directory.path().join("stderr")).unwrap())
        .spawn()
        .unwrap();
    let status = wait_with_deadline(&mut child, std::time::Duration::from_secs(20));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(status.is_some_and(|status| !status.success()), "the agent started without grants");
    let said = fs::read_to_string(directory.path().join("stderr")).unwrap();
    assert!(said.contains("permissions.file"), "{said}");
    assert!(!directory.path().join("run/agent.sock").exists());
}

#[test]
fn i1_a_bad_reload_keeps_the_old_grants_and_says_so() {
    let agent = Agent::start(Options::default());
    fs::write(agent.grants(), "grants: [\n").unwrap();
    agent.signal(Signal::SIGHUP);
    let warned = || {
        let status = Connection::open(&agent.socket()).request("GET", "/api/v1/status", &[], b"");
        let status: Value = serde_json::from_slice(&status.body).unwrap();
        !status["warnings"].as_array().unwrap().is_empty()
    };
    eventually(std::time::Duration::from_secs(10), "a warning in /status", warned);
    let answer = Connection::open(&agent.socket()).request("GET", "/api/v1/whoami?scope=poc", &[], b"");
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["rights"]["secrets_read"], true, "the old grants still hold");
}

#[test]
fn a_uid_that_is_not_allowed_to_connect_gets_no_answer() {
    if !nix::unistd::getuid().is_root() {
        return;
    }
    let agent = Agent::start(Options {
        uid: Some(4711),
        grants: cloakroom_tests::agent::grant_everything(0),
        ..Options::default()
    });
    // Root passes every file mode, so only the peer's uid is left to refuse it.
    let answer = Connection::open(&agent.socket()).try_request("GET", "/api/v1/whoami", &[], b"");
    assert!(answer.is_none(), "an uid outside listen.allowUids was answered");
}

#[test]
fn n13_no_uid_that_stands_for_many_is_a_subject_and_each_has_one_spelling() {
    for uid in [65_534, u32::MAX] {
        assert!(Subject::from_uid(uid).is_none(), "{uid} stands for every uid without a name");
        assert!(Subject::parse(&format!("uid:{uid}")).is_none(), "{uid}");
    }
    for text in ["uid:01", "uid:+1", "uid:", "uid:-1", "uid:4294967296", "UID:1", " uid:1", "root", "1"] {
        assert!(Subject::parse(text).is_none(), "{text}");
    }
    assert_eq!(Subject::parse("uid:1"), Subject::from_uid(1));
    let grants = "grants: [{subject: \"uid:65534\", rights: [secrets_read], scopes: [\"*\"]}]\n".to_owned();
    let (code, said) = Agent::refused(&Options { grants, ..Options::default() });
    assert!(code.is_some_and(|code| code != 0) && said.contains("65534"), "{said}");
}

#[test]
fn n1_the_development_mode_allows_its_own_uid_and_no_other() {
    let grants = DevGrants::new(Subject::from_uid(1).unwrap());
    let target = Target { env: "poc", team: "", app: "" };
    for action in Right::ALL.into_iter().flat_map(Right::actions).copied() {
        assert_eq!(grants.known(&Subject::from_uid(1).unwrap(), action, target), Some(Decision::Allow));
        assert_eq!(grants.known(&Subject::from_uid(2).unwrap(), action, target), Some(Decision::Deny));
    }
    assert_eq!(grants.grants(&Subject::from_uid(2).unwrap()).unwrap().len(), 0);
}
