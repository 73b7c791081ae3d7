//! What is measured: in rounds that take turns, so that a slow moment of the machine meets all alike.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::admission;
use crate::client::{self, Load};
use crate::conjur;
use crate::render;
use crate::servers::{APP, SECRET, Server, pin};
use crate::table::Row;

/// One server's part of a round.
struct Turn {
    load: Load,
    cpu_per_request: f64,
}

/// Runs everything.
pub(crate) fn measure(rounds: usize, duration: Duration) -> anyhow::Result<Vec<Row>> {
    let pinned = pin(0);
    println!(
        "servers on one core, the client on another: {}",
        if pinned { "yes" } else { "no, this machine does not allow it" }
    );
    let memory = Path::new("/dev/shm").is_dir();
    let audit = tempfile::TempDir::new_in(if memory { "/dev/shm" } else { "/tmp" })?;
    println!("the audit file lies on {}", if memory { "a tmpfs" } else { "a disk: /dev/shm is missing" });

    let plain = Server::agent(Path::new("/dev/null"))?;
    let audited = Server::agent(&audit.path().join("audit.jsonl"))?;
    for agent in [&plain, &audited] {
        agent.ask(&client::put(
            APP,
            r#"{"secrets":[{"name":"externalSecrets/foo/password","value":"s3cr3t-of-some-length"}]}"#,
        ))?;
    }
    let body = plain.ask(&client::get(SECRET))?;
    let bare = Server::bare(&body)?;
    if pinned {
        pin(1);
    }
    let mut rows = throughput(&[&bare, &plain, &audited], rounds, duration)?;
    rows.push(connecting(&[&bare, &plain], rounds, duration)?);
    drop((bare, plain, audited));
    pin(0);
    rows.push(first_answer(&body, rounds)?);
    rows.extend(memory_rows(&body)?);
    rows.extend(conjur::measure(rounds)?);
    rows.extend(admission::measure(rounds, duration)?);
    rows.extend(render::measure(rounds)?);
    Ok(rows)
}

fn turn(server: &Server, duration: Duration) -> anyhow::Result<Turn> {
    let before = server.cpu()?;
    let load = client::run(&server.socket, &client::get(SECRET), 16, duration)?;
    let cpu = server.cpu()?.saturating_sub(before);
    Ok(Turn { cpu_per_request: cpu.as_secs_f64() / load.requests as f64, load })
}

fn throughput(servers: &[&Server; 3], rounds: usize, duration: Duration) -> anyhow::Result<Vec<Row>> {
    for server in servers {
        turn(server, duration / 4)?;
    }
    let mut ratios: [Vec<f64>; 5] = Default::default();
    for round in 0..rounds {
        let mut turns = [const { None }; 3];
        // Forwards and backwards: whoever comes first in one round comes last in the next.
        for step in 0..3 {
            let index = if round % 2 == 0 { step } else { 2 - step };
            if let (Some(place), Some(server)) = (turns.get_mut(index), servers.get(index)) {
                *place = Some(turn(server, duration)?);
            }
        }
        let [Some(bare), Some(plain), Some(audited)] = turns else { continue };
        println!(
            "round {round}: bare {:.0}/s, agent {:.0}/s, audited {:.0}/s; p99 {:.0}/{:.0}/{:.0} µs; cpu {:.2}/{:.2}/{:.2} µs",
            bare.load.rate(),
            plain.load.rate(),
            audited.load.rate(),
            bare.load.percentile(0.99) / 1e3,
            plain.load.percentile(0.99) / 1e3,
            audited.load.percentile(0.99) / 1e3,
            bare.cpu_per_request * 1e6,
            plain.cpu_per_request * 1e6,
            audited.cpu_per_request * 1e6,
        );
        let [rps, cpu, p99, audited_rps, audited_cpu] = &mut ratios;
        rps.push(plain.load.rate() / bare.load.rate());
        cpu.push(plain.cpu_per_request / bare.cpu_per_request);
        p99.push(plain.load.percentile(0.99) / bare.load.percentile(0.99));
        audited_rps.push(audited.load.rate() / bare.load.rate());
        audited_cpu.push(audited.cpu_per_request / bare.cpu_per_request);
    }
    let [rps, cpu, p99, audited_rps, audited_cpu] = ratios;
    Ok(vec![
        Row::of("get_rps_16", rps, "ratio", ">= 0.75"),
        Row::of("get_cpu_16", cpu, "ratio", "<= 1.30"),
        Row::of("get_p99_16", p99, "ratio", "<= 1.30"),
        Row::of("get_rps_16_audited", audited_rps, "ratio", ">= 0.65"),
        Row::of("get_cpu_16_audited", audited_cpu, "ratio", "<= 1.60"),
    ])
}

fn connecting(servers: &[&Server; 2], rounds: usize, duration: Duration) -> anyhow::Result<Row> {
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let mut rates = [0.0; 2];
        for step in 0..2 {
            let index = if round % 2 == 0 { step } else { 1 - step };
            if let (Some(rate), Some(server)) = (rates.get_mut(index), servers.get(index)) {
                *rate = client::run_connecting(&server.socket, &client::get(SECRET), duration / 2)?.rate();
            }
        }
        ratios.push(rates[1] / rates[0]);
    }
    Ok(Row::of("connect_rps", ratios, "ratio", ">= 0.90"))
}

/// From the start of the process to its first 200.
fn first_answer(body: &str, rounds: usize) -> anyhow::Result<Row> {
    let timed = |start: &mut dyn FnMut() -> anyhow::Result<Server>| -> anyhow::Result<(f64, Server)> {
        let began = Instant::now();
        let server = start()?;
        server.ask(&client::get("/api/v1/status"))?;
        Ok((began.elapsed().as_secs_f64(), server))
    };
    let (mut ratios, mut directory) = (Vec::new(), None);
    for _ in 0..rounds.max(5) {
        let (bare, _) = timed(&mut || Server::bare(body))?;
        let mut place = directory.take();
        let (agent, server) = timed(&mut || {
            let place = place.take().map_or_else(tempfile::TempDir::new, Ok)?;
            Server::agent_in(place, Path::new("/dev/null"), "")
        })?;
        directory = Some(server.into_directory()?);
        println!("first 200: bare {:.2} ms, agent {:.2} ms", bare * 1e3, agent * 1e3);
        ratios.push(agent / bare);
    }
    Ok(Row::of("start_first_200", ratios, "ratio", "<= 2"))
}

/// Caches `range` of secrets, in batches.
fn cache_secrets(agent: &Server, range: std::ops::Range<usize>) -> anyhow::Result<()> {
    let numbers: Vec<usize> = range.collect();
    for numbers in numbers.chunks(100) {
        // A hundred to an application, so that no map slot grows large.
        let app = numbers.first().copied().unwrap_or_default() / 100;
        let entries: Vec<String> = numbers
            .iter()
            .map(|number| format!(r#"{{"name":"externalSecrets/k{number}","value":"{}"}}"#, "v".repeat(VALUE_BYTES)))
            .collect();
        let target = APP.replace("my-app", &format!("app-{app}"));
        agent.ask(&client::put(&target, &format!(r#"{{"secrets":[{}]}}"#, entries.join(","))))?;
        let ids: Vec<String> = numbers
            .iter()
            .map(|number| format!("secretId=poc:eni--hyperion:app-{app}:externalSecrets%2Fk{number}:"))
            .collect();
        agent.ask(&client::get(&format!("/api/v1/secrets?{}", ids.join("&"))))?;
    }
    Ok(())
}

const VALUE_BYTES: usize = 64;

fn memory_rows(body: &str) -> anyhow::Result<Vec<Row>> {
    let (mut idle, mut secret, mut connection) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        let (bare, agent) = (Server::bare(body)?, Server::agent(Path::new("/dev/null"))?);
        for _ in 0..100 {
            bare.ask(&client::get(SECRET))?;
        }
        cache_secrets(&agent, 0..1000)?;
        let few = agent.resident_kb()?;
        idle.push((few - bare.resident_kb()?) / 1024.0);
        cache_secrets(&agent, 1000..9000)?;
        let many = agent.resident_kb()?;
        secret.push((many - few) / 8000.0 - VALUE_BYTES as f64 / 1024.0);
        let mut held = Vec::new();
        for _ in 0..60 {
            let mut stream = client::connect(&agent.socket)?;
            client::whole_answer(
                &mut stream,
                &client::get("/api/v1/secrets/poc:eni--hyperion:app-1:externalSecrets%2Fk100:"),
            )?;
            held.push(stream);
        }
        connection.push((agent.resident_kb()? - many) / 60.0);
    }
    Ok(vec![
        Row::of("idle_rss_over_hyper_mb", idle, "MiB", "<= 3"),
        Row::of("kb_per_secret", secret, "KiB", "<= 1"),
        Row::of("kb_per_connection", connection, "KiB", "<= 20"),
    ])
}
