//! A whole agent on a real API server: identity, permissions, faults, and what the API server saw of it.

use std::time::{Duration, Instant};

use cloakroom_tests::agent::{Agent, Options, eventually};
use cloakroom_tests::cluster::{Account, Cluster};
use cloakroom_tests::wire::{Connection, Response};

use super::place::{NAMESPACE, NAMESPACES, prepared};

const SECRET: &str = "/api/v1/secrets/poc:eni--hyperion:my-app:clientSecret:";
const APP: &str = "/api/v1/onboarding/environments/poc/teams/eni--hyperion/apps/my-app";
const RIGHTS: [&str; 3] = ["cloakroom-reader", "cloakroom-writer", "cloakroom-onboarder"];

/// A decision that was made a moment ago may be believed for this long.
const DENIAL: Duration = Duration::from_secs(7);
const ALLOWANCE: Duration = Duration::from_secs(35);

fn start(extra: &str) -> (Cluster, Account, Agent) {
    let (cluster, account) = prepared();
    for namespace in NAMESPACES {
        cluster.empty(namespace);
    }
    let agent = Agent::start(Options { extra: extra.to_owned(), ..cluster.agent_options(&account) });
    eventually(DENIAL, "the agent learns who it is", || get(&agent, "/api/v1/whoami").status == 200);
    (cluster, account, agent)
}

fn get(agent: &Agent, target: &str) -> Response {
    Connection::open(&agent.socket()).request("GET", target, &[], b"")
}

fn put(agent: &Agent, target: &str, body: &str) -> Response {
    let headers = [("Content-Type", "application/json")];
    Connection::open(&agent.socket()).request("PUT", target, &headers, body.as_bytes())
}

fn value(response: &Response) -> String {
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    body["value"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn i8_the_caller_is_who_the_api_server_says_and_no_variable_changes_it() {
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
fn a_denied_read_leaves_no_trace_in_the_api_server_but_the_review() {
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
}

#[test]
fn a_change_by_kubectl_reaches_the_socket_and_a_broken_watch_is_told() {
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
