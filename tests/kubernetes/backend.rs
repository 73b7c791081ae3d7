//! Secrets as backend: the conformance cases, and what others do to the same objects.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_agent::access::{Access, Subject};
use cloakroom_agent::backend::{Backend, BackendError, Freshness, Guard, Put};
use cloakroom_agent::id::{Scope, SecretId};
use cloakroom_agent::secret::SecretValue;
use cloakroom_agent::slots::{Catalogue, OnboardEntry, OnboardRequest, OnboardedItem, Strategy};
use cloakroom_tests::backend::AllowAll;
use cloakroom_tests::cluster::{Account, AgentBackend, Cluster, settings};
use cloakroom_tests::conformance::{Harness, cases};
use tokio_util::task::TaskTracker;

use super::place::{BACKEND_ROLE, NAMESPACE, NAMESPACES, prepared};

/// Each agent has connections, watches and knowledge of its own.
struct Agents {
    cluster: Cluster,
    account: Account,
    all: Mutex<Vec<AgentBackend>>,
}

impl Harness for Agents {
    fn backend(&self) -> Arc<dyn Backend> {
        self.another_agent()
    }

    fn another_agent(&self) -> Arc<dyn Backend> {
        let agent = AgentBackend::new(self.cluster.api(&self.account), settings());
        let backend = Arc::clone(&agent.backend) as Arc<dyn Backend>;
        self.all.lock().unwrap().push(agent);
        backend
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubernetes_secrets_pass_every_conformance_case() {
    let (cluster, account) = prepared();
    let mut failed = Vec::new();
    for case in cases() {
        for namespace in NAMESPACES {
            cluster.empty(namespace);
        }
        let harness = Arc::new(Agents { cluster: cluster.clone(), account: account.clone(), all: Mutex::default() });
        if TaskTracker::new().spawn((case.run)(harness)).await.is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

pub(super) const APP: &str = "poc/eni--hyperion/my-app";

pub(super) fn id(path: &str) -> String {
    format!("poc:eni--hyperion:my-app:{path}:")
}

pub(super) async fn read(backend: &dyn Backend, id: &str) -> Result<String, BackendError> {
    let location = SecretId::parse(id).unwrap().into_parts().0;
    let permit = Access::new(Arc::new(AllowAll)).read(&Subject::from_uid(1).unwrap(), location).await.unwrap();
    let mut answers = backend.fetch(&[permit], Freshness::Any).await;
    answers.remove(0).map(|fetched| fetched.value.expose().to_owned())
}

pub(super) async fn put(backend: &dyn Backend, id: &str, value: &str) -> Result<(), BackendError> {
    let location = SecretId::parse(id).unwrap().into_parts().0;
    let permit = Access::new(Arc::new(AllowAll)).write(&Subject::from_uid(1).unwrap(), location).await.unwrap();
    let value = SecretValue::new(value.to_owned());
    backend.put(&permit, Put { value, guard: Guard::None, keep_previous: None }).await.map(drop)
}

pub(super) async fn onboard(
    backend: &dyn Backend,
    scope: &str,
    strategy: Strategy,
    entries: &[(&str, &str)],
) -> Result<Vec<OnboardedItem>, BackendError> {
    let scope = Scope::parse(scope).unwrap();
    let entry = |(name, value): &(&str, &str)| OnboardEntry {
        name: (*name).to_owned(),
        value: SecretValue::new((*value).to_owned()),
    };
    let request =
        OnboardRequest::new(strategy, entries.iter().map(entry).collect(), &Catalogue::default(), scope.kind());
    let permit = Access::new(Arc::new(AllowAll)).onboard(&Subject::from_uid(1).unwrap(), scope).await.unwrap();
    backend.onboard(&permit, request.unwrap()).await
}

async fn offboard(backend: &dyn Backend, scope: &str) -> Result<(), BackendError> {
    let scope = Scope::parse(scope).unwrap();
    let permit = Access::new(Arc::new(AllowAll)).offboard(&Subject::from_uid(1).unwrap(), scope).await.unwrap();
    backend.offboard(&permit).await
}

/// An agent on an empty place.
pub(super) fn agent() -> (Cluster, Account, AgentBackend) {
    let (cluster, account) = prepared();
    for namespace in NAMESPACES {
        cluster.empty(namespace);
    }
    let agent = AgentBackend::new(cluster.api(&account), settings());
    (cluster, account, agent)
}

/// A Secret as somebody else writes it.
fn secret(name: &str, more: &str, data: &[(&str, &str)]) -> String {
    let lines: Vec<String> = data.iter().map(|(slot, value)| format!("  {slot}: {}", STANDARD.encode(value))).collect();
    let data = lines.join("\n");
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {NAMESPACE}{more}}}\ndata:\n{data}\n")
}

/// What a slot of the application holds, past the agent.
pub(super) fn stored(cluster: &Cluster, slot: &str) -> String {
    let path = format!("jsonpath={{.data.{slot}}}");
    let encoded = cluster.kubectl(&["-n", NAMESPACE, "get", "secret", "my-app", "-o", &path]);
    String::from_utf8(STANDARD.decode(encoded.trim()).unwrap()).unwrap()
}

/// How long a watch may take to tell of a change, and how long the API server to hear of a rule or a namespace.
pub(super) const SEEN: Duration = Duration::from_secs(2);
pub(super) const HEARD: Duration = Duration::from_secs(7);

pub(super) async fn eventually(limit: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + limit;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        // What happens in another process has no event here to wait for.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u2_what_others_have_written_is_read_and_nothing_of_it_is_lost_by_a_merge() {
    let (cluster, _account, agent) = agent();
    let map =
        "{\n  \"number\": 1,\n  \"nested\": {\"a\": [true, null]},\n  \"odd key!\": \"x\",\n  \"plain\": \"value\"\n}";
    cluster.apply(&secret("my-app", "", &[("externalSecrets", map), ("unknown", "kept"), ("clientSecret", "by-hand")]));
    let backend = &*agent.backend;
    assert_eq!(read(backend, &id("externalSecrets")).await.unwrap(), map);
    assert_eq!(read(backend, &id("externalSecrets/number")).await.unwrap(), "1");
    assert_eq!(read(backend, &id("externalSecrets/plain")).await.unwrap(), "value");
    assert_eq!(read(backend, &id("unknown")).await.unwrap(), "kept");
    onboard(backend, APP, Strategy::Merge, &[("externalSecrets/new", "entry")]).await.unwrap();
    let now: serde_json::Value = serde_json::from_str(&stored(&cluster, "externalSecrets")).unwrap();
    let mut wanted: serde_json::Value = serde_json::from_str(map).unwrap();
    wanted["new"] = "entry".into();
    assert_eq!(now, wanted);
    assert_eq!((stored(&cluster, "unknown"), stored(&cluster, "clientSecret")), ("kept".into(), "by-hand".into()));
    let metadata = cluster.kubectl(&["-n", NAMESPACE, "get", "secret", "my-app", "-o", "jsonpath={.metadata}"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(metadata["finalizers"], serde_json::json!(["secret-manager/finalizer"]));
    let labels: BTreeMap<String, String> = serde_json::from_value(metadata["labels"].clone()).unwrap();
    let wanted = [
        ("app.kubernetes.io/managed-by", "secret-manager"),
        ("cp.ei.telekom.de/application", "my-app"),
        ("cp.ei.telekom.de/environment", "poc"),
        ("cp.ei.telekom.de/team", "eni--hyperion"),
    ];
    assert_eq!(labels, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u2_secrets_that_an_earlier_state_has_written_are_read_and_written_on() {
    let (cluster, _account, agent) = agent();
    // As it was taken with kubectl; what belongs to one cluster (uid, versions, managed fields) is left out.
    cluster.apply(include_str!("../fixtures/0.1.0/secrets.json"));
    let backend = &*agent.backend;
    assert_eq!(read(backend, &id("rotatedClientSecret")).await.as_deref(), Ok("app-secret"));
    assert_eq!(read(backend, &id("clientSecret")).await.map(|value| value.len()), Ok(36));
    assert_eq!(read(backend, &id("externalSecrets/foo/password")).await.as_deref(), Ok("s3cr3t"));
    assert_eq!(read(backend, &id("externalSecrets/quoted")).await.as_deref(), Ok("a \"b\" \\ ä\nline"));
    assert_eq!(read(backend, "poc:eni--hyperion::teamToken:").await.as_deref(), Ok("team-token"));
    assert_eq!(read(backend, "poc:::zones:").await, Err(BackendError::Absent), "the environment is there, and empty");
    onboard(backend, APP, Strategy::Merge, &[("externalSecrets/new", "entry")]).await.unwrap();
    assert_eq!(read(backend, &id("externalSecrets/foo/password")).await.as_deref(), Ok("s3cr3t"));
    offboard(backend, APP).await.unwrap();
    assert_eq!(read(backend, &id("clientSecret")).await, Err(BackendError::ScopeMissing));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_change_made_by_kubectl_is_seen_without_polling_and_so_are_a_deletion_and_a_creation() {
    let (cluster, _account, agent) = agent();
    let backend = &*agent.backend;
    let told = Arc::new(Mutex::new(0));
    backend.on_change({
        let told = Arc::clone(&told);
        Arc::new(move |scope| {
            assert_eq!(scope.as_str(), APP);
            *told.lock().unwrap() += 1;
        })
    });
    let client_secret = id("clientSecret");
    assert_eq!(read(backend, &client_secret).await, Err(BackendError::ScopeMissing));
    for value in ["one", "two"] {
        cluster.apply(&secret("my-app", "", &[("clientSecret", value)]));
        eventually(SEEN, "the change is seen", async || read(backend, &client_secret).await.as_deref() == Ok(value))
            .await;
    }
    cluster.kubectl(&["-n", NAMESPACE, "delete", "secret", "my-app"]);
    eventually(SEEN, "the deletion is seen", async || {
        read(backend, &client_secret).await == Err(BackendError::ScopeMissing)
    })
    .await;
    assert_eq!(*told.lock().unwrap(), 3, "each change is told once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_what_cannot_be_written_says_why_and_leaves_all_as_it_was() {
    let (cluster, account, agent) = agent();
    let backend = &*agent.backend;
    let client_secret = id("clientSecret");

    cluster.apply(&format!("{}immutable: true\n", secret("my-app", "", &[("clientSecret", "fixed")])));
    assert_eq!(put(backend, &client_secret, "other").await, Err(BackendError::Immutable));
    assert_eq!(read(backend, &client_secret).await.as_deref(), Ok("fixed"));
    cluster.empty(NAMESPACE);

    let held = ", finalizers: [\"secret-manager/finalizer\"]";
    cluster.apply(&secret("my-app", held, &[("clientSecret", "going")]));
    cluster.kubectl(&["-n", NAMESPACE, "delete", "secret", "my-app", "--wait=false"]);
    let refused = put(backend, &client_secret, "other").await;
    assert!(matches!(refused, Err(BackendError::Terminating { .. })), "{refused:?}");
    assert_eq!(read(backend, &client_secret).await.as_deref(), Ok("going"), "it is there until it is released");
    offboard(backend, APP).await.unwrap();
    assert_eq!(read(backend, &client_secret).await, Err(BackendError::ScopeMissing));

    assert_eq!(
        onboard(backend, "nowhere", Strategy::Replace, &[]).await.map(drop),
        Err(BackendError::Denied),
        "without a right in that namespace nothing is said about it"
    );
    let near = "x".repeat(1_000_000);
    cluster.apply(&secret("my-app", "", &[("unknown", &near)]));
    onboard(backend, APP, Strategy::Merge, &[]).await.unwrap();
    let large = "y".repeat(60_000);
    assert_eq!(put(backend, &client_secret, &large).await, Err(BackendError::TooLarge));
    assert_eq!(stored(&cluster, "unknown").len(), near.len());

    cluster.kubectl(&["-n", NAMESPACE, "delete", "rolebinding", &format!("{}-{BACKEND_ROLE}", account.name)]);
    eventually(SEEN, "the right is gone", async || {
        put(backend, &client_secret, "x").await == Err(BackendError::Denied)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_stopped_half_way_is_finished_by_the_next() {
    let (cluster, _account, agent) = agent();
    let backend = &*agent.backend;
    onboard(backend, APP, Strategy::Replace, &[("clientSecret", "one")]).await.unwrap();
    let free = r#"{"metadata":{"finalizers":null}}"#;
    cluster.kubectl(&["-n", NAMESPACE, "patch", "secret", "my-app", "--type=merge", "-p", free]);
    assert_eq!(read(backend, &id("clientSecret")).await.as_deref(), Ok("one"), "nothing is half-deleted");
    offboard(backend, APP).await.unwrap();
    assert_eq!(read(backend, &id("clientSecret")).await, Err(BackendError::ScopeMissing));
    assert_eq!(offboard(backend, APP).await, Err(BackendError::ScopeMissing));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_a_namespace_that_is_missing_or_on_its_way_out_is_told() {
    let (cluster, account, agent) = agent();
    let backend = &*agent.backend;
    // In the whole cluster: a namespace on its way out loses its own bindings first.
    let (name, namespace) = (&account.name, &account.namespace);
    cluster.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {name}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {BACKEND_ROLE}}}\n\
         subjects: [{{kind: ServiceAccount, name: {name}, namespace: {namespace}}}]\n"
    ));
    let team = format!("t{}", std::process::id());
    let app = format!("poc/{team}/app");
    eventually(HEARD, "the missing namespace is told", async || {
        onboard(backend, &app, Strategy::Replace, &[]).await.map(drop) == Err(BackendError::NamespaceMissing)
    })
    .await;
    let scoped = format!("poc--{team}");
    cluster.namespace(&scoped);
    onboard(backend, &app, Strategy::Replace, &[("clientSecret", "one")]).await.unwrap();
    // Our finalizer on the Secret keeps the namespace in its last state.
    cluster.kubectl(&["delete", "namespace", &scoped, "--wait=false"]);
    let other = format!("poc/{team}/other");
    eventually(HEARD, "the namespace on its way out is told", async || {
        let refused = onboard(backend, &other, Strategy::Replace, &[]).await;
        matches!(refused, Err(BackendError::Terminating { .. }))
    })
    .await;
    let secret = format!("poc:{team}:app:clientSecret:");
    eventually(HEARD, "its Secret takes no write any more", async || {
        matches!(put(backend, &secret, "one").await, Err(BackendError::Terminating { .. }))
    })
    .await;
    assert_eq!(read(backend, &secret).await.as_deref(), Ok("one"), "and is read until it is gone");
    offboard(backend, &app).await.unwrap();
    cluster.kubectl(&["delete", "clusterrolebinding", name]);
    cluster.kubectl(&["wait", "--for=delete", &format!("namespace/{scoped}"), "--timeout=30s"]);
}
