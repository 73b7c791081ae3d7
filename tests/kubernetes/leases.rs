//! Leases of slots on a real API server: one holder at a time, whatever dies, is refused or cannot be reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cloakroom_agent::lease::{Held, LASTS, LeaseError, Leases};
use cloakroom_tests::cluster::{Account, Cluster};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Where the Leases are.
const NAMESPACE: &str = "cloakroom-leases";

/// The role as it is delivered.
const ROLE: &str = include_str!("../../charts/cloakroom/files/leases.yaml");

/// What a request waits.
const WAIT: Duration = Duration::from_millis(4500);

/// A slot of this run.
fn key(of: &str) -> String {
    format!("poc:{of}:{}:externalSecrets", std::process::id())
}

/// Binds a Role of that name in the Leases' namespace.
fn bind(cluster: &Cluster, account: &Account, role: &str) {
    let (name, namespace) = (&account.name, &account.namespace);
    cluster.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {name}-{role}, \
         namespace: {NAMESPACE}}}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {role}}}\n\
         subjects: [{{kind: ServiceAccount, name: {name}, namespace: {namespace}}}]\n"
    ));
}

/// The cluster, and an account that may do with Leases what the delivered role says and nothing else.
fn prepared() -> (Cluster, Account) {
    let cluster = Cluster::get();
    cluster.namespace(NAMESPACE);
    let (applied, said) = cluster.try_kubectl(&["-n", NAMESPACE, "apply", "-f", "-"], ROLE);
    assert!(applied, "{said}");
    let account = cluster.account(NAMESPACE);
    bind(&cluster, &account, "cloakroom-leases");
    (cluster, account)
}

/// An agent with connections of its own. All have one name.
fn agent(cluster: &Cluster, account: &Account, tasks: &TaskTracker) -> Leases {
    Leases::kubernetes(cluster.api(account), NAMESPACE.to_owned(), "agent", tasks.clone()).unwrap()
}

async fn take(leases: &Leases, key: &str) -> Result<Held, LeaseError> {
    leases.acquire(key, Instant::now() + WAIT).await
}

/// Takes it however often that says to come back.
async fn take_at_last(leases: &Leases, key: &str) -> (Held, usize) {
    for refused in 0..20 {
        match take(leases, key).await {
            Ok(held) => return (held, refused),
            Err(LeaseError::Contention | LeaseError::Unavailable { .. }) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the lease of {key} is locked for good")
}

/// What one agent saw of its sections.
struct Sections {
    waits: Vec<Duration>,
    refused: usize,
}

/// Sections that would lose counts if two were inside at one time.
async fn count(leases: Leases, key: String, counter: Arc<AtomicUsize>, sections: usize, lasts: Duration) -> Sections {
    let (mut waits, mut refused) = (Vec::new(), 0);
    for _ in 0..sections {
        let asked = Instant::now();
        let held = loop {
            match take(&leases, &key).await {
                Ok(held) => break held,
                Err(error) => assert_eq!(error, LeaseError::Contention),
            }
            refused += 1;
        };
        waits.push(asked.elapsed());
        let seen = counter.load(Ordering::SeqCst);
        if lasts.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(lasts).await;
        }
        counter.store(seen + 1, Ordering::SeqCst);
        assert!(!held.left().is_zero());
        held.release().await;
    }
    Sections { waits, refused }
}

async fn ten_agents_count(of: &str, sections: usize, lasts: Duration) {
    let (cluster, account) = prepared();
    let (tasks, counter) = (TaskTracker::new(), Arc::<AtomicUsize>::default());
    let began = Instant::now();
    let agents: Vec<_> = (0..10)
        .map(|_| {
            let agent = agent(&cluster, &account, &tasks);
            tasks.spawn(count(agent, key(of), Arc::clone(&counter), sections, lasts))
        })
        .collect();
    let (mut waits, mut refused) = (Vec::new(), 0);
    for agent in agents {
        let seen = agent.await.unwrap();
        waits.extend(seen.waits);
        refused += seen.refused;
    }
    let took = began.elapsed();
    waits.sort();
    let at = |part: usize| waits[(waits.len() - 1) * part / 1000];
    println!(
        "{} sections of {lasts:?} in {took:?}, {refused} times 429; waits: p50 {:?}, p99 {:?}, p99.9 {:?}, most {:?}",
        waits.len(),
        at(500),
        at(990),
        at(999),
        at(1000)
    );
    assert_eq!(counter.load(Ordering::SeqCst), 10 * sections, "nothing is lost");
    assert!(at(990) < WAIT, "{:?}", at(990));
    assert!(refused * 100 <= waits.len(), "{refused} of {} were refused", waits.len());
    assert!(took < Duration::from_mins(10), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_agents_on_one_lease_never_overlap() {
    ten_agents_count("never-overlap", 50, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes; `tests/run load`"]
async fn ten_agents_with_a_thousand_sections_each_lose_nothing_and_wait_in_bounds() {
    ten_agents_count("a-thousand", 1000, Duration::from_millis(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_dies_is_forgotten_after_its_time_and_not_before() {
    let (cluster, account) = prepared();
    let (tasks, key) = (TaskTracker::new(), key("dies"));
    let (first, second) = (agent(&cluster, &account, &tasks), agent(&cluster, &account, &tasks));
    let held = take(&first, &key).await.unwrap();
    // Since it was asked for it has been ours for no longer than this.
    let taken = Instant::now();
    assert!(held.left() > Duration::from_secs(5) && held.left() < LASTS);
    // As a process that is killed: nothing is given back.
    std::mem::forget(held);
    let (next, refused) = take_at_last(&second, &key).await;
    assert!(taken.elapsed() >= LASTS, "{:?}", taken.elapsed());
    // What is seen of it is kept from request to request: the second one's time reaches beyond it.
    assert_eq!(refused, 1, "{:?}", taken.elapsed());
    next.release().await;
    assert_eq!(take_at_last(&second, &key).await.1, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_somebody_deletes_is_made_anew_and_not_by_a_write_of_the_old_one() {
    let (cluster, account) = prepared();
    let (tasks, key) = (TaskTracker::new(), key("deleted"));
    let (first, second) = (agent(&cluster, &account, &tasks), agent(&cluster, &account, &tasks));
    take(&first, &key).await.unwrap().release().await;
    cluster.kubectl(&["-n", NAMESPACE, "delete", "leases", "--all"]);
    let held = take(&second, &key).await.unwrap();
    // The first one believes it to be free as it has left it.
    assert_eq!(take(&first, &key).await.err(), Some(LeaseError::Contention));
    held.release().await;
    take(&first, &key).await.unwrap().release().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rbac_refuses_is_a_sentence_that_names_the_rights() {
    let (cluster, _account) = prepared();
    let tasks = TaskTracker::new();
    let denied = LeaseError::Denied { namespace: NAMESPACE.into() };
    for (role, verbs) in [("none", ""), ("only-get", "get"), ("no-update", "get, create"), ("no-create", "get, update")]
    {
        let account = cluster.account(NAMESPACE);
        if !verbs.is_empty() {
            cluster.apply(&format!(
                "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: {role}, namespace: {NAMESPACE}}}\n\
                 rules: [{{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [{verbs}]}}]\n"
            ));
            bind(&cluster, &account, role);
        }
        let leases = agent(&cluster, &account, &tasks);
        let key = key(role);
        // The API server hears of a role a moment after it is made.
        let deadline = Instant::now() + Duration::from_secs(10);
        let error = loop {
            match take(&leases, &key).await {
                Ok(held) => held.release().await,
                Err(error) => break error,
            }
            assert!(Instant::now() < deadline && role == "no-update", "{role}: it was let in");
        };
        assert_eq!(error, denied, "{role}");
    }
    let sentence = denied.to_string();
    assert!(sentence.contains("get, create and update leases"), "{sentence}");
    assert!(sentence.contains(&format!("namespace {NAMESPACE}")), "{sentence}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_does_not_exist_is_named() {
    let (cluster, _account) = prepared();
    let account = cluster.account(NAMESPACE);
    // Bound to nothing there, it is denied; RBAC decides before anybody looks whether there is such a place. So this is
    // seen only by who may do it everywhere.
    let name = &account.name;
    cluster.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: cloakroom-test-leases}}\n\
         rules: [{{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}}]\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: cloakroom-test-leases}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cloakroom-test-leases}}\n\
         subjects: [{{kind: ServiceAccount, name: {name}, namespace: {NAMESPACE}}}]\n"
    ));
    let leases = Leases::kubernetes(cluster.api(&account), "nowhere".to_owned(), "agent", TaskTracker::new()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let missing = LeaseError::NamespaceMissing { namespace: "nowhere".into() };
    loop {
        let error = take(&leases, &key("nowhere")).await.err();
        if error == Some(missing.clone()) {
            break;
        }
        assert!(Instant::now() < deadline, "{error:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.kubectl(&["delete", "clusterrole,clusterrolebinding", "cloakroom-test-leases"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_cannot_be_reached_or_stalls_gives_no_lease_and_keeps_none() {
    if Cluster::own().is_none() {
        return;
    }
    let (cluster, account) = prepared();
    let (tasks, key) = (TaskTracker::new(), key("away"));
    for fault in ["block", "reset", "stall"] {
        let (first, second) = (agent(&cluster, &account, &tasks), agent(&cluster, &account, &tasks));
        take_at_last(&second, &key).await.0.release().await;
        let held = take_at_last(&first, &key).await.0;
        cluster.control(&["fault", fault]);
        let began = Instant::now();
        let refused = take(&second, &key).await.err();
        let took = began.elapsed();
        let left = held.left();
        // Nobody can be told that it is free.
        let release = tokio::time::timeout(Duration::from_secs(1), held.release()).await;
        // It believes the Lease to be free, and sends what takes it into the void.
        let third = agent(&cluster, &account, &tasks);
        let again = take(&third, &key).await.err();
        cluster.control(&["fault", "clear"]);
        let cleared = Instant::now();
        for error in [refused, again] {
            assert!(matches!(error, Some(LeaseError::Unavailable { .. })), "{fault}: {error:?}");
        }
        assert!(took <= WAIT + Duration::from_secs(2), "{fault}: {took:?}");
        assert!(left < LASTS, "{fault}: {left:?}");
        let given_back = release.is_ok();
        let (next, refused) = take_at_last(&second, &key).await;
        println!("{fault}: taken again {:?} after, {refused} refused, given back {given_back}", cleared.elapsed());
        next.release().await;
    }
}
