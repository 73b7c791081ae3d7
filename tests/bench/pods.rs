//! From created to ready: a pod that the injector gave its agent, beside the same pod with a sidecar that only binds a
//! socket, and beside one with no sidecar at all; in turns, on a real node with the chart installed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cloakroom_tests::cluster::Cluster;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use crate::table::Row;

const NAMESPACE: &str = "bench-pods";

/// Pods of each kind in a round.
const PODS: usize = 5;

/// How long a pod may take.
const LOST: Duration = Duration::from_mins(2);

const KINDS: [&str; 3] = ["plain", "bare", "injected"];

/// Runs everything. The images `cloakroom-agent`, `bare:test` and `client:test` are on the node, and the chart is installed.
pub(crate) fn measure(rounds: usize) -> anyhow::Result<Vec<Row>> {
    let cluster = Cluster::get();
    cluster.namespace(NAMESPACE);
    cluster.kubectl(&["-n", NAMESPACE, "wait", "--for=create", "serviceaccount/default", "--timeout=30s"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ratios = runtime.block_on(compare(cluster.kubeconfig(), rounds))?;
    Ok(vec![Row::of("pod_start_over_bare_sidecar_p50", ratios, "ratio", "<= 1.1")])
}

async fn compare(kubeconfig: &Path, rounds: usize) -> anyhow::Result<Vec<f64>> {
    let context = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &context).await?;
    let pods: Api<Pod> = Api::namespaced(Client::try_from(config)?, NAMESPACE);
    let bare = with_bare_sidecar(&pods).await?;
    let mut ratios = Vec::new();
    for round in 0..=rounds {
        let mut times = [const { Vec::new() }; KINDS.len()];
        for turn in 0..PODS * KINDS.len() {
            let kind = turn % KINDS.len();
            let name = format!("pod-{round}-{turn}");
            let pod = match KINDS.get(kind) {
                Some(&"bare") => named(bare.clone(), &name),
                Some(&"injected") => named(asking("true"), &name),
                _ => named(asking("false"), &name),
            };
            let took = start(&pods, &name, pod).await?;
            if let Some(times) = times.get_mut(kind) {
                times.push(took.as_secs_f64());
            }
        }
        let [plain, bare, injected] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
        });
        println!(
            "pods {round}: ready after {plain:.2} s plain, {bare:.2} s with a bare sidecar, {injected:.2} s injected"
        );
        // The first round warms up.
        if round > 0 {
            ratios.push(injected / bare);
        }
    }
    Ok(ratios)
}

/// A pod that asks for an agent, or declines.
fn asking(inject: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"labels": {"cloakroom.dev/inject": inject}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "app", "image": "client:test", "command": ["sleep", "3600"]}],
        },
    })
}

fn named(mut pod: Value, name: &str) -> Value {
    if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("name".to_owned(), json!(name));
    }
    pod
}

/// What the injector makes of a pod, with another program in the place of the agent.
async fn with_bare_sidecar(pods: &Api<Pod>) -> anyhow::Result<Value> {
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let pod: Pod = serde_json::from_value(named(asking("true"), "looked-at"))?;
    let mut pod = serde_json::to_value(pods.create(&dry, &pod).await?)?;
    let sidecar = pod.pointer_mut("/spec/initContainers/0").and_then(Value::as_object_mut);
    let sidecar = sidecar.context("the injector did not inject: is the chart installed?")?;
    ensure!(sidecar.get("name") == Some(&json!("cloakroom-agent")), "the first init container is not the agent");
    let socket = "/run/cloakroom/bare.sock";
    sidecar.insert("name".to_owned(), json!("bare"));
    sidecar.insert("image".to_owned(), json!("bare:test"));
    sidecar.insert("command".to_owned(), json!(["bare", "bind", socket]));
    sidecar.remove("env");
    let probe = sidecar.get_mut("startupProbe").context("the agent has no startup probe")?;
    if let Some(probe) = probe.as_object_mut() {
        probe.insert("exec".to_owned(), json!({"command": ["bare", "ready", socket]}));
    }
    if let Some(pod) = pod.as_object_mut() {
        pod.insert("metadata".to_owned(), json!({"labels": {"cloakroom.dev/inject": "false"}}));
        pod.remove("status");
    }
    Ok(pod)
}

/// Makes a pod, waits until it is ready, and takes it away again.
async fn start(pods: &Api<Pod>, name: &str, pod: Value) -> anyhow::Result<Duration> {
    let pod: Pod = serde_json::from_value(pod)?;
    let began = Instant::now();
    let made = pods.create(&PostParams::default(), &pod).await?;
    let version = made.metadata.resource_version.context("no version")?;
    let only = WatchParams::default().fields(&format!("metadata.name={name}"));
    let events = pods.watch(&only, &version).await?;
    let mut events = std::pin::pin!(events);
    let ready = async {
        while let Some(event) = events.next().await {
            if let WatchEvent::Modified(pod) = event?
                && pod.status.and_then(|status| status.conditions).is_some_and(|conditions| {
                    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
                })
            {
                return Ok(began.elapsed());
            }
        }
        anyhow::bail!("the watch ended")
    };
    let took = tokio::time::timeout(LOST, ready).await.with_context(|| format!("{name} does not get ready"))??;
    pods.delete(name, &DeleteParams::default().grace_period(0)).await?;
    let gone = async {
        while let Some(event) = events.next().await {
            if matches!(event, Ok(WatchEvent::Deleted(_))) {
                return;
            }
        }
    };
    tokio::time::timeout(LOST, gone).await.with_context(|| format!("{name} does not go"))?;
    Ok(took)
}
