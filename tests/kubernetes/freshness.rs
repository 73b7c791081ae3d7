//! How fresh answers are: what costs a call, what a lost watch costs, and what is served while the API server is away.

use std::time::Duration;

use cloakroom_tests::agent::{Agent, Options, eventually};
use cloakroom_tests::cluster::{Account, Cluster};
use cloakroom_tests::wire::Connection;
use serde_json::Value;

use super::agent::{APP, DENIAL, RIGHTS, SECRET, get, put, start, value};
use super::place::NAMESPACE;

/// The agent's own requests for the application's Secret, as the API server recorded them: verb and status.
fn requests(cluster: &Cluster, account: &Account, since: usize) -> Vec<(String, u64)> {
    let user = format!("system:serviceaccount:{}:{}", account.namespace, account.name);
    let log = cluster.audit_log();
    let ours = log[since..]
        .iter()
        .filter(|event| event["user"]["username"] == user.as_str() && event["objectRef"]["resource"] == "secrets");
    ours.map(|event| {
        (event["verb"].as_str().unwrap().to_owned(), event["responseStatus"]["code"].as_u64().unwrap_or(0))
    })
    .collect()
}

fn onboarded(extra: &str) -> (Cluster, Account, Agent) {
    let (cluster, account, agent) = start(extra);
    cluster.bind(&account, NAMESPACE, &RIGHTS);
    eventually(DENIAL, "onboarding is allowed", || {
        put(&agent, APP, r#"{"secrets":[{"name":"clientSecret","value":"one"}]}"#).status == 200
    });
    eventually(DENIAL, "the value is read", || get(&agent, SECRET).status == 200);
    (cluster, account, agent)
}

/// The id that the agent gives the value now.
fn current_id(agent: &Agent) -> String {
    let body: Value = serde_json::from_slice(&get(agent, SECRET).body).unwrap();
    body["id"].as_str().unwrap().to_owned()
}

#[test]
fn k1_a_checksum_that_matches_costs_the_api_server_nothing_and_a_foreign_one_a_get_a_second() {
    if Cluster::own().is_none() {
        return;
    }
    let (cluster, account, agent) = onboarded("");
    let id = current_id(&agent);
    let exact = format!("/api/v1/secrets/{id}");
    let before = cluster.audit_log().len();
    for _ in 0..200 {
        assert_eq!(get(&agent, &exact).status, 200);
    }
    let foreign = format!("{SECRET}ffffffffffff");
    let began = std::time::Instant::now();
    let mut connection = Connection::open(&agent.socket());
    for _ in 0..1000 {
        let answer = connection.request("GET", &foreign, &[], b"");
        assert!(matches!(answer.status, 200 | 404 | 409), "{}", answer.status);
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    let calls = requests(&cluster, &account, before);
    let gets = calls.iter().filter(|(verb, _)| verb == "get").count();
    assert!((1..=seconds).contains(&gets), "{gets} gets in {seconds} s: {calls:?}");
}

#[test]
fn k6_while_the_api_server_is_away_stale_values_are_served_only_where_enabled_and_a_revocation_still_counts() {
    if Cluster::own().is_none() {
        return;
    }
    let (cluster, _account, agent) = onboarded("cache: {ttl: 2s, staleIfError: 1h}");
    let other = cluster.account("poc");
    cluster.bind(&other, NAMESPACE, &["cloakroom-backend-reader", "cloakroom-reader"]);
    let options = Options { extra: "cache: {ttl: 2s}".to_owned(), ..cluster.agent_options(&other) };
    let strict = Agent::start(options);
    eventually(DENIAL, "both have read it", || get(&agent, SECRET).status == 200 && get(&strict, SECRET).status == 200);
    cluster.control(&["stop-apiserver"]);
    let away = std::time::Instant::now();
    eventually(Duration::from_secs(20), "the stale value says so", || {
        let answer = get(&agent, SECRET);
        answer.status == 200 && answer.header("cache-status").is_some_and(|status| status.contains("stale"))
    });
    assert_eq!(value(&get(&agent, SECRET)), "one");
    eventually(Duration::from_secs(20), "without staleIfError it is an honest 503", || {
        get(&strict, SECRET).status == 503
    });
    // An allow lives out its 30 s; then nobody can say whether it still holds.
    eventually(Duration::from_secs(35), "without a decision nothing is served", || get(&agent, SECRET).status == 503);
    let bound = away.elapsed();
    cluster.control(&["start-apiserver"]);
    assert!(bound < Duration::from_secs(35), "{bound:?}");
    eventually(Duration::from_mins(1), "all is well", || {
        get(&agent, SECRET).status == 200 && get(&strict, SECRET).status == 200
    });
    let records = agent.audit();
    assert!(records.iter().any(|record| record["source"] == "stale"), "the record says that it was stale");
}

#[test]
fn b7_a_watch_that_has_lost_its_place_begins_anew_and_misses_nothing() {
    if Cluster::own().is_none() {
        return;
    }
    let (cluster, account, agent) = onboarded("");
    eventually(DENIAL, "the watch is at work", || {
        !get(&agent, SECRET).header("cache-status").unwrap().contains("watch-broken")
    });
    // What happens meanwhile does not reach the agent, and the new server's memory begins after it: 410.
    cluster.control(&["fault", "block"]);
    let change = r#"{"data":{"clientSecret":"dHdv"}}"#;
    cluster.control(&["kubectl", "-n", NAMESPACE, "patch", "secret", "my-app", "--type=merge", "-p", change]);
    for number in 0..3 {
        let name = format!("noise-{number}");
        cluster.control(&["kubectl", "-n", NAMESPACE, "create", "secret", "generic", &name]);
    }
    cluster.control(&["restart-apiserver"]);
    let before = cluster.audit_log().len();
    cluster.control(&["fault", "clear"]);
    eventually(Duration::from_mins(1), "the change is seen", || value(&get(&agent, SECRET)) == "two");
    eventually(Duration::from_mins(1), "the watch is at work again", || {
        !get(&agent, SECRET).header("cache-status").unwrap().contains("watch-broken")
    });
    let seen = requests(&cluster, &account, before);
    // A watch without a place begins with what there is: a get is only for what it does not tell of.
    assert!(seen.iter().any(|(verb, _)| verb == "watch"), "{seen:?}");
    let change = r#"{"data":{"clientSecret":"dGhyZWU="}}"#;
    cluster.kubectl(&["-n", NAMESPACE, "patch", "secret", "my-app", "--type=merge", "-p", change]);
    eventually(Duration::from_secs(2), "and the next one", || value(&get(&agent, SECRET)) == "three");
}

#[test]
fn after_a_restart_an_object_that_has_not_changed_is_watched_again_without_a_loop() {
    if Cluster::own().is_none() {
        return;
    }
    let (cluster, account, agent) = onboarded("");
    // The new server's memory begins after the object's own version.
    for number in 0..3 {
        let name = format!("noise-{number}");
        cluster.kubectl(&["-n", NAMESPACE, "create", "secret", "generic", &name]);
    }
    let watched = || {
        let answer = get(&agent, SECRET);
        answer.status == 200 && !answer.header("cache-status").unwrap().contains("watch-broken")
    };
    let before = cluster.audit_log().len();
    cluster.control(&["restart-apiserver"]);
    eventually(Duration::from_mins(1), "the watch is back", || {
        requests(&cluster, &account, before).iter().any(|(verb, _)| verb == "watch") && watched()
    });
    assert!((0..2000).all(|_| watched()), "and stays");
    let seen = requests(&cluster, &account, before);
    assert!(seen.len() < 20, "a watch is on record twice, and some are turned away: {seen:?}");
}
