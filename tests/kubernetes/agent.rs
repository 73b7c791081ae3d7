//! A whole agent on a real API server: identity, permissions, faults, and what the API server saw of it.

use std::time::{Duration, Instant};

use base64::Engine as _;
use cloakroom_tests::agent::{Agent, Options, eventually};
use cloakroom_tests::canary::{Canary, Sink, sweep};
use cloakroom_tests::cluster::{Account, Cluster};
use cloakroom_tests::wire::{Connection, Response};

use super::place::{NAMESPACE, NAMESPACES, prepared};

pub(super) const SECRET: &str = "/api/v1/secrets/poc:eni--hyperion:my-app:clientSecret:";
pub(super) const APP: &str = "/api/v1/onboarding/environments/poc/teams/eni--hyperion/apps/my-app";
pub(super) const RIGHTS: [&str; 3] = ["cloakroom-reader", "cloakroom-writer", "cloakroom-onboarder"];

/// A decision that was made a moment ago may be believed for this long.
pub(super) const DENIAL: Duration = Duration::from_secs(7);
const ALLOWANCE: Duration = Duration::from_secs(35);

pub(super) fn start(extra: &str) -> (Cluster, Account, Agent) {
    let (cluster, account) = prepared();
    for namespace in NAMESPACES {
        cluster.empty(namespace);
    }
    let agent = Agent::start(Options { extra: extra.to_owned(), ..cluster.agent_options(&account) });
    eventually(DENIAL, "the agent learns who it is", || get(&agent, "/api/v1/whoami").status == 200);
    (cluster, account, agent)
}

pub(super) fn get(agent: &Agent, target: &str) -> Response {
    Connection::open(&agent.socket()).request("GET", target, &[], b"")
}

pub(super) fn put(agent: &Agent, target: &str, body: &str) -> Response {
    let headers = [("Content-Type", "application/json")];
    Connection::open(&agent.socket()).request("PUT", target, &headers, body.as_bytes())
}

pub(super) fn value(response: &Response) -> String {
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    body["value"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn n13_the_caller_is_who_the_api_server_says_and_no_variable_changes_it() {
    let (cluster, account) = prepared();
    let mut options = cluster.agent_options(&account);
    for name in ["POD_NAMESPACE", "POD_NAME", "SERVICE_ACCOUNT", "HOSTNAME"] {
        options.environment.push((name.to_owned(), "kube-system".to_owned()));
    }
    let agent = Agent::start(options);
    eventually(DENIAL, "the agent learns who it is", || get(&agent, "/api/v1/whoami").status == 200);
    let body: serde_json::Value = serde_json::from_slice(&get(&agent, "/api/v1/whoami").body).unwrap();
    assert_eq!(body["subject"], format!("system:serviceaccount:{}:{}", account.namespace, account.name));
    assert_eq!(body["provider"], "kubernetes");
}

#[test]
fn each_right_opens_its_own_calls_and_is_taken_away_within_its_time() {
    let (cluster, account, agent) = start("");
    assert_eq!(put(&agent, APP, r#"{"secrets":[{"name":"clientSecret","value":"one"}]}"#).status, 403);
    cluster.bind(&account, NAMESPACE, &["cloakroom-onboarder"]);
    let body = r#"{"secrets":[{"name":"clientSecret","value":"one"}]}"#;
    eventually(DENIAL, "onboarding is allowed", || put(&agent, APP, body).status == 200);
    assert_eq!((get(&agent, SECRET).status, put(&agent, SECRET, r#"{"value":"x"}"#).status), (403, 403));
    cluster.bind(&account, NAMESPACE, &["cloakroom-reader"]);
    eventually(DENIAL, "reading is allowed", || get(&agent, SECRET).status == 200);
    assert_eq!(value(&get(&agent, SECRET)), "one");
    assert_eq!(put(&agent, SECRET, r#"{"value":"x"}"#).status, 403);
    cluster.kubectl(&["-n", NAMESPACE, "delete", "rolebinding", &format!("{}-cloakroom-reader", account.name)]);
    eventually(ALLOWANCE, "reading is denied", || get(&agent, SECRET).status == 403);
}

#[test]
fn i6_a_denied_read_leaves_no_trace_in_the_api_server_but_the_review() {
    if Cluster::own().is_none() {
        return;
    }
    let (cluster, account, agent) = start("");
    let before = cluster.audit_log().len();
    let secret = "/api/v1/secrets/poc:eni--hyperion:hidden:externalSecrets%2Fcanary-key:";
    assert_eq!(get(&agent, secret).status, 403);
    let user = format!("system:serviceaccount:{}:{}", account.namespace, account.name);
    let of_us = |events: &[serde_json::Value]| -> Vec<String> {
        let ours = events.iter().filter(|event| event["user"]["username"] == user.as_str());
        ours.map(|event| event["requestURI"].as_str().unwrap().to_owned()).collect()
    };
    eventually(DENIAL, "the review is on record", || !of_us(&cluster.audit_log()[before..]).is_empty());
    let seen = of_us(&cluster.audit_log()[before..]);
    assert!(
        seen.iter().all(|uri| uri.starts_with("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")),
        "{seen:?}"
    );
    assert!(!seen.iter().any(|uri| uri.contains("canary")), "{seen:?}");

    let before = cluster.audit_log().len();
    cluster.bind(&account, NAMESPACE, &["cloakroom-reader"]);
    eventually(DENIAL, "reading is allowed", || get(&agent, secret).status == 404);
    eventually(DENIAL, "the get is on record", || {
        of_us(&cluster.audit_log()[before..]).iter().any(|uri| uri.contains("/secrets/hidden"))
    });
    let seen = of_us(&cluster.audit_log()[before..]);
    assert!(seen[0].starts_with("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"), "asked first: {seen:?}");
    assert!(!seen.iter().any(|uri| uri.contains("canary")), "the path of a secret is in no request line: {seen:?}");
}

#[test]
fn a_change_by_kubectl_reaches_the_socket_and_a_broken_watch_is_told() {
    if Cluster::own().is_none() {
        return;
    }
    let (cluster, account, agent) = start("");
    cluster.bind(&account, NAMESPACE, &RIGHTS);
    eventually(DENIAL, "onboarding is allowed", || {
        put(&agent, APP, r#"{"secrets":[{"name":"clientSecret","value":"one"}]}"#).status == 200
    });
    eventually(DENIAL, "the value is read", || get(&agent, SECRET).status == 200);
    eventually(DENIAL, "the watch is at work", || {
        !get(&agent, SECRET).header("cache-status").unwrap().contains("watch-broken")
    });
    let change = r#"{"data":{"clientSecret":"dHdv"}}"#;
    cluster.kubectl(&["-n", NAMESPACE, "patch", "secret", "my-app", "--type=merge", "-p", change]);
    eventually(Duration::from_secs(2), "the change is seen", || value(&get(&agent, SECRET)) == "two");
    cluster.control(&["stop-apiserver"]);
    eventually(Duration::from_secs(20), "the broken watch is told", || {
        let answer = get(&agent, SECRET);
        answer.status == 200 && answer.header("cache-status").unwrap().contains("watch-broken")
    });
    cluster.control(&["start-apiserver"]);
    eventually(Duration::from_mins(1), "the watch is back", || {
        let answer = get(&agent, SECRET);
        answer.status == 200 && !answer.header("cache-status").unwrap().contains("watch-broken")
    });
}

#[test]
fn b2_b4_an_api_server_that_cannot_be_reached_or_stalls_is_a_refusal_in_time_and_is_recovered_from() {
    if Cluster::own().is_none() {
        return;
    }
    let (cluster, account, agent) = start("");
    cluster.bind(&account, NAMESPACE, &RIGHTS);
    eventually(DENIAL, "onboarding is allowed", || {
        put(&agent, APP, r#"{"secrets":[{"name":"clientSecret","value":"one"}]}"#).status == 200
    });
    for fault in ["block", "reset", "stall"] {
        eventually(Duration::from_secs(30), "all is well", || {
            put(&agent, SECRET, r#"{"value":"before"}"#).status == 200 && get(&agent, SECRET).status == 200
        });
        cluster.control(&["fault", fault]);
        assert_eq!(value(&get(&agent, SECRET)), "before", "{fault}: memory answers");
        let began = Instant::now();
        let answer = put(&agent, SECRET, r#"{"value":"after"}"#);
        let other = get(&agent, "/api/v1/secrets/poc:eni--hyperion:other:clientSecret:");
        let took = began.elapsed();
        cluster.control(&["fault", "clear"]);
        assert!(matches!(answer.status, 503 | 504), "{fault}: {}", answer.status);
        assert_eq!(other.status, 503, "{fault}");
        assert!(other.header("retry-after").is_some());
        assert!(took < Duration::from_secs(21), "{fault}: {took:?}");
        eventually(Duration::from_secs(30), "writes are taken again", || {
            put(&agent, SECRET, r#"{"value":"again"}"#).status == 200
        });
        assert_eq!(value(&get(&agent, SECRET)), "again", "{fault}");
    }
}

#[test]
fn x5_no_value_and_no_token_reaches_a_log_of_the_agent_or_of_the_api_server() {
    if Cluster::own().is_none() {
        return;
    }
    let (cluster, account) = prepared();
    cluster.empty(NAMESPACE);
    cluster.bind(&account, NAMESPACE, &RIGHTS);
    let agent = Agent::start(Options { log: "trace", ..cluster.agent_options(&account) });
    let canaries: Vec<Canary> = (0..3).map(Canary::new).collect();
    let body = |canary: &Canary| serde_json::json!({"value": canary.text()}).to_string();
    eventually(DENIAL, "onboarding is allowed", || put(&agent, APP, "{}").status == 200);
    eventually(DENIAL, "writing is allowed", || put(&agent, SECRET, &body(&canaries[0])).status == 200);
    let entry = "/api/v1/secrets/poc:eni--hyperion:my-app:externalSecrets%2Fa:";
    assert_eq!(put(&agent, entry, &body(&canaries[1])).status, 200);
    eventually(DENIAL, "reading is allowed", || value(&get(&agent, entry)) == canaries[1].text());
    let encoded = base64::engine::general_purpose::STANDARD.encode(canaries[2].text());
    let change = serde_json::json!({"data": {"clientSecret": encoded}}).to_string();
    cluster.kubectl(&["-n", NAMESPACE, "patch", "secret", "my-app", "--type=merge", "-p", &change]);
    eventually(DENIAL, "the change is seen", || value(&get(&agent, SECRET)) == canaries[2].text());
    let mut sinks = Sink::files(agent.directory(), &[]);
    let log = std::env::var_os("CLOAKROOM_TEST_AUDIT_LOG").unwrap();
    sinks.push(Sink::new("the API server's audit log", std::fs::read(log).unwrap()));
    sinks.push(Sink::new("/metrics", Connection::open(&agent.admin()).request_plain("GET", "/metrics", &[], b"").body));
    assert_eq!(sweep(&canaries, &sinks), Vec::<String>::new());
    let token = std::fs::read_to_string(account.directory.path().join("token")).unwrap();
    let signature = token.trim().rsplit('.').next().unwrap();
    assert!(!agent.log().contains(signature), "the token is in the log");
    let metrics = String::from_utf8(sinks.pop().unwrap().content).unwrap();
    assert!(metrics.contains("cloakroom_token_expiry_seconds{token=\"kube\"} "), "{metrics}");
}

/// Replaces a file of the account as a whole, as the kubelet does.
fn replace(account: &Account, name: &str, content: &str) {
    let directory = account.directory.path();
    std::fs::write(directory.join("new"), content).unwrap();
    std::fs::rename(directory.join("new"), directory.join(name)).unwrap();
}

fn allowed_to_read(cluster: &Cluster, account: &Account, agent: &Agent) {
    cluster.bind(account, NAMESPACE, &RIGHTS);
    eventually(DENIAL, "onboarding is allowed", || {
        put(agent, APP, r#"{"secrets":[{"name":"clientSecret","value":"one"}]}"#).status == 200
    });
    eventually(DENIAL, "reading is allowed", || get(agent, SECRET).status == 200);
}

#[test]
fn i8_a_token_that_the_api_server_does_not_accept_is_nobody_and_one_that_it_accepted_ends_in_its_bound() {
    let (cluster, account) = prepared();
    let (namespace, name) = (account.namespace.as_str(), account.name.as_str());
    let foreign = cluster.kubectl(&["-n", namespace, "create", "token", name, "--audience=somebody-else"]);
    for token in [foreign.as_str(), "no.token.at-all"] {
        replace(&account, "token", token);
        let agent = Agent::start(cluster.agent_options(&account));
        eventually(DENIAL, "the token is refused", || get(&agent, "/api/v1/whoami").status == 401);
        assert_eq!((get(&agent, SECRET).status, put(&agent, SECRET, r#"{"value":"x"}"#).status), (401, 401));
    }
    let (cluster, account, agent) = start("");
    allowed_to_read(&cluster, &account, &agent);
    cluster.kubectl(&["-n", &account.namespace, "delete", "serviceaccount", &account.name]);
    // The API server itself believes a token for some seconds (`--authentication-token-webhook-cache-ttl` has no part in
    // it: its own cache of service accounts does), then what we were told lives out its time.
    eventually(ALLOWANCE * 2, "nothing is served any more", || matches!(get(&agent, SECRET).status, 401 | 503));
}

#[test]
fn i9_a_rotated_token_is_used_within_ten_seconds_and_a_file_that_is_missing_for_a_moment_fails_nothing() {
    let (cluster, account, agent) = start("cache: {ttl: 0s}");
    allowed_to_read(&cluster, &account, &agent);
    let mut old = Connection::open(&agent.socket());
    assert_eq!(old.request("GET", SECRET, &[], b"").status, 200);
    std::fs::remove_file(account.directory.path().join("token")).unwrap();
    let missing = Instant::now();
    while missing.elapsed() < Duration::from_secs(12) {
        assert_eq!(old.request("GET", SECRET, &[], b"").status, 200, "the last good token stays in use");
        std::thread::park_timeout(Duration::from_millis(100));
    }
    // Another identity, so that it shows which token is in use.
    let other = cluster.account(NAMESPACES[0]);
    let token = std::fs::read_to_string(other.directory.path().join("token")).unwrap();
    replace(&account, "token", &token);
    let user = format!("system:serviceaccount:{}:{}", other.namespace, other.name);
    eventually(Duration::from_secs(16), "the new token is used", || {
        let body: serde_json::Value = serde_json::from_slice(&get(&agent, "/api/v1/whoami").body).unwrap();
        body["subject"] == user.as_str()
    });
    assert_eq!(get(&agent, SECRET).status, 403, "what the old identity was allowed is not the new one's");
    let body: serde_json::Value = serde_json::from_slice(&old.request("GET", "/api/v1/whoami", &[], b"").body).unwrap();
    assert_eq!(body["subject"], user.as_str(), "nor is anybody the old one on a connection from before");
}

#[test]
fn b4_an_unknown_authority_is_refused_and_a_rotated_one_is_picked_up_without_a_restart() {
    if Cluster::own().is_none() {
        return;
    }
    let (cluster, account, agent) = start("cache: {ttl: 0s}");
    allowed_to_read(&cluster, &account, &agent);
    let good = std::fs::read_to_string(account.directory.path().join("ca.crt")).unwrap();
    let unknown = include_str!("unknown-ca.crt");
    replace(&account, "ca.crt", unknown);
    eventually(ALLOWANCE, "the server is not trusted", || get(&agent, SECRET).status == 503);
    replace(&account, "ca.crt", &format!("{unknown}{good}"));
    eventually(Duration::from_secs(15), "the bundle with both is picked up", || get(&agent, SECRET).status == 200);
    cluster.control(&["rotate-ca"]);
    let rotated = cluster.ca();
    replace(&account, "ca.crt", &rotated);
    eventually(ALLOWANCE, "the new authority is trusted", || put(&agent, SECRET, r#"{"value":"two"}"#).status == 200);
}
