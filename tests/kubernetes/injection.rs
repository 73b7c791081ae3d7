//! The chart's injector in front of the API server: what `helm template` renders is applied, and real processes stand
//! where its pods would.
//!
//! Two things are other than on a cluster with nodes. The Service has no pods to choose from: it is an `ExternalName` that
//! leads to balancers of ours, one for each entry, because an API server keeps one connection to one port. And the
//! arguments of the Deployment lose the paths that only a container has.

use std::net::IpAddr;
use std::time::Duration;

use cloakroom_tests::balancer::{Backend, Balancer};
use cloakroom_tests::chart;
use cloakroom_tests::cluster::{Account, Cluster};
use cloakroom_tests::pods::{DRY_RUN, Maker, Refused};
use cloakroom_tests::replica::{Arguments, Replica};
use serde_json::{Value, json};

/// Release, namespace and full name.
pub(super) const RELEASE: &str = "cloakroom-injection";

/// How long an API server may take to hear of a policy or a configuration.
pub(super) const HEARD: Duration = Duration::from_secs(30);

/// What is applied as it is; the rest is for pods, or for other kinds of clusters.
const APPLIED: [&str; 7] = [
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// The kinds of it that belong to no namespace, and would concern every other test.
const EVERYWHERE: [&str; 5] = [
    "mutatingwebhookconfiguration",
    "validatingadmissionpolicybinding",
    "validatingadmissionpolicy",
    "clusterrolebinding",
    "clusterrole",
];

/// The injector as it is installed.
pub(super) struct Injection {
    pub(super) cluster: Cluster,
    pub(super) maker: Maker,
    pub(super) replicas: Vec<Replica>,
    /// What the chart renders.
    documents: Vec<Value>,
    account: Account,
    balancers: Vec<Balancer>,
}

impl Injection {
    /// With the chart's values and so many replicas, once an API server asks them and the policy counts.
    pub(super) async fn new(values: &Value, replicas: usize) -> Self {
        Self::with_settings(values, None, replicas).await
    }

    /// The same with settings that the chart does not write.
    pub(super) async fn with_settings(values: &Value, settings: Option<&str>, replicas: usize) -> Self {
        let injection = Self::bare(values, settings, replicas).await;
        for replica in &injection.replicas {
            replica.becomes_ready();
        }
        let deadline = tokio::time::Instant::now() + HEARD;
        for (name, _) in ENTRIES {
            let namespace = format!("injection-{name}");
            loop {
                let made = injection.maker.create(&namespace, &asking(), DRY_RUN).await;
                if made.as_ref().is_ok_and(has_agent) {
                    break;
                }
                // With its own word: where chart and injector have drifted apart, it is the policy that refuses.
                assert!(tokio::time::Instant::now() < deadline, "{namespace}: {made:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        injection
    }

    /// The same before anybody has waited for anything.
    pub(super) async fn bare(values: &Value, settings: Option<&str>, replicas: usize) -> Self {
        let cluster = Cluster::get();
        let label = |label: &str| json!({"cloakroom.dev/injection": label});
        let mut places = vec![(RELEASE.to_owned(), json!({})), ("injection-disabled".to_owned(), label("disabled"))];
        places.extend(
            ENTRIES
                .map(|(name, own)| (format!("injection-{name}"), if own.is_empty() { json!({}) } else { label(own) })),
        );
        named(&cluster, &places);
        let host: IpAddr = std::env::var("CLOAKROOM_TEST_HOST_ADDRESS").unwrap().parse().unwrap();
        let documents = chart::render(RELEASE, values);
        cluster.empty(RELEASE);
        let mut applied: Vec<Value> =
            documents.iter().filter(|document| APPLIED.iter().any(|kind| document["kind"] == *kind)).cloned().collect();
        applied.push(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": RELEASE, "namespace": RELEASE},
            "spec": {"type": "ExternalName", "externalName": host.to_string()},
        }));
        apply(&cluster, &applied);
        let account = cluster.account_of(RELEASE, RELEASE);
        let maker = Maker::new(&cluster, RELEASE);
        let settings = settings.unwrap_or_else(|| self::settings(&documents)).to_owned();
        let started = arguments(&documents, &cluster, &account);
        let replicas: Vec<Replica> = (0..replicas).map(|_| Replica::start(&settings, started.clone())).collect();
        let behind: Vec<Backend> = replicas.iter().map(Replica::as_backend).collect();
        let mut balancers = Vec::new();
        for first in 0..ENTRIES.len() {
            balancers.push(Balancer::start(host, behind.clone(), first).await);
        }
        let mut injection = Self { cluster, maker, replicas, documents, account, balancers };
        injection.configure(|_| {});
        injection
    }

    /// Applies the webhook configuration as the chart renders it, with a change.
    pub(super) fn configure(&mut self, change: impl FnOnce(&mut Value)) {
        let mut configuration = chart::document(&self.documents, "MutatingWebhookConfiguration", RELEASE).clone();
        for (entry, balancer) in configuration["webhooks"].as_array_mut().unwrap().iter_mut().zip(&self.balancers) {
            entry["clientConfig"]["service"]["port"] = balancer.address.port().into();
        }
        change(&mut configuration);
        self.cluster.apply(&configuration.to_string());
    }

    /// The settings that the chart gives the injector.
    pub(super) fn settings(&self) -> &str {
        settings(&self.documents)
    }

    /// One more replica, with settings of its own; it is behind no balancer.
    pub(super) fn replica(&self, settings: &str) -> Replica {
        Replica::start(settings, arguments(&self.documents, &self.cluster, &self.account))
    }

    /// The authorities that every entry trusts; none where two entries differ.
    pub(super) fn bundle(&self) -> Option<String> {
        let path = "jsonpath={.webhooks[*].clientConfig.caBundle}";
        let said = self.cluster.kubectl(&["get", "mutatingwebhookconfiguration", RELEASE, "-o", path]);
        let mut bundles = said.split_whitespace();
        let first = bundles.next()?;
        let is_everywhere = bundles.clone().count() + 1 == ENTRIES.len() && bundles.all(|bundle| bundle == first);
        is_everywhere.then(|| first.to_owned())
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        for kind in EVERYWHERE {
            self.cluster.try_kubectl(&["delete", kind, RELEASE, "--ignore-not-found"], "");
        }
        for (name, _) in ENTRIES {
            let namespace = format!("injection-{name}");
            self.cluster.try_kubectl(&["-n", &namespace, "delete", "pods", "--all", "--force", "--grace-period=0"], "");
        }
    }
}

/// The entries in the chart's order, each with the label of a namespace that it is for.
const ENTRIES: [(&str, &str); 3] = [("enabled", "enabled"), ("required", "required"), ("asked", "")];

fn apply(cluster: &Cluster, documents: &[Value]) {
    let documents: Vec<String> = documents.iter().map(Value::to_string).collect();
    cluster.apply(&documents.join("\n---\n"));
}

/// Namespaces of the tests with these labels, and in each the account that only a controller would make.
pub(super) fn named(cluster: &Cluster, places: &[(String, Value)]) {
    let found: Value = serde_json::from_str(&cluster.kubectl(&["get", "namespaces", "-o", "json"])).unwrap();
    let mut documents = Vec::new();
    for (name, labels) in places {
        let there = found["items"].as_array().unwrap().iter().find(|namespace| namespace["metadata"]["name"] == **name);
        let is_ours = there.is_none_or(|namespace| namespace["metadata"]["labels"]["cloakroom-tests"] == "own");
        assert!(is_ours, "the cluster has a namespace `{name}` that the tests have not made: use another cluster");
        let mut labels = labels.clone();
        labels["cloakroom-tests"] = "own".into();
        documents.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}));
        documents.push(account(name, "default"));
    }
    apply(cluster, &documents);
}

/// A service account, without which the API server takes no pod of its.
pub(super) fn account(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}})
}

/// A pod that asks.
pub(super) fn asking() -> Value {
    let mut pod = plain();
    pod["metadata"]["labels"] = json!({"cloakroom.dev/inject": "true"});
    pod
}

/// A pod that does not.
pub(super) fn plain() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "app-"},
        "spec": {"containers": [{"name": "app", "image": "client:test"}]},
    })
}

/// Whether the pod carries the agent.
pub(super) fn has_agent(pod: &Value) -> bool {
    let init = pod["spec"]["initContainers"].as_array().map_or(&[][..], Vec::as_slice);
    let is_agent = |container: &Value| match container["command"][1].as_str() {
        // Mode init: it ends.
        Some("render") => container["restartPolicy"].is_null(),
        _ => container["restartPolicy"] == "Always",
    };
    init.iter().any(|container| container["name"] == "cloakroom-agent" && is_agent(container))
}

/// What the policy of mandatory namespaces said, if it was it.
pub(super) fn is_of_policy(refused: &Refused) -> bool {
    refused.message.contains(&format!("ValidatingAdmissionPolicy '{RELEASE}'"))
}

fn settings(documents: &[Value]) -> &str {
    let template = &chart::document(documents, "Deployment", RELEASE)["spec"]["template"];
    template["metadata"]["annotations"]["cloakroom.dev/settings"].as_str().unwrap()
}

/// What the Deployment starts the injector with, but for what only a container has.
fn arguments(documents: &[Value], cluster: &Cluster, account: &Account) -> Arguments {
    let container = &chart::document(documents, "Deployment", RELEASE)["spec"]["template"]["spec"]["containers"][0];
    let mut arguments: Vec<String> =
        container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap().to_owned()).collect();
    assert_eq!(arguments.remove(0), "serve");
    arguments.retain(|argument| !["--config=", "--listen=", "--admin="].iter().any(|ours| argument.starts_with(ours)));
    arguments.push(format!("--token-dir={}", account.directory.path().display()));
    let variable = |variable: &Value| {
        (variable["name"].as_str().unwrap().to_owned(), variable["value"].as_str().unwrap().to_owned())
    };
    let mut environment: Vec<(String, String)> = container["env"].as_array().unwrap().iter().map(variable).collect();
    // As the kubelet does.
    environment.push(("KUBERNETES_SERVICE_HOST".to_owned(), cluster.address.host.clone()));
    environment.push(("KUBERNETES_SERVICE_PORT".to_owned(), cluster.address.port.to_string()));
    Arguments { arguments, environment }
}
