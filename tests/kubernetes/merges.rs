//! Conjur under Leases of a real API server: whole agents that merge into one slot, and are stopped and killed meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cloakroom_agent::backend::Backend;
use cloakroom_agent::lease::{LASTS, Leases};
use cloakroom_tests::agent::{Agent, Options, eventually};
use cloakroom_tests::cluster::{Account, Cluster};
use cloakroom_tests::conformance::{Harness, cases};
use cloakroom_tests::conjur::{FakeConjur, Gate, Kind, Moment};
use cloakroom_tests::conjur_agent::{ALL, ConjurAgent, Making, SERVICE, prepared as double};
use cloakroom_tests::wire::Connection;
use nix::sys::signal::Signal;
use tokio_util::task::TaskTracker;

use super::agent::{APP, DENIAL, RIGHTS, get, put};
use super::place::{NAMESPACE, NAMESPACES, prepared};

const SLOT: &str = "controlplane/poc/eni--hyperion/my-app/externalSecrets";
const ROLE: &str = include_str!("../../charts/cloakroom/files/leases.yaml");

/// An account that may use the Leases of its namespace, by the role as it is delivered.
fn with_leases(cluster: &Cluster) -> Account {
    let account = cluster.account(NAMESPACES[0]);
    cluster.apply(
        &ROLE.replace("name: cloakroom-leases", &format!("name: cloakroom-leases\n  namespace: {}", NAMESPACES[0])),
    );
    cluster.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {0}-leases, namespace: {1}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: cloakroom-leases}}\n\
         subjects: [{{kind: ServiceAccount, name: {0}, namespace: {1}}}]\n",
        account.name, NAMESPACES[0]
    ));
    account
}

/// A whole agent as a pod has it, with Conjur as backend.
fn start(cluster: &Cluster, fake: &FakeConjur) -> Agent {
    let account = with_leases(cluster);
    cluster.bind(&account, NAMESPACE, &RIGHTS);
    let directory = account.directory.path();
    std::fs::write(directory.join("conjur-token"), fake.jwt("poc", "agent").sign()).unwrap();
    std::fs::write(directory.join("conjur-ca"), fake.ca_pem()).unwrap();
    let (directory, url) = (directory.display(), fake.url());
    let sources = format!(
        "backend:\n  kind: conjur\n  conjur:\n    url: {url}\n    account: main\n    caFile: {directory}/conjur-ca\n    \
         authn: {{jwt: {{serviceId: {SERVICE}, tokenFile: {directory}/conjur-token}}}}\n    \
         lease: {{namespace: {}}}\nidentity: {{kind: pod, tokenDir: {directory}}}\npermissions: {{kind: kubernetes}}",
        NAMESPACES[0]
    );
    let agent = Agent::start(Options { sources: Some(sources), ..cluster.agent_options(&account) });
    // The account's files live as long as the process.
    std::mem::forget(account);
    agent
}

fn started(count: usize, fake: &FakeConjur) -> Vec<Agent> {
    let (cluster, _) = prepared();
    let agents: Vec<Agent> = (0..count).map(|_| start(&cluster, fake)).collect();
    eventually(DENIAL, "onboarding works", || put(&agents[0], APP, r#"{"strategy":"merge"}"#).status == 200);
    agents
}

fn stored(fake: &FakeConjur) -> BTreeMap<String, String> {
    fake.value(SLOT).map(|value| serde_json::from_slice(&value).unwrap()).unwrap_or_default()
}

/// What one client of one agent saw.
#[derive(Default)]
struct Seen {
    waits: Vec<Duration>,
    refused: usize,
    unknown: usize,
}

/// Puts `count` entries, each until it is acknowledged.
fn merge(socket: &std::path::Path, number: usize, count: usize) -> Seen {
    let mut seen = Seen::default();
    for index in 0..count {
        let target = format!("/api/v1/secrets/poc:eni--hyperion:my-app:externalSecrets%2Fa{number}.{index}:");
        loop {
            let began = Instant::now();
            let answer = Connection::try_open(socket).and_then(|mut connection| {
                let headers = [("Content-Type", "application/json")];
                connection.try_request("PUT", &target, &headers, br#"{"value":"v"}"#)
            });
            let Some(answer) = answer else {
                // Its agent is being started again.
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            seen.waits.push(began.elapsed());
            match answer.status {
                200 => break,
                429 => seen.refused += 1,
                503 | 504 => seen.unknown += 1,
                status => panic!("{status}: {}", String::from_utf8_lossy(&answer.body)),
            }
        }
    }
    seen
}

fn report(mut all: Vec<Seen>, took: Duration) -> Duration {
    let mut waits: Vec<Duration> = all.iter_mut().flat_map(|seen| std::mem::take(&mut seen.waits)).collect();
    waits.sort();
    let at = |part: usize| waits[(waits.len() - 1) * part / 1000];
    let (refused, unknown): (usize, usize) =
        all.iter().fold((0, 0), |(refused, unknown), seen| (refused + seen.refused, unknown + seen.unknown));
    println!(
        "{} tries in {took:?}, {refused} times 429, {unknown} times 503 or 504; waits: p50 {:?}, p99 {:?}, p99.9 {:?}, most {:?}",
        waits.len(),
        at(500),
        at(990),
        at(999),
        at(1000)
    );
    at(1000)
}

/// Ten agents merge; with `chaos`, some of them are stopped for longer than a lease lasts, and killed.
async fn ten_agents(count: usize, chaos: bool) {
    let fake = double(&[("agent", ALL)]).await;
    let agents: Vec<_> = started(10, &fake).into_iter().map(Mutex::new).collect();
    let (agents, done, began) = (Arc::new(agents), Arc::new(AtomicBool::new(false)), Instant::now());
    let tracker = TaskTracker::new();
    let clients: Vec<_> = (0..agents.len())
        .map(|number| {
            let socket = agents[number].lock().unwrap().socket();
            tracker.spawn_blocking(move || merge(&socket, number, count))
        })
        .collect();
    let troubled = {
        let (agents, done) = (Arc::clone(&agents), Arc::clone(&done));
        tracker.spawn_blocking(move || {
            let mut turns = 0_usize;
            while chaos && !done.load(Ordering::Relaxed) {
                let mut agent = agents[turns % 4].lock().unwrap();
                if turns.is_multiple_of(2) {
                    agent.signal(Signal::SIGSTOP);
                    std::thread::sleep(LASTS + Duration::from_secs(1));
                    agent.signal(Signal::SIGCONT);
                } else {
                    agent.kill_and_restart();
                }
                drop(agent);
                turns += 1;
                std::thread::sleep(Duration::from_millis(500));
            }
            turns
        })
    };
    let mut seen = Vec::new();
    for client in clients {
        seen.push(client.await.unwrap());
    }
    done.store(true, Ordering::Relaxed);
    println!("{} times an agent was stopped or killed", troubled.await.unwrap());
    let most = report(seen, began.elapsed());
    assert_eq!(stored(&fake).len(), agents.len() * count, "every key is there");
    // A try ends by the request's deadline; a stopped agent answers when it goes on.
    assert!(most < Duration::from_secs(if chaos { 30 } else { 12 }), "{most:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_ten_agents_merging_on_conjur_lose_nothing_while_some_are_stopped_and_killed() {
    ten_agents(20, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes; `tests/run load`"]
async fn b7_ten_agents_with_a_thousand_merges_each_on_conjur_lose_nothing() {
    ten_agents(1000, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes; `tests/run load`"]
async fn b7_ten_agents_with_a_thousand_merges_each_on_conjur_lose_nothing_while_some_are_stopped_and_killed() {
    ten_agents(1000, true).await;
}

fn entry(name: &str) -> String {
    format!("/api/v1/secrets/poc:eni--hyperion:my-app:externalSecrets%2F{name}:")
}

/// Stops the holder of the lease at a gate for longer than the lease lasts, lets another agent write, and goes on. What
/// stands at the gate goes on at once, or `late`: after the other's write.
async fn stopped_at(kind: Kind, moment: Moment, late: bool) {
    let fake = double(&[("agent", ALL)]).await;
    let agents = started(2, &fake);
    let first = "one";
    // What is held up on its way collides with nobody.
    fake.set_collisions(!late);
    let mut gate: Gate = fake.hold(kind, moment);
    let socket = agents[0].socket();
    let writing = TaskTracker::new().spawn_blocking(move || {
        let headers = [("Content-Type", "application/json")];
        Connection::open(&socket).try_request("PUT", &entry(first), &headers, br#"{"value":"v"}"#).map(|it| it.status)
    });
    gate.reached().await;
    agents[0].signal(Signal::SIGSTOP);
    let gate = if late {
        Some(gate)
    } else {
        gate.open();
        None
    };
    // Refused while the lease of the one that is stopped lasts, and then not.
    let other = |name: &str| put(&agents[1], &entry(name), r#"{"value":"v"}"#).status;
    eventually(LASTS * 3, "another agent takes the lease over", || other("two") == 200);
    if let Some(gate) = gate {
        gate.open();
        eventually(Duration::from_secs(5), "what was sent hides the other's write", || {
            !stored(&fake).contains_key("two")
        });
    }
    agents[0].signal(Signal::SIGCONT);
    let status = writing.await.unwrap();
    println!("the one that was stopped answered {status:?}");
    // Whatever its caller was told, what was acknowledged is there.
    if status == Some(200) {
        eventually(Duration::from_secs(5), "its entry is there", || stored(&fake).contains_key(first));
    }
    eventually(LASTS * 3, "what the other agent wrote is there", || stored(&fake).contains_key("two"));
    assert_eq!(put(&agents[0], &entry("three"), r#"{"value":"v"}"#).status, 200);
    assert!(stored(&fake).len() >= 2 && get(&agents[1], &entry("two")).status == 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_a_holder_that_is_stopped_before_it_sends_hides_nothing() {
    stopped_at(Kind::Metadata, Moment::BeforeAnswer, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_a_holder_that_is_stopped_after_its_write_hides_nothing() {
    stopped_at(Kind::Write, Moment::BeforeAnswer, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_a_write_of_a_stopped_holder_that_arrives_after_anothers_is_put_together_with_it() {
    stopped_at(Kind::Write, Moment::BeforeEffect, true).await;
}

/// Agents of the conformance cases, each with a Lease client of its own.
struct Agents {
    cluster: Cluster,
    fake: FakeConjur,
    all: Mutex<Vec<ConjurAgent>>,
}

impl Harness for Agents {
    fn backend(&self) -> Arc<dyn Backend> {
        let api = self.cluster.api(&with_leases(&self.cluster));
        let leases = Leases::kubernetes(api, NAMESPACES[0].to_owned(), "test", TaskTracker::new()).unwrap();
        let agent = ConjurAgent::new(&self.fake, Making { leases, ..Making::default() });
        let backend = Arc::clone(&agent.backend);
        self.all.lock().unwrap().push(agent);
        backend
    }

    fn another_agent(&self) -> Arc<dyn Backend> {
        self.backend()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conjur_passes_every_conformance_case_under_leases() {
    let mut failed = Vec::new();
    for case in cases() {
        let (cluster, _) = prepared();
        let agents = Agents { cluster, fake: double(&[("agent", ALL)]).await, all: Mutex::default() };
        if TaskTracker::new().spawn((case.run)(Arc::new(agents))).await.is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
