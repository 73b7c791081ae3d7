//! U1, U2: what earlier states of the product wrote and said stays readable and true.

use std::fs;
use std::path::{Path, PathBuf};

use cloakroom_tests::agent::{Agent, Options};
use cloakroom_tests::wire::Connection;
use serde_json::{Value, json};

use crate::api::{APP, call, id_path};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Every state that was kept: the directories that are named by a version.
fn states() -> Vec<PathBuf> {
    let version = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit());
    let mut states: Vec<PathBuf> =
        fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()).filter(version).collect();
    states.sort();
    assert!(!states.is_empty(), "there is at least the state of the first agent");
    states
}

/// What the store of a state must hold, by id with the checksum of that time.
fn expected(state: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(state.join("values.json")).unwrap();
    let values: Value = serde_json::from_str(&text).unwrap();
    values.as_object().unwrap().iter().map(|(id, value)| (id.clone(), value.as_str().unwrap().to_owned())).collect()
}

fn agent_on(state: &Path) -> Agent {
    let directory = tempfile::TempDir::new().unwrap();
    for file in ["store.redb", "store.key"] {
        let copy = directory.path().join(file);
        fs::copy(state.join(file), &copy).unwrap();
        fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    Agent::start_in(directory, Options::default())
}

#[test]
fn u2_every_store_that_was_kept_opens_and_its_ids_still_resolve() {
    for state in states() {
        let agent = agent_on(&state);
        let mut connection = Connection::open(&agent.socket());
        let values = expected(&state);
        assert!(values.len() >= 5);
        for (id, value) in &values {
            let answer = call(&mut connection, "GET", &id_path(id), "");
            assert_eq!(answer.status, 200, "{id} of {}", state.display());
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(body["value"], *value, "{id}");
            assert_eq!(body["id"], *id, "the checksum of then is the checksum of now");
        }
        let answer = call(&mut connection, "PUT", &id_path(&values[0].0), r#"{"value":"written by the new one"}"#);
        assert_eq!(answer.status, 200, "an old store takes new values");
    }
}

#[test]
fn u1_every_transcript_that_was_kept_is_answered_as_it_was() {
    for state in states() {
        let agent = agent_on(&state);
        let transcript = fs::read_to_string(state.join("transcript.json")).unwrap();
        let exchanges: Vec<Value> = serde_json::from_str(&transcript).unwrap();
        assert!(exchanges.len() >= 10);
        for exchange in exchanges {
            let now = exchange_once(&agent, &exchange);
            assert_eq!(now, exchange, "{} changed what a client sees", state.display());
        }
    }
}

/// Sends the request of an exchange and puts the answer of now into its place.
fn exchange_once(agent: &Agent, exchange: &Value) -> Value {
    let text = |name: &str| exchange["request"][name].as_str().unwrap();
    let answer = call(&mut Connection::open(&agent.socket()), text("method"), text("target"), text("body"));
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    if let Some(instance) = body.get_mut("instance") {
        *instance = "REQUEST".into();
    }
    let field = |name: &str| answer.header(name).map_or(Value::Null, Value::from);
    let fields = json!({
        "content-type": field("content-type"),
        "etag": field("etag"),
        "allow": field("allow"),
        "cache-control": field("cache-control"),
    });
    json!({"request": exchange["request"], "answer": {"status": answer.status, "fields": fields, "body": body}})
}

/// Writes the state of this version; run by hand when a state is to be kept, and then committed.
#[test]
fn a_new_state_is_written_where_the_environment_asks_for_one() {
    let Some(directory) = std::env::var_os("CLOAKROOM_KEEP_STATE").map(PathBuf::from) else { return };
    fs::create_dir_all(&directory).unwrap();
    let agent = Agent::start(Options::default());
    let mut connection = Connection::open(&agent.socket());
    let zones = "/api/v1/onboarding/environments/poc";
    let team = "/api/v1/onboarding/environments/poc/teams/eni--hyperion";
    for (path, body) in [
        (zones, json!({"secrets": [{"name": "zones/eu", "value": "zone secret"}]})),
        (team, json!({"secrets": [{"name": "teamToken", "value": "token"}]})),
        (
            APP,
            json!({"secrets": [
                {"name": "clientSecret", "value": "client \"secret\" \u{1f9e5}"},
                {"name": "externalSecrets/foo/password", "value": "s3cr3t"},
                {"name": "externalSecrets/a.b@c+d", "value": " spaces around "},
            ]}),
        ),
    ] {
        assert_eq!(call(&mut connection, "PUT", path, &body.to_string()).status, 200);
    }
    let mut values = serde_json::Map::new();
    for id in [
        "poc:::zones:",
        "poc:::zones/eu:",
        "poc:eni--hyperion::teamToken:",
        "poc:eni--hyperion::clientSecret:",
        "poc:eni--hyperion:my-app:clientSecret:",
        "poc:eni--hyperion:my-app:rotatedClientSecret:",
        "poc:eni--hyperion:my-app:externalSecrets:",
        "poc:eni--hyperion:my-app:externalSecrets/foo/password:",
        "poc:eni--hyperion:my-app:externalSecrets/a.b@c+d:",
    ] {
        let body: Value = serde_json::from_slice(&call(&mut connection, "GET", &id_path(id), "").body).unwrap();
        values.insert(body["id"].as_str().unwrap().to_owned(), body["value"].clone());
    }
    fs::write(directory.join("values.json"), serde_json::to_string_pretty(&values).unwrap() + "\n").unwrap();
    let ended = agent.into_directory();
    for file in ["store.redb", "store.key"] {
        fs::copy(ended.path().join(file), directory.join(file)).unwrap();
    }
    let agent = agent_on(&directory);
    let secret = id_path("poc:eni--hyperion:my-app:externalSecrets/foo/password:");
    let request =
        |method: &str, target: &str, body: &str| json!({"request": {"method": method, "target": target, "body": body}});
    let strict = format!("{secret}?checksum=strict");
    let exchanges: Vec<Value> = [
        request("GET", &secret, ""),
        request("HEAD", &secret, ""),
        request("GET", &strict.replace("%3A?", "%3A000000000000?"), ""),
        request("GET", "/api/v1/secrets?secretId=poc:::zones:&secretId=poc:::zones%2Feu:", ""),
        request("GET", "/api/v1/secrets?secretId=poc:::zones:&secretId=poc:::zones%2Fxx:", ""),
        request("GET", &id_path("poc:eni--hyperion:my-app:none:"), ""),
        request("GET", &id_path("POC:::zones:"), ""),
        request("PUT", &secret, r#"{"value":"new"}"#),
        request("PUT", &secret, r#"{"value":" "}"#),
        request("PUT", &secret, r#"{"value":"a","value":"b"}"#),
        request("PUT", &id_path("poc:eni--hyperion:my-app:none:"), r#"{"value":"a"}"#),
        request("PUT", APP, r#"{"strategy":"merge","secrets":[{"name":"externalSecrets/x","value":"y"}]}"#),
        request("PUT", APP, r#"{"secrets":[{"name":"externalSecrets/x","value":"z"}]}"#),
        request("GET", &id_path("poc:eni--hyperion:my-app:externalSecrets:"), ""),
        request("PATCH", &secret, ""),
        request("DELETE", &id_path("poc:eni--hyperion:my-app:externalSecrets/x:"), ""),
        request("GET", &id_path("poc:eni--hyperion:my-app:externalSecrets:"), ""),
        request("DELETE", APP, ""),
        request("DELETE", APP, ""),
        request("GET", "/nowhere", ""),
    ]
    .iter()
    .map(|exchange| exchange_once(&agent, exchange))
    .collect();
    fs::write(directory.join("transcript.json"), serde_json::to_string_pretty(&exchanges).unwrap() + "\n").unwrap();
}
