//! C1, C2, C4: certificates of the injector as a real API server sees them, with the role that the injector has.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cloakroom_agent::clock::Clock;
use cloakroom_agent::kubernetes::ApiServer;
use cloakroom_injector::certificate::{Lifetimes, service_names};
use cloakroom_injector::publish::{Keeper, Names, Progress, Publication};
use cloakroom_injector::watch::{self, Tally};
use cloakroom_tests::balancer::{Backend, Balancer};
use cloakroom_tests::cluster::{Account, Cluster};
use cloakroom_tests::injector::{WebhookServer, provider};
use http::{Request, StatusCode, header};
use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::backend::eventually;

const NAMESPACE: &str = "injector-own";
const TEAM: &str = "injector-team";
const CONFIGURATION: &str = "cloakroom-injector-test";
const SECRET: &str = "injector-certificates";

/// How long things may take on a machine that others use.
const LIMIT: Duration = Duration::from_secs(30);

/// What the injector may do, and nothing else.
fn role(account: &Account) -> String {
    let name = &account.name;
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: injector-test}}\nrules:\n\
         - {{apiGroups: [admissionregistration.k8s.io], resources: [mutatingwebhookconfigurations], \
         resourceNames: [{CONFIGURATION}], verbs: [get, patch]}}\n\
         - {{apiGroups: [''], resources: [pods, namespaces], verbs: [list, watch]}}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: injector-test}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: injector-test}}\n\
         subjects: [{{kind: ServiceAccount, name: {name}, namespace: {NAMESPACE}}}]\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: injector-test, namespace: {NAMESPACE}}}\n\
         rules:\n\
         - {{apiGroups: [''], resources: [secrets], resourceNames: [{SECRET}], verbs: [get, update, watch]}}\n\
         - {{apiGroups: [''], resources: [secrets], verbs: [create]}}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: injector-test, namespace: {NAMESPACE}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: injector-test}}\n\
         subjects: [{{kind: ServiceAccount, name: {name}, namespace: {NAMESPACE}}}]\n"
    )
}

/// The entries as a chart writes them, with whatever bundle.
fn manifest(address: SocketAddr, bundle: &str) -> String {
    let entry = |name: &str, label: &str| {
        format!(
            "- name: {name}.cloakroom.dev\n  clientConfig: {{url: \"https://{address}/inject/{name}\"{bundle}}}\n  \
             admissionReviewVersions: [v1]\n  sideEffects: None\n  failurePolicy: Fail\n  timeoutSeconds: 5\n  \
             namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {TEAM}}}}}\n  \
             objectSelector: {{matchLabels: {{entry: {label}}}}}\n  \
             rules: [{{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods]}}]\n"
        )
    };
    format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\n\
         metadata: {{name: {CONFIGURATION}}}\nwebhooks:\n{}{}",
        entry("asked", "asked"),
        entry("required", "required")
    )
}

/// Replicas behind one address, as a Service has them.
struct Place {
    cluster: Cluster,
    account: Account,
    api: ApiServer,
    address: SocketAddr,
    servers: Vec<WebhookServer>,
    _balancer: Balancer,
}

impl Place {
    async fn new(replicas: usize) -> Self {
        let cluster = Cluster::get();
        cluster.namespace(NAMESPACE);
        cluster.namespace(TEAM);
        cluster.empty(NAMESPACE);
        let account = cluster.account(NAMESPACE);
        cluster.apply(&role(&account));
        // Without controllers there is none.
        cluster
            .apply(&format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: default, namespace: {TEAM}}}\n"));
        let host: IpAddr = std::env::var("CLOAKROOM_TEST_HOST_ADDRESS").unwrap().parse().unwrap();
        let mut servers = Vec::new();
        for _ in 0..replicas {
            servers.push(WebhookServer::start().await);
        }
        let behind = servers.iter().map(|server| Backend { serves: server.address, admin: None }).collect();
        let balancer = Balancer::start(host, behind, 0).await;
        let address = balancer.address;
        cluster.apply(&manifest(address, ""));
        let api = cluster.api(&account);
        Self { cluster, account, api, address, servers, _balancer: balancer }
    }

    fn keeper(&self, server: &WebhookServer, lifetimes: Lifetimes, clock: &Clock) -> (Keeper, Arc<Publication>) {
        let mut hosts = service_names("injector", NAMESPACE);
        hosts.push(self.address.ip().to_string());
        let names =
            Names { configuration: CONFIGURATION.into(), namespace: NAMESPACE.into(), secret: SECRET.into(), hosts };
        let publication = Publication::new(clock.clone());
        let api = self.cluster.api(&self.account);
        let keeper =
            Keeper::new(api, names, lifetimes, provider(), Arc::clone(&server.serving), Arc::clone(&publication))
                .with_clocks(clock.clone(), Timestamp::now);
        (keeper, publication)
    }

    fn bundles(&self) -> Vec<String> {
        let path = "jsonpath={.webhooks[*].clientConfig.caBundle}";
        let said = self.cluster.kubectl(&["get", "mutatingwebhookconfiguration", CONFIGURATION, "-o", path]);
        said.split_whitespace().map(str::to_owned).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for (kind, name) in [
            ("mutatingwebhookconfiguration", CONFIGURATION),
            ("clusterrolebinding", "injector-test"),
            ("clusterrole", "injector-test"),
        ] {
            self.cluster.try_kubectl(&["delete", kind, name, "--ignore-not-found"], "");
        }
    }
}

async fn settle(keeper: &mut Keeper) {
    for _ in 0..200 {
        if keeper.look().await.unwrap() == Progress::Rest {
            return;
        }
    }
    panic!("it never rests");
}

/// Makes a pod, for the looks of it; whether it was admitted.
async fn admitted(api: &ApiServer, entry: &str) -> Result<(), String> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "app-", "labels": {"entry": entry}},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    });
    let request = Request::post(format!("/api/v1/namespaces/{TEAM}/pods?dryRun=All"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(pod.to_string().into_bytes())
        .unwrap();
    let answer = api.call(request, Duration::from_secs(10)).await.map_err(|error| format!("{error:?}"))?;
    match answer.status {
        StatusCode::CREATED => Ok(()),
        status => Err(format!("{status}: {}", String::from_utf8_lossy(answer.body()))),
    }
}

/// Somebody who may make pods.
fn maker(cluster: &Cluster) -> ApiServer {
    let account = cluster.account(TEAM);
    let name = &account.name;
    cluster.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: maker, namespace: {TEAM}}}\n\
         rules: [{{apiGroups: [''], resources: [pods], verbs: [create]}}]\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: maker, namespace: {TEAM}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: maker}}\n\
         subjects: [{{kind: ServiceAccount, name: {name}, namespace: {TEAM}}}]\n"
    ));
    cluster.api(&account)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c2_fifty_replicas_that_start_together_are_all_trusted_within_half_a_minute() {
    let place = Place::new(50).await;
    let maker = maker(&place.cluster);
    assert!(admitted(&maker, "asked").await.is_err(), "nobody is trusted yet");
    let clock = Clock::Boot;
    let mut keepers: Vec<Keeper> =
        place.servers.iter().map(|server| place.keeper(server, Lifetimes::default(), &clock).0).collect();
    let began = tokio::time::Instant::now();
    futures_util::future::join_all(keepers.iter_mut().map(settle)).await;
    let took = began.elapsed();
    let first = place.servers[0].serving.certificate();
    assert!(first.is_some() && place.servers.iter().all(|server| server.serving.certificate() == first));
    println!("c2: 50 replicas serve the same certificate after {took:?}");
    assert!(took < LIMIT);
    for entry in ["asked", "required"] {
        eventually(LIMIT, "a pod is admitted", async || admitted(&maker, entry).await.is_ok()).await;
    }
    let bundles = place.bundles();
    assert!(bundles.len() == 2 && bundles[0] == bundles[1]);

    // Nobody else's Secret can be read with this role.
    for path in [
        "/api/v1/secrets".to_owned(),
        format!("/api/v1/namespaces/{NAMESPACE}/secrets"),
        format!("/api/v1/namespaces/{NAMESPACE}/secrets/other"),
    ] {
        let answer = place.api.call(Request::get(path).body(Vec::new()).unwrap(), LIMIT).await.unwrap();
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c4_a_manifest_that_is_applied_again_without_a_bundle_is_repaired_and_pods_are_admitted_again() {
    let place = Place::new(1).await;
    let maker = maker(&place.cluster);
    let (mut keeper, publication) = place.keeper(&place.servers[0], Lifetimes::default(), &Clock::Boot);
    settle(&mut keeper).await;
    assert!(publication.is_good());
    eventually(LIMIT, "a pod is admitted", async || admitted(&maker, "asked").await.is_ok()).await;
    let published = place.bundles();
    place.cluster.apply(&manifest(place.address, ", caBundle: Cg=="));
    eventually(LIMIT, "a pod is refused", async || admitted(&maker, "asked").await.is_err()).await;
    settle(&mut keeper).await;
    assert_eq!(place.bundles(), published);
    eventually(LIMIT, "a pod is admitted again", async || admitted(&maker, "asked").await.is_ok()).await;
    // Against somebody who does it again at once, a minute passes.
    place.cluster.apply(&manifest(place.address, ", caBundle: Cg=="));
    settle(&mut keeper).await;
    assert_ne!(place.bundles(), published);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c1_leaf_and_authority_are_rotated_under_admissions_and_none_fails() {
    let place = Place::new(3).await;
    let maker = maker(&place.cluster);
    let clock = Clock::manual();
    let keepers = |lifetimes| -> Vec<Keeper> {
        place.servers.iter().map(|server| place.keeper(server, lifetimes, &clock).0).collect()
    };
    let mut first = keepers(Lifetimes::default());
    futures_util::future::join_all(first.iter_mut().map(settle)).await;
    eventually(LIMIT, "a pod is admitted", async || admitted(&maker, "asked").await.is_ok()).await;

    let (stop, done, failed) =
        (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let tasks = TaskTracker::new();
    for _ in 0..8 {
        let (stop, done, failed, maker) = (Arc::clone(&stop), Arc::clone(&done), Arc::clone(&failed), maker.clone());
        tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                match admitted(&maker, "asked").await {
                    Ok(()) => drop(done.fetch_add(1, Ordering::Relaxed)),
                    Err(why) => {
                        println!("{why}");
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
    }
    let began = tokio::time::Instant::now();
    // What is to live longer is due: first the leaf, then the authority, and at last somebody deletes the Secret.
    let month = Duration::from_hours(60 * 24);
    let longer = Lifetimes { leaf: month, ..Lifetimes::default() };
    let longest = Lifetimes { leaf: month, authority: Duration::from_hours(5 * 365 * 24) };
    for (what, lifetimes) in [("leaf", longer), ("authority", longest), ("deleted", longest)] {
        let served = place.servers[0].serving.certificate();
        if what == "deleted" {
            place.cluster.kubectl(&["-n", NAMESPACE, "delete", "secret", SECRET]);
        } else {
            first = keepers(lifetimes);
        }
        futures_util::future::join_all(first.iter_mut().map(settle)).await;
        assert_eq!(place.servers[0].serving.certificate(), served, "{what}: not yet");
        // The minute is moved; what an API server needs to hear of a change is not.
        tokio::time::sleep(Duration::from_secs(3)).await;
        clock.advance(Duration::from_secs(61));
        futures_util::future::join_all(first.iter_mut().map(settle)).await;
        futures_util::future::join_all(first.iter_mut().map(settle)).await;
        let now = place.servers[0].serving.certificate();
        assert_ne!(now, served, "{what}");
        assert!(place.servers.iter().all(|server| server.serving.certificate() == now), "{what}");
    }
    stop.store(true, Ordering::Relaxed);
    tasks.close();
    tasks.wait().await;
    let (done, failed) = (done.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    println!("c1: {done} admissions in {:?}, {failed} failed", began.elapsed());
    assert_eq!(failed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_are_missing_the_agent_are_counted_and_those_that_go_are_not() {
    let place = Place::new(1).await;
    let (tally, stop) = (Arc::<Tally>::default(), CancellationToken::new());
    let task = watch::keep(place.api.clone(), Arc::clone(&tally), NAMESPACE.to_owned(), stop.clone());
    let task = AbortOnDropHandle::new(TaskTracker::new().spawn(task));
    let pod = |name: &str, more: &str| {
        let meta = format!("name: {name}, namespace: {TEAM}{more}");
        place.cluster.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{{meta}}}\nspec: {{containers: [{{name: app, image: app}}]}}\n"
        ));
    };
    let count = || tally.counts().get(TEAM).copied().unwrap_or_default();
    pod("asks-before", ", annotations: {cloakroom.dev/inject: 'true'}");
    eventually(LIMIT, "one", async || count() == 1).await;
    pod("asks", ", labels: {cloakroom.dev/inject: 'true'}");
    pod("plain", "");
    pod("has", ", annotations: {cloakroom.dev/inject: 'true', cloakroom.dev/status: injected}");
    eventually(LIMIT, "two", async || count() == 2).await;
    place.cluster.kubectl(&["label", "namespace", TEAM, "cloakroom.dev/injection=required"]);
    eventually(LIMIT, "three", async || count() == 3).await;
    place.cluster.kubectl(&["-n", TEAM, "delete", "pod", "asks", "--grace-period=0", "--force"]);
    eventually(LIMIT, "two again", async || count() == 2).await;
    place.cluster.kubectl(&["label", "namespace", TEAM, "cloakroom.dev/injection-"]);
    place.cluster.kubectl(&["-n", TEAM, "delete", "pods", "--all", "--grace-period=0", "--force"]);
    eventually(LIMIT, "none", async || tally.is_known() && count() == 0).await;
    stop.cancel();
    task.await.unwrap();
}
