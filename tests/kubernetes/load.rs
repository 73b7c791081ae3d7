//! Many agents at one API server: nothing is lost, everybody's wait is bounded, and a restart is no herd.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use cloakroom_agent::backend::BackendError;
use cloakroom_agent::slots::Strategy;
use cloakroom_tests::cluster::{Account, AgentBackend, Cluster, settings};
use serde_json::Value;
use tokio_util::task::TaskTracker;

use super::backend::{APP, SEEN, agent, eventually, onboard, put, read, stored};
use super::place::{BACKEND_ROLE, NAMESPACE, NAMESPACES};

/// What one agent saw of its merges.
struct Merged {
    waits: Vec<Duration>,
    refused: usize,
}

async fn merge(agent: AgentBackend, number: usize, count: usize) -> Merged {
    let (mut waits, mut refused) = (Vec::new(), 0);
    for index in 0..count {
        let key = format!("externalSecrets/a{number}.{index}");
        let began = tokio::time::Instant::now();
        // 429 says to come back: nothing was changed.
        while let Err(error) = onboard(&*agent.backend, APP, Strategy::Merge, &[(&key, "v")]).await {
            assert_eq!(error, BackendError::Contention);
            refused += 1;
        }
        waits.push(began.elapsed());
    }
    Merged { waits, refused }
}

/// How often each merge of these accounts met a conflict, as the API server recorded it.
fn retries(events: &[Value], accounts: &[Account]) -> Vec<usize> {
    let mut lost: HashMap<String, usize> = accounts
        .iter()
        .map(|account| (format!("system:serviceaccount:{}:{}", account.namespace, account.name), 0))
        .collect();
    let mut retries = Vec::new();
    for event in events.iter().filter(|event| event["verb"] == "patch") {
        let Some(lost) = event["user"]["username"].as_str().and_then(|user| lost.get_mut(user)) else { continue };
        match event["responseStatus"]["code"].as_u64() {
            Some(409) => *lost += 1,
            Some(200) => retries.push(std::mem::take(lost)),
            other => panic!("{other:?}"),
        }
    }
    retries
}

/// `of_thousand` of the merges met five conflicts at most.
async fn ten_agents_merge(count: usize, of_thousand: usize) {
    if Cluster::own().is_none() {
        return;
    }
    let (cluster, _account, first) = agent();
    onboard(&*first.backend, APP, Strategy::Merge, &[]).await.unwrap();
    let accounts: Vec<Account> = (0..10).map(|_| cluster.account(NAMESPACES[0])).collect();
    for account in &accounts {
        cluster.bind(account, NAMESPACE, &[BACKEND_ROLE]);
    }
    let before = cluster.audit_log().len();
    let began = Instant::now();
    let tracker = TaskTracker::new();
    let agents: Vec<_> = accounts
        .iter()
        .enumerate()
        .map(|(number, account)| {
            tracker.spawn(merge(AgentBackend::new(cluster.api(account), settings()), number, count))
        })
        .collect();
    let (mut waits, mut refused) = (Vec::new(), 0);
    for agent in agents {
        let merged = agent.await.unwrap();
        waits.extend(merged.waits);
        refused += merged.refused;
    }
    waits.sort();
    let mut retries = retries(&cluster.audit_log()[before..], &accounts);
    retries.sort_unstable();
    let at = |part: usize| (waits[(waits.len() - 1) * part / 1000], retries[(retries.len() - 1) * part / 1000]);
    println!(
        "{} merges in {:?}, {refused} times 429; wait and retries: p50 {:?}, p99 {:?}, p99.9 {:?}, most {:?}",
        waits.len(),
        began.elapsed(),
        at(500),
        at(990),
        at(999),
        at(1000)
    );
    let map: BTreeMap<String, String> = serde_json::from_str(&stored(&cluster, "externalSecrets")).unwrap();
    assert_eq!(map.len(), 10 * count, "every key is there");
    assert_eq!(retries.len(), 10 * count);
    assert!(at(of_thousand).1 <= 5, "five retries at most for {of_thousand} of 1000");
    assert!(refused * 100 <= waits.len(), "{refused} of {} were refused", waits.len());
    // Each try of a call ends within its deadline, whatever comes of it.
    assert!(at(1000).0 < settings().write * 4, "{:?}", at(1000).0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_ten_agents_merging_into_one_scope_lose_nothing_and_wait_in_bounds() {
    // Of three hundred merges the hundredth part is three, which says little; agents also have yet to find their pace.
    ten_agents_merge(30, 950).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes; `tests/run load`"]
async fn b7_ten_agents_with_a_thousand_merges_each_lose_nothing_and_wait_in_bounds() {
    ten_agents_merge(1000, 990).await;
}

const AGENTS: usize = 200;
const OBJECTS: usize = 20;

/// Watches of Secrets that the API server has open.
fn watches(cluster: &Cluster) -> usize {
    let metrics = cluster.kubectl(&["get", "--raw", "/metrics"]);
    let ours = metrics.lines().filter(|line| {
        line.starts_with("apiserver_longrunning_requests{")
            && line.contains("resource=\"secrets\"")
            && line.contains("verb=\"WATCH\"")
            && line.contains("scope=\"resource\"")
    });
    ours.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
}

async fn watches_become(cluster: &Cluster, wanted: usize, within: Duration) {
    let deadline = Instant::now() + within;
    loop {
        let now = watches(cluster);
        if now == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{now} watches, not {wanted}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes; `tests/run load`"]
async fn two_hundred_agents_watch_what_is_in_use_and_come_back_without_a_herd() {
    if Cluster::own().is_none() {
        return;
    }
    let (cluster, account, first) = agent();
    let app = |number: usize| format!("poc/eni--hyperion/app-{number}");
    for number in 0..OBJECTS {
        onboard(&*first.backend, &app(number), Strategy::Merge, &[("clientSecret", "one")]).await.unwrap();
    }
    drop(first);
    watches_become(&cluster, 0, Duration::from_secs(30)).await;
    let agents: Vec<_> = (0..AGENTS).map(|_| AgentBackend::new(cluster.api(&account), settings())).collect();
    let secret = |number: usize| format!("poc:eni--hyperion:app-{number}:clientSecret:");
    for agent in &agents {
        for number in 0..OBJECTS {
            // Twice: what is in use already is not watched again.
            assert_eq!(read(&*agent.backend, &secret(number)).await.as_deref(), Ok("one"));
            assert_eq!(read(&*agent.backend, &secret(number)).await.as_deref(), Ok("one"));
        }
    }
    watches_become(&cluster, AGENTS * OBJECTS, Duration::from_mins(1)).await;

    let before = cluster.audit_log().len();
    cluster.control(&["restart-apiserver"]);
    let back = Instant::now();
    watches_become(&cluster, AGENTS * OBJECTS, Duration::from_mins(1)).await;
    let took = back.elapsed();
    while back.elapsed() < Duration::from_mins(1) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let user = format!("system:serviceaccount:{}:{}", account.namespace, account.name);
    let log = cluster.audit_log();
    let ours = log[before..].iter().filter(|event| event["user"]["username"] == user.as_str());
    // A watch is recorded when it begins and when it ends.
    let requests: HashSet<&str> = ours.filter_map(|event| event["auditID"].as_str()).collect();
    println!(
        "{AGENTS} agents with {OBJECTS} objects: {} watches are back after {took:?}; {} requests an agent in the minute",
        AGENTS * OBJECTS,
        requests.len().div_ceil(AGENTS)
    );
    assert!(requests.len() <= 3 * AGENTS * OBJECTS, "{}", requests.len());

    put(&*agents[0].backend, &secret(0), "two").await.unwrap();
    for agent in &agents {
        eventually(SEEN, "every agent sees a change", async || {
            read(&*agent.backend, &secret(0)).await.as_deref() == Ok("two")
        })
        .await;
    }
    drop(agents);
    watches_become(&cluster, 0, Duration::from_secs(30)).await;
}
