//! The soak: an agent under everything at once, whose memory, descriptors and threads must stay flat.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::client;
use crate::servers::{APP, Server};

const CLIENTS: usize = 8;
const SAMPLE: Duration = Duration::from_secs(5);

/// What the allocator's pages may add by themselves: a slope is only one above this.
const NOISE_KB: f64 = 512.0;

#[derive(Clone, Copy)]
struct Sample {
    at: f64,
    resident_kb: f64,
    descriptors: f64,
    threads: f64,
    series: f64,
}

/// Runs for `duration`; an error if something grows.
pub(crate) fn run(duration: Duration) -> anyhow::Result<()> {
    let agent = Server::agent_in(tempfile::TempDir::new()?, Path::new("/dev/null"), "soak")?;
    agent.ask(&client::put(APP, "{}"))?;
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (stop, asked, socket) = (Arc::clone(&stop), Arc::clone(&asked), agent.socket.clone());
            std::thread::spawn(move || load(number, &socket, &stop, &asked))
        })
        .collect();
    let began = Instant::now();
    let mut samples = Vec::new();
    let mut told = 0;
    while began.elapsed() < duration {
        std::thread::park_timeout(SAMPLE.min(duration.saturating_sub(began.elapsed())));
        samples.push(sample(&agent, began.elapsed())?);
        let minute = began.elapsed().as_secs() / 60;
        if let Some(last) = samples.last().filter(|_| minute > told) {
            told = minute;
            println!(
                "{minute} min: {} requests, {:.0} KiB, {} descriptors, {} threads, {} series",
                asked.load(Ordering::Relaxed),
                last.resident_kb,
                last.descriptors,
                last.threads,
                last.series
            );
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
    }
    judge(&samples, asked.load(Ordering::Relaxed))
}

type Figure = fn(&Sample) -> f64;

fn judge(samples: &[Sample], asked: u64) -> anyhow::Result<()> {
    // The first fifth fills the cache and the allocator's pools.
    let settled = samples.get(samples.len() / 5..).filter(|settled| settled.len() >= 5).context("too short a run")?;
    let span = settled.last().map_or(0.0, |last| last.at) - settled.first().map_or(0.0, |first| first.at);
    let mut flat = true;
    let figures: [(&str, Figure, f64); 4] = [
        ("resident KiB", |sample| sample.resident_kb, NOISE_KB),
        ("descriptors", |sample| sample.descriptors, 16.0),
        ("threads", |sample| sample.threads, 4.0),
        ("metric series", |sample| sample.series, 0.5),
    ];
    println!("{asked} requests");
    for (name, figure, noise) in figures {
        let mean = settled.iter().map(figure).sum::<f64>() / settled.len() as f64;
        let growth = slope(settled, figure) * span;
        let fits = growth <= (mean * 0.01).max(noise);
        flat &= fits;
        println!("{name}: mean {mean:.1}, growth over the run {growth:.1} ({})", if fits { "flat" } else { "GROWS" });
    }
    ensure!(flat, "something grows");
    Ok(())
}

/// Least squares.
fn slope(samples: &[Sample], figure: Figure) -> f64 {
    let count = samples.len() as f64;
    let (time, value) =
        (samples.iter().map(|s| s.at).sum::<f64>() / count, samples.iter().map(figure).sum::<f64>() / count);
    let above: f64 = samples.iter().map(|s| (s.at - time) * (figure(s) - value)).sum();
    let below: f64 = samples.iter().map(|s| (s.at - time).powi(2)).sum();
    above / below
}

fn sample(agent: &Server, elapsed: Duration) -> anyhow::Result<Sample> {
    let admin = agent.directory.path().join("run/admin.sock");
    let metrics = client::whole_answer(&mut client::connect(&admin)?, &client::get("/metrics"))?;
    let series = String::from_utf8_lossy(&metrics).lines().filter(|line| line.starts_with("cloakroom_")).count();
    Ok(Sample {
        at: elapsed.as_secs_f64(),
        resident_kb: agent.resident_kb()?,
        descriptors: agent.descriptors()?,
        threads: agent.threads()?,
        series: series as f64,
    })
}

/// Reads, writes, rotations, deletions, batches, misses, invalid ids, broken HTTP, and connections that come and go.
fn load(number: usize, socket: &Path, stop: &AtomicBool, asked: &AtomicU64) -> anyhow::Result<()> {
    let mut round: usize = number;
    while !stop.load(Ordering::Relaxed) {
        let mut stream = client::connect(socket)?;
        for _ in 0..50 {
            round += 1;
            let key = round * 31 % 500;
            let secret = format!("/api/v1/secrets/poc:eni--hyperion:my-app:externalSecrets%2Fk{key}:");
            let request = match round % 23 {
                0 => client::put(&secret, &format!(r#"{{"value":"value {round}"}}"#)),
                1 => format!("DELETE {secret} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(),
                2 => b"POST /api/v1/secrets/poc:eni--hyperion:my-app:clientSecret:/rotate HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".to_vec(),
                3 => client::get(&format!("/api/v1/secrets?secretId=poc:eni--hyperion:my-app:externalSecrets%2Fk{key}:&secretId=poc:eni--hyperion:my-app:clientSecret:")),
                4 => client::get(&format!("/api/v1/secrets/random-{round}:::x:")),
                5 => client::get(&format!("/api/v1/secrets/poc:eni--hyperion:my-app:externalSecrets%2Frandom{round}:")),
                6 => client::put(&secret, "{\"value\":"),
                7 => client::get(&format!("{secret}000000000{:03}", round % 1000).replace("::", ":")),
                8 => client::put(APP, r#"{"strategy":"merge","secrets":[{"name":"externalSecrets/merged","value":"x"}]}"#),
                9 => client::get("/api/v1/status"),
                _ => client::get(&secret),
            };
            client::whole_answer_or_none(&mut stream, &request)?;
            asked.fetch_add(1, Ordering::Relaxed);
            // Every core to spare: a soak watches growth, not speed.
            std::thread::park_timeout(Duration::from_micros(500));
        }
        // Broken HTTP ends its connection.
        client::whole_answer_or_none(&mut stream, b"GET / HTTP/1.1\nHost: a\n\n")?;
    }
    Ok(())
}
