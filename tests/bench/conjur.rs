//! What Conjur costs: the agent beside a bare proxy, both in front of one double of Conjur, in one run.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::ensure;
use nix::unistd::getuid;
use tempfile::TempDir;

use crate::client;
use crate::double::{ACCOUNT, APPS, LOGIN, variable};
use crate::servers::{Server, beside, pin};
use crate::table::Row;

/// How long each call takes at a double that is far away.
const LATENCY: Duration = Duration::from_millis(5);

/// Gets in one round, where their processor time is measured, and where their time is.
const GETS: usize = 2000;
const TIMED: usize = 40;

/// How long an agent may take to log in.
const LOGS_IN: Duration = Duration::from_secs(20);

/// Runs everything.
pub(crate) fn measure(rounds: usize) -> anyhow::Result<Vec<Row>> {
    Ok(vec![batch_over_single(rounds)?, proxied_get(rounds)?])
}

/// The double on the client's core, so that it takes no time from who is measured.
fn double(latency: Duration) -> anyhow::Result<Server> {
    let directory = TempDir::new()?;
    let socket = directory.path().join("ready.sock");
    let mut command = Command::new(std::env::current_exe()?);
    command.env_clear().arg("double").arg(directory.path()).arg(latency.as_millis().to_string());
    pin(1);
    Server::start(command, socket, directory)
}

/// What does nothing but hand on: hyper in front, reqwest behind.
fn proxy(double: &Server) -> anyhow::Result<Server> {
    let directory = TempDir::new()?;
    let socket = directory.path().join("proxy.sock");
    let mut command = Command::new(std::env::current_exe()?);
    command.env_clear().arg("proxy").arg(&socket).arg(double.directory.path());
    pin(0);
    Server::start(command, socket, directory)
}

/// An agent that caches nothing, and records in `audit`.
fn agent(double: &Server, audit: &Path) -> anyhow::Result<Server> {
    let directory = TempDir::new()?;
    let (own, uid) = (directory.path().display(), getuid());
    let (conjur, audit) = (double.directory.path(), audit.display());
    let url = fs::read_to_string(conjur.join("url"))?;
    let config = format!(
        "listen: {{socket: {own}/run/agent.sock, allowUids: [{uid}], admin: \"\"}}\n\
         backend: {{kind: conjur, conjur: {{url: \"{url}\", account: {ACCOUNT}, caFile: {}, authn: {{apiKey: \
         {{login: {LOGIN}, apiKeyFile: {}}}}}, lease: {{mode: none}}}}}}\n\
         identity: {{kind: uid}}\n\
         permissions: {{kind: file, file: {own}/grants.yaml}}\n\
         audit: {{sink: file, file: {audit}}}\n\
         cache: {{ttl: 0s}}\n\
         limits: {{callerRate: 100000, callerBurst: 200000}}\n",
        conjur.join("ca.pem").display(),
        conjur.join("api-key").display(),
    );
    fs::write(directory.path().join("cloakroom.yaml"), config)?;
    let grants = format!("grants: [{{subject: \"uid:{uid}\", rights: [secrets_read], scopes: [\"*\"]}}]\n");
    fs::write(directory.path().join("grants.yaml"), grants)?;
    let mut command = Command::new(beside("cloakroom")?);
    command.env_clear();
    command.args(["agent", "--config"]).arg(directory.path().join("cloakroom.yaml"));
    let socket = directory.path().join("run/agent.sock");
    pin(0);
    let agent = Server::start(command, socket, directory)?;
    pin(1);
    let deadline = Instant::now() + LOGS_IN;
    while agent.ask(&single()).is_err() {
        ensure!(Instant::now() < deadline, "the agent does not log in");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok(agent)
}

fn id(app: usize) -> String {
    format!("poc:eni--hyperion:app-{app}:clientSecret:")
}

fn single() -> Vec<u8> {
    client::get(&format!("/api/v1/secrets/{}", id(0)))
}

fn batch() -> Vec<u8> {
    let ids: Vec<String> = (0..APPS).map(|app| format!("secretId={}", id(app))).collect();
    client::get(&format!("/api/v1/secrets?{}", ids.join("&")))
}

fn audit_file() -> anyhow::Result<(TempDir, std::path::PathBuf)> {
    let memory = Path::new("/dev/shm").is_dir();
    let directory = TempDir::new_in(if memory { "/dev/shm" } else { "/tmp" })?;
    let file = directory.path().join("audit.jsonl");
    Ok((directory, file))
}

/// How long so many secrets take together, over how long one takes.
fn batch_over_single(rounds: usize) -> anyhow::Result<Row> {
    let double = double(LATENCY)?;
    let (_kept, audit) = audit_file()?;
    let agent = agent(&double, &audit)?;
    let values = agent.ask(&batch())?.matches("\"value\":").count();
    ensure!(values == APPS, "{values} values in a batch of {APPS}");
    let mut stream = client::connect(&agent.socket)?;
    let mut ratios = Vec::new();
    for round in 0..=rounds {
        let (mut one, mut many) = (Vec::new(), Vec::new());
        for _ in 0..TIMED {
            for (request, times) in [(single(), &mut one), (batch(), &mut many)] {
                let began = Instant::now();
                let answer = client::whole_answer(&mut stream, &request)?;
                times.push(began.elapsed().as_secs_f64());
                ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
            }
        }
        let (one, many) = (least(&one), least(&many));
        println!("conjur {round}: one {:.2} ms, a batch of {APPS} {:.2} ms", one * 1e3, many * 1e3);
        // The first round warms up.
        if round > 0 {
            ratios.push(many / one);
        }
    }
    Ok(Row::of("conjur_batch50_over_single", ratios, "ratio", "<= 3"))
}

/// The quickest: whatever took longer has waited for a core, which says nothing of us and brings the ratio near 1.
fn least(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Processor time of a get that asks Conjur, over that of the bare proxy.
fn proxied_get(rounds: usize) -> anyhow::Result<Row> {
    let double = double(Duration::ZERO)?;
    let (_kept, audit) = audit_file()?;
    let agent = agent(&double, &audit)?;
    let proxy = proxy(&double)?;
    pin(1);
    let bare = client::get(&format!("/secrets/{ACCOUNT}/variable/{}", variable(0).replace('/', "%2F")));
    let mut ratios = Vec::new();
    for round in 0..=rounds {
        let mut costs = [0.0; 2];
        let mut turns = [(&proxy, bare.clone(), 0), (&agent, single(), 1)];
        if round % 2 == 1 {
            turns.reverse();
        }
        for (server, request, place) in turns {
            if let Some(cost) = costs.get_mut(place) {
                *cost = cost_of(server, &request)?;
            }
        }
        let [bare, ours] = costs;
        println!("conjur {round}: proxy {:.1} µs, agent {:.1} µs of processor time a get", bare * 1e6, ours * 1e6);
        if round > 0 {
            ratios.push(ours / bare);
        }
    }
    Ok(Row::of("conjur_proxied_get_cpu", ratios, "ratio", "<= 2.5"))
}

fn cost_of(server: &Server, request: &[u8]) -> anyhow::Result<f64> {
    let mut stream = client::connect(&server.socket)?;
    let before = server.cpu()?;
    for _ in 0..GETS {
        let answer = client::whole_answer(&mut stream, request)?;
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    Ok(server.cpu()?.saturating_sub(before).as_secs_f64() / GETS as f64)
}
