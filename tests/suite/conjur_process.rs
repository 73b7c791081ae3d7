//! The whole program with Conjur behind it: ready once it has logged in, and what it says of itself.

use std::process::Command;
use std::time::Duration;

use cloakroom_tests::agent::{Agent, Options, binary, eventually};
use cloakroom_tests::conjur::{FakeConjur, Fault, JwtService, Kind, Settings};
use cloakroom_tests::conjur_agent::{ALL, SERVICE, prepared, scope_in};
use cloakroom_tests::wire::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::{APP, call, id_path};

/// Longer than the longest pause between two logins.
const PATIENCE: Duration = Duration::from_secs(30);

/// An agent of the service account `agent` in `poc`, which is its only writer.
fn agent(fake: &FakeConjur, tls: bool) -> Agent {
    agent_with(fake, tls, "", "")
}

/// With more keys of `backend.conjur`, and of the configuration.
fn agent_with(fake: &FakeConjur, tls: bool, conjur: &str, extra: &str) -> Agent {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("token"), fake.jwt("poc", "agent").sign()).unwrap();
    let authorities = if tls {
        std::fs::write(path("ca.pem"), fake.ca_pem()).unwrap();
        format!("caFile: {}, ", path("ca.pem"))
    } else {
        String::new()
    };
    let sources = format!(
        "backend: {{kind: conjur, conjur: {{url: {:?}, account: main, {authorities}lease: {{mode: none}}, {conjur}\
         authn: {{jwt: {{serviceId: {SERVICE}, tokenFile: {}}}}}}}}}\n\
         identity: {{kind: uid}}\n\
         permissions: {{kind: file, file: {}}}",
        fake.url(),
        path("token"),
        path("grants.yaml"),
    );
    Agent::start_in(directory, Options { sources: Some(sources), extra: extra.to_owned(), ..Options::default() })
}

fn admin(agent: &Agent, path: &str) -> (u16, String) {
    let answer = Connection::open(&agent.admin()).request_plain("GET", path, &[], b"");
    (answer.status, String::from_utf8(answer.body).unwrap())
}

fn status(agent: &Agent) -> Value {
    let answer = call(&mut Connection::open(&agent.socket()), "GET", "/api/v1/status", "");
    serde_json::from_slice(&answer.body).unwrap()
}

/// What `cloakroom status` prints, with single spaces.
fn printed(agent: &Agent) -> String {
    let output = Command::new(binary()).arg("--socket").arg(agent.socket()).arg("status").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_ready_once_conjur_has_let_it_in_and_not_before() {
    for refusal in [Fault::status(401), Fault::status(403), Fault::status(503), Fault::Reset] {
        let fake = prepared(&[("agent", ALL)]).await;
        fake.fail(Kind::Login, refusal.clone());
        let agent = agent(&fake, true);
        eventually(PATIENCE, "a login", || fake.count(Kind::Login) > 0);
        assert_eq!(admin(&agent, "/readyz").0, 503, "{refusal:?}");
        assert_eq!(admin(&agent, "/livez").0, 200);
        assert_eq!(status(&agent)["backend"]["state"], "down", "{refusal:?}");
        assert!(printed(&agent).contains("backend.state down"), "{}", printed(&agent));
        assert!(!admin(&agent, "/metrics").1.contains("token_expiry"), "there is no token yet");

        fake.clear_faults();
        eventually(PATIENCE, "readiness without a restart", || admin(&agent, "/readyz").0 == 200);
        eventually(PATIENCE, "the backend to be up", || status(&agent)["backend"]["state"] == "up");
        assert!(printed(&agent).contains("backend.state up"), "{}", printed(&agent));
        assert_eq!(status(&agent)["backend"]["kind"], "conjur");
        let metrics = admin(&agent, "/metrics").1;
        assert!(metrics.contains("cloakroom_backend_up 1\n"), "{metrics}");
        let line = "cloakroom_token_expiry_seconds{token=\"conjur\"} ";
        let left: i64 = metrics.lines().find_map(|found| found.strip_prefix(line)).unwrap().parse().unwrap();
        assert!((300..=480).contains(&left), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conjur_that_goes_away_is_told_by_the_next_request_and_readiness_stays() {
    let fake = prepared(&[("agent", ALL)]).await;
    let agent = agent(&fake, true);
    eventually(PATIENCE, "readiness", || admin(&agent, "/readyz").0 == 200);
    let mut connection = Connection::open(&agent.socket());
    let body = r#"{"secrets":[{"name":"externalSecrets/a","value":"b"}]}"#;
    assert_eq!(call(&mut connection, "PUT", APP, body).status, 200);
    fake.fail(cloakroom_tests::conjur::When::any(), Fault::status(500));
    let unread = id_path("poc:eni--hyperion:my-app:clientSecret:");
    assert_eq!(call(&mut connection, "GET", &unread, "").status, 503);
    assert_eq!(status(&agent)["backend"]["state"], "down");
    // What is in memory is still served: taking the agent out would help nobody.
    assert_eq!(admin(&agent, "/readyz").0, 200);
    fake.clear_faults();
    assert_eq!(call(&mut connection, "GET", &unread, "").status, 200);
    assert_eq!(status(&agent)["backend"]["state"], "up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_others_make_in_conjur_reaches_the_file_by_a_poll_and_only_what_has_changed_is_read() {
    let fake = prepared(&[("agent", ALL)]).await;
    scope_in(&fake, "poc/eni--hyperion/my-app");
    let variable = |slot: &str| format!("controlplane/poc/eni--hyperion/my-app/{slot}");
    fake.set_value(&variable("clientSecret"), "first");
    fake.set_value(&variable("externalSecrets"), r#"{"a":"other"}"#);
    let place = TempDir::new().unwrap();
    let directory = place.path().join("files");
    let files = json!([
        {"name": "one", "destination": "one", "secret": "poc:eni--hyperion:my-app:clientSecret:"},
        {"name": "two", "destination": "two", "template": "{{ secret('poc:eni--hyperion:my-app:externalSecrets/a:') }}"},
    ]);
    let sets = format!("renderSets: {}", json!([{"directory": directory, "files": files}]));
    let _agent = agent_with(&fake, true, "versionPoll: 1s, ", &sets);
    let content = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap_or_default();
    eventually(PATIENCE, "both files", || content("one") == "first" && content("two") == "other");
    // The first poll of each tells its version, and then the value of that version is read once.
    let polled = |times: usize| {
        let before = fake.count(Kind::Metadata);
        eventually(PATIENCE, "polls", || fake.count(Kind::Metadata) >= before + times);
        fake.count(Kind::Batch) + fake.count(Kind::Read)
    };
    let reads = polled(6);
    assert_eq!(polled(4), reads, "a poll reads no value");
    fake.set_value(&variable("clientSecret"), "second");
    eventually(PATIENCE, "the new content", || content("one") == "second");
    assert_eq!(content("two"), "other");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_job_are_tried_again_while_conjur_is_away_and_not_where_something_is_missing() {
    let fake = prepared(&[("agent", ALL)]).await;
    scope_in(&fake, "poc/eni--hyperion/my-app");
    fake.set_value("controlplane/poc/eni--hyperion/my-app/clientSecret", "there");
    let place = TempDir::new().unwrap();
    let file =
        |slot: &str| json!([{"name": "a", "destination": "a", "secret": format!("poc:eni--hyperion:my-app:{slot}:")}]);
    let sets =
        |slot| format!("renderSets: {}", json!([{"directory": place.path().join("files"), "files": file(slot)}]));
    let render = |kept: &TempDir| {
        let config = kept.path().join("cloakroom.yaml");
        let mut command = Command::new(binary());
        command.args(["render", "--wait", "25", "--config"]).arg(config).env_clear();
        command.stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let kept = agent_with(&fake, true, "", &sets("clientSecret")).into_directory();
    std::fs::remove_dir_all(place.path().join("files")).unwrap();
    let before = fake.count(Kind::Login);
    fake.fail(Kind::Login, Fault::status(503));
    let mut child = render(&kept);
    eventually(PATIENCE, "two logins", || fake.count(Kind::Login) >= before + 2);
    assert!(child.try_wait().unwrap().is_none());
    fake.clear_faults();
    assert!(child.wait().unwrap().success());
    assert_eq!(std::fs::read_to_string(place.path().join("files/a")).unwrap(), "there");

    let kept = agent_with(&fake, true, "", &sets("externalSecrets/none")).into_directory();
    let before = fake.count(Kind::Login);
    let output = render(&kept).wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("does not exist"), "{said}");
    assert_eq!(fake.count(Kind::Login), before + 1, "it was tried once");
    assert_eq!(std::fs::read_to_string(place.path().join("files/a")).unwrap(), "there");
}

#[tokio::test(flavor = "multi_thread")]
async fn conjur_without_tls_is_a_warning_in_log_and_status() {
    let fake = FakeConjur::with(Settings { tls: false, ..Settings::default() }).await;
    fake.enable_jwt(SERVICE, &JwtService::default());
    fake.permit_jwt(SERVICE, "apps", "poc", "agent");
    let plain = agent(&fake, false);
    let warnings = status(&plain)["warnings"].to_string();
    assert!(warnings.contains("without TLS"), "{warnings}");
    assert!(printed(&plain).contains("without TLS"));
    assert!(plain.log().contains("without TLS"), "{}", plain.log());
    let fake = prepared(&[("agent", ALL)]).await;
    assert!(!status(&agent(&fake, true))["warnings"].to_string().contains("TLS"));
}
