//! What the API server costs: the agent beside kube-rs, on the same objects of a real cluster, in one run.

use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_tests::cluster::{Account, Cluster};
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio_util::task::TaskTracker;

use crate::client;
use crate::render::{Bare, Files};
use crate::servers::{APP, Server};
use crate::table::Row;

const NAMESPACE: &str = "poc--eni--hyperion";
const SECRET: &str = "/api/v1/secrets/poc:eni--hyperion:my-app:clientSecret:";
const ROLES: &str = include_str!("../../charts/cloakroom/files/roles.yaml");

/// Changes in one round, and gets.
const CHANGES: usize = 200;
const GETS: usize = 2000;

/// How long a change may take before it counts as lost.
const LOST: Duration = Duration::from_secs(10);

/// How often the socket is asked whether it has the new value.
const POLL: Duration = Duration::from_micros(100);

/// Runs everything.
pub(crate) fn measure(rounds: usize, image: Option<&Path>) -> anyhow::Result<Vec<Row>> {
    let cluster = Cluster::get();
    cluster.apply(ROLES);
    for namespace in ["poc", NAMESPACE] {
        cluster.namespace(namespace);
        cluster.empty(namespace);
    }
    let account = cluster.account("poc");
    for namespace in ["poc", NAMESPACE] {
        let roles = ["cloakroom-backend-onboarder", "cloakroom-reader", "cloakroom-writer", "cloakroom-onboarder"];
        cluster.bind(&account, namespace, &roles);
    }
    let kubeconfig = account.kubeconfig(&cluster);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rows = {
        let agent = agent(&cluster, &account, "")?;
        agent.ask(&client::put(APP, r#"{"secrets":[{"name":"clientSecret","value":"0"}]}"#))?;
        runtime.block_on(changes(kubeconfig.path(), &agent, rounds))?
    };
    for (count, names) in [
        (1, ["change_to_file_over_watch_p50", "change_to_file_over_watch_p99"]),
        (100, ["change_to_100_files_over_watch_p50", "change_to_100_files_over_watch_p99"]),
    ] {
        let files = Files::start(&cluster, &account, "poc:eni--hyperion:my-app:clientSecret:", count)?;
        rows.extend(runtime.block_on(files_change(kubeconfig.path(), &files, rounds, count, names))?);
    }
    rows.push(uncached(&cluster, &account, kubeconfig.path(), rounds)?);
    rows.push(per_object(&cluster, &account)?);
    rows.push(idle(&cluster, &account, image)?);
    Ok(rows)
}

/// An agent that has been told who it is.
fn agent(cluster: &Cluster, account: &Account, extra: &str) -> anyhow::Result<Server> {
    identified(Server::kubernetes_agent(None, cluster, account, extra)?)
}

fn identified(agent: Server) -> anyhow::Result<Server> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while agent.ask(&client::get("/api/v1/whoami")).is_err() {
        ensure!(Instant::now() < deadline, "the agent is not told who it is");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok(agent)
}

async fn connect(kubeconfig: &Path) -> anyhow::Result<Client> {
    let context = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &context).await?;
    Ok(Client::try_from(config)?)
}

/// From a write to where its value is seen: by a bare watch, and at the socket of the agent.
async fn changes(kubeconfig: &Path, agent: &Server, rounds: usize) -> anyhow::Result<Vec<Row>> {
    let secrets: Api<Secret> = Api::namespaced(connect(kubeconfig).await?, NAMESPACE);
    let (sent_by_watch, mut watched) = tokio::sync::mpsc::unbounded_channel();
    let tasks = TaskTracker::new();
    let version = secrets.get("my-app").await?.metadata.resource_version.context("no version")?;
    let events = Api::<Secret>::namespaced(connect(kubeconfig).await?, NAMESPACE);
    let watching = tasks.spawn(async move {
        let only = WatchParams::default().fields("metadata.name=my-app");
        let Ok(events) = events.watch(&only, &version).await else { return };
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            if let Ok(WatchEvent::Modified(secret)) = event {
                let value = secret.data.and_then(|mut data| data.remove("clientSecret")).unwrap_or_default();
                let _gone = sent_by_watch.send((value.0, Instant::now()));
            }
        }
    });
    let (wanted, arrivals) = poll(agent)?;
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    let mut number = 0;
    for round in 0..=rounds {
        let (mut by_watch, mut by_agent) = (Vec::new(), Vec::new());
        for _ in 0..CHANGES {
            number += 1;
            let value = format!("value-{number}");
            wanted.send(value.clone())?;
            let change = serde_json::json!({"data": {"clientSecret": STANDARD.encode(&value)}});
            let began = Instant::now();
            secrets.patch("my-app", &PatchParams::default(), &Patch::Merge(change)).await?;
            let seen = loop {
                let (bytes, at) = tokio::time::timeout(LOST, watched.recv()).await?.context("the watch ended")?;
                if bytes == value.as_bytes() {
                    break at;
                }
            };
            by_watch.push(seen.duration_since(began).as_secs_f64());
            by_agent.push(arrivals.recv_timeout(LOST)?.duration_since(began).as_secs_f64());
        }
        let ratios = compared(&format!("change {round}"), &mut by_watch, &mut by_agent);
        // The first round warms up.
        if round > 0 {
            p50.push(ratios[0]);
            p99.push(ratios[1]);
        }
    }
    watching.abort();
    Ok(vec![
        Row::of("kube_change_visible_over_watch_p50", p50, "ratio", "<= 1.5"),
        Row::of("kube_change_visible_over_watch_p99", p99, "ratio", "<= 2"),
    ])
}

/// From a write to where files with its value are: those of the agent, and those that a bare watch writes itself. They
/// take turns, on two objects, so that neither works while the other is measured.
async fn files_change(
    kubeconfig: &Path,
    files: &Files,
    rounds: usize,
    count: usize,
    names: [&'static str; 2],
) -> anyhow::Result<Vec<Row>> {
    let secrets: Api<Secret> = Api::namespaced(connect(kubeconfig).await?, NAMESPACE);
    let other = serde_json::json!({"metadata": {"name": "other"}, "data": {"clientSecret": ""}});
    secrets.patch("other", &PatchParams::apply("bench").force(), &Patch::Apply(with_kind(other))).await?;
    let version = secrets.get("other").await?.metadata.resource_version.context("no version")?;
    let events = Api::<Secret>::namespaced(connect(kubeconfig).await?, NAMESPACE);
    let only = WatchParams::default().fields("metadata.name=other");
    let mut events = std::pin::pin!(events.watch(&only, &version).await?);
    let (bare, (wanted, arrivals)) = (Bare::new()?, files.watch(count));
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (mut by_watch, mut by_agent) = (Vec::new(), Vec::new());
        for number in 0..CHANGES {
            let value = format!("value-{round}-{number}-of-{count}");
            let change = serde_json::json!({"data": {"clientSecret": STANDARD.encode(&value)}});
            let began = Instant::now();
            secrets.patch("other", &PatchParams::default(), &Patch::Merge(&change)).await?;
            let swapped = loop {
                let event = tokio::time::timeout(LOST, events.next()).await?.context("the watch ended")??;
                let WatchEvent::Modified(secret) = event else { continue };
                let seen = secret.data.and_then(|mut data| data.remove("clientSecret")).unwrap_or_default();
                if seen.0 == value.as_bytes() {
                    break bare.write(count, &value)?;
                }
            };
            by_watch.push(swapped.duration_since(began).as_secs_f64());
            wanted.send(value)?;
            let began = Instant::now();
            secrets.patch("my-app", &PatchParams::default(), &Patch::Merge(&change)).await?;
            by_agent.push(arrivals.recv_timeout(LOST)?.duration_since(began).as_secs_f64());
        }
        let ratios = compared(&format!("{count} files {round}"), &mut by_watch, &mut by_agent);
        if round > 0 {
            p50.push(ratios[0]);
            p99.push(ratios[1]);
        }
    }
    let [id50, id99] = names;
    Ok(vec![Row::of(id50, p50, "ratio", "<= 2"), Row::of(id99, p99, "ratio", "<= 3")])
}

fn with_kind(mut secret: serde_json::Value) -> serde_json::Value {
    secret["apiVersion"] = "v1".into();
    secret["kind"] = "Secret".into();
    secret
}

type Poll = (mpsc::Sender<String>, mpsc::Receiver<Instant>);

/// Asks the socket for each value that it is told to wait for, and says when it was there.
fn poll(agent: &Server) -> anyhow::Result<Poll> {
    let (wanted, wants) = mpsc::channel::<String>();
    let (arrived, arrivals) = mpsc::channel();
    let mut stream = client::connect(&agent.socket)?;
    std::thread::spawn(move || -> anyhow::Result<()> {
        for value in wants {
            let needle = format!("\"value\":\"{value}\"");
            loop {
                let answer = client::whole_answer(&mut stream, &client::get(SECRET))?;
                if answer.windows(needle.len()).any(|window| window == needle.as_bytes()) {
                    break;
                }
                std::thread::park_timeout(POLL);
            }
            arrived.send(Instant::now())?;
        }
        Ok(())
    });
    Ok((wanted, arrivals))
}

/// The agent's median and 99th percentile over those of a bare watch.
fn compared(what: &str, by_watch: &mut [f64], by_agent: &mut [f64]) -> [f64; 2] {
    let [watch_p50, watch_p99] = percentiles(by_watch);
    let [agent_p50, agent_p99] = percentiles(by_agent);
    println!(
        "{what}: watch p50 {:.2} ms, p99 {:.2} ms; agent p50 {:.2} ms, p99 {:.2} ms",
        watch_p50 * 1e3,
        watch_p99 * 1e3,
        agent_p50 * 1e3,
        agent_p99 * 1e3
    );
    [agent_p50 / watch_p50, agent_p99 / watch_p99]
}

fn percentiles(times: &mut [f64]) -> [f64; 2] {
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times.get((times.len() - 1) * part / 100).copied().unwrap_or(f64::NAN);
    [at(50), at(99)]
}

/// Processor time of a resolve that asks the API server, over that of a bare get.
fn uncached(cluster: &Cluster, account: &Account, kubeconfig: &Path, rounds: usize) -> anyhow::Result<Row> {
    let agent = agent(cluster, account, "cache: {ttl: 0s}")?;
    let mut stream = client::connect(&agent.socket)?;
    let mut ratios = Vec::new();
    for round in 0..=rounds {
        let before = agent.cpu()?;
        for _ in 0..GETS {
            let answer = client::whole_answer(&mut stream, &client::get(SECRET))?;
            ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        }
        let ours = agent.cpu()?.saturating_sub(before).as_secs_f64() / GETS as f64;
        let output =
            Command::new(std::env::current_exe()?).arg("bare-get").arg(kubeconfig).arg(GETS.to_string()).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let bare: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
        println!("uncached {round}: kube-rs {:.1} µs, agent {:.1} µs of processor time a get", bare * 1e6, ours * 1e6);
        if round > 0 {
            ratios.push(ours / bare);
        }
    }
    Ok(Row::of("kube_uncached_get_cpu", ratios, "ratio", "<= 1.5"))
}

/// The bare get: kube-rs on one thread, one get after the other; prints its processor time in seconds for each.
pub(crate) fn bare_get(kubeconfig: &Path, gets: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let secrets: Api<Secret> = Api::namespaced(connect(kubeconfig).await?, NAMESPACE);
        for _ in 0..100 {
            secrets.get("my-app").await?;
        }
        let cpu = || nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from);
        let before = cpu()?;
        for _ in 0..gets {
            secrets.get("my-app").await?;
        }
        println!("{}", cpu()?.saturating_sub(before).as_secs_f64() / gets as f64);
        Ok(())
    })
}

/// Makes applications, each with one Secret of so many entries.
fn make_applications(agent: &Server, numbers: Range<usize>, entries: usize) -> anyhow::Result<()> {
    for number in numbers {
        let app = APP.replace("my-app", &format!("app-{number}"));
        let list: Vec<String> = (0..entries)
            .map(|entry| format!(r#"{{"name":"externalSecrets/k{entry}","value":"{}"}}"#, "v".repeat(64)))
            .collect();
        agent.ask(&client::put(&app, &format!(r#"{{"secrets":[{}]}}"#, list.join(","))))?;
    }
    Ok(())
}

/// Resolves every entry of them, so that it is cached and its object is watched.
fn resolve_applications(agent: &Server, numbers: Range<usize>, entries: usize) -> anyhow::Result<()> {
    for number in numbers {
        let ids: Vec<String> = (0..entries)
            .map(|entry| format!("secretId=poc:eni--hyperion:app-{number}:externalSecrets%2Fk{entry}:"))
            .collect();
        agent.ask(&client::get(&format!("/api/v1/secrets?{}", ids.join("&"))))?;
    }
    Ok(())
}

/// What an object costs that is in use: one cached secret, what is known of the object, its watch, and the decision.
fn per_object(cluster: &Cluster, account: &Account) -> anyhow::Result<Row> {
    const OBJECTS: usize = 500;
    make_applications(&agent(cluster, account, "")?, 0..100 + OBJECTS, 1)?;
    let mut sizes = Vec::new();
    for _ in 0..3 {
        let agent = agent(cluster, account, "")?;
        resolve_applications(&agent, 0..100, 1)?;
        let few = agent.resident_kb()?;
        resolve_applications(&agent, 100..100 + OBJECTS, 1)?;
        sizes.push((agent.resident_kb()? - few) / OBJECTS as f64);
    }
    Ok(Row::of("kube_kb_per_watched_object", sizes, "KiB", "<= 4"))
}

/// With TLS, and a thousand secrets cached: the program that an image carries, if it was built.
fn idle(cluster: &Cluster, account: &Account, image: Option<&Path>) -> anyhow::Result<Row> {
    make_applications(&agent(cluster, account, "")?, 1000..1010, 100)?;
    let resident = |program: Option<&Path>| -> anyhow::Result<f64> {
        let agent = identified(Server::kubernetes_agent(program, cluster, account, "")?)?;
        resolve_applications(&agent, 1000..1010, 100)?;
        Ok(agent.resident_kb()? / 1024.0)
    };
    println!("resident: {:.2} MiB with the system's C library", resident(None)?);
    match image {
        Some(image) => println!("kube_idle_rss_mb is that of {}", image.display()),
        None => println!("kube_idle_rss_mb is the same, for want of a static program"),
    }
    let sizes = (0..3).map(|_| resident(image)).collect::<anyhow::Result<Vec<f64>>>()?;
    Ok(Row::of("kube_idle_rss_mb", sizes, "MiB", "<= 9"))
}
