//! The injector beside a bare server that reads and answers the same bytes, both over TLS as an API server speaks it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use cloakroom_tests::injector::trusting;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

use crate::client::{self, Load};
use crate::servers::{Server, beside, pin};
use crate::table::Row;

/// A review as an API server has sent it: an ordinary Deployment's pod.
const REVIEW: &str = include_str!("review.json");

const SETTINGS: &str =
    "{image: registry.example.com/cloakroom-agent:1.0.0, profiles: {default: {config: {backend: {kind: kubernetes}}}}}";

const NAME: &str = "injector.cloakroom.svc";

/// Reviews under way at one time, on the one connection that an API server keeps: one that admits a thousand pods a second
/// has less than one of ours.
const OPEN: usize = 1;

/// Reviews after which memory is looked at.
const REVIEWS: u64 = 10_000;

/// A server and where reviews arrive.
struct Webhook {
    server: Server,
    address: SocketAddr,
    ca: String,
}

/// The rows.
pub(crate) fn measure(rounds: usize, duration: Duration) -> anyhow::Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    pin(0);
    let injector = injector()?;
    let answer = runtime.block_on(async { Connection::open(&injector).await?.review().await })?;
    ensure!(String::from_utf8_lossy(&answer).contains("\"patch\":"), "the review is not of a pod that is injected");
    let bare = bare(&answer)?;
    pin(1);
    let mut memory = Vec::new();
    let (mut latency, mut cpu) = (Vec::new(), Vec::new());
    for webhook in [&bare, &injector] {
        runtime.block_on(run(webhook, duration / 4))?;
    }
    for round in 0..rounds {
        let mut turns = [None, None];
        for step in 0..2 {
            let index = (round + step) % 2;
            let webhook = if index == 0 { &bare } else { &injector };
            let before = webhook.server.cpu()?;
            let load = runtime.block_on(run(webhook, duration))?;
            let spent = webhook.server.cpu()?.saturating_sub(before).as_secs_f64() / load.requests as f64;
            if let Some(turn) = turns.get_mut(index) {
                *turn = Some((load, spent));
            }
        }
        let [Some((bare, bare_cpu)), Some((injector, injector_cpu))] = turns else { continue };
        println!(
            "round {round}: reviews: bare {:.0}/s, injector {:.0}/s; p50 {:.0}/{:.0} µs, p99 {:.0}/{:.0} µs; cpu {:.1}/{:.1} µs",
            bare.rate(),
            injector.rate(),
            bare.percentile(0.5) / 1e3,
            injector.percentile(0.5) / 1e3,
            bare.percentile(0.99) / 1e3,
            injector.percentile(0.99) / 1e3,
            bare_cpu * 1e6,
            injector_cpu * 1e6,
        );
        latency.push(injector.percentile(0.99) / bare.percentile(0.99));
        cpu.push(injector_cpu / bare_cpu);
    }
    drop((bare, injector));
    for _ in 0..3 {
        pin(0);
        let injector = self::injector()?;
        pin(1);
        runtime.block_on(exactly(&injector, REVIEWS))?;
        memory.push(injector.server.resident_kb()? / 1024.0);
    }
    println!(
        "reviews: the injector spends {:.2} times the bare server's processor time",
        Row::of("", cpu, "", "").value
    );
    Ok(vec![
        Row::of("admission_p99_over_hyper_tls", latency, "ratio", "<= 2"),
        Row::of("injector_rss_mb", memory, "MiB", "<= 15"),
    ])
}

/// A pair in `directory`, and its authority.
fn pair(directory: &Path) -> anyhow::Result<String> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    fs::write(directory.join("tls.crt"), made.cert.pem())?;
    fs::write(directory.join("tls.key"), made.signing_key.serialize_pem())?;
    Ok(made.cert.pem())
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn injector() -> anyhow::Result<Webhook> {
    let (directory, address) = (TempDir::new()?, free_address()?);
    let ca = pair(directory.path())?;
    let path = |name: &str| directory.path().join(name);
    fs::write(path("injector.yaml"), SETTINGS)?;
    // Its admin socket says when it is there, as the agent's socket does.
    let admin = path("run/admin.sock");
    let mut command = Command::new(beside("cloakroom-injector")?);
    command.env_clear().arg("serve").arg("--config").arg(path("injector.yaml"));
    command.args(["--namespace", "cloakroom", "--without-pod-count", "--listen", &address.to_string()]);
    command.arg("--certificate-dir").arg(directory.path()).arg("--admin").arg(format!("unix:{}", admin.display()));
    let server = Server::start(command, admin, directory)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.ask(&client::get("/readyz")).is_err() {
        ensure!(Instant::now() < deadline, "the injector does not become ready");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Ok(Webhook { server, address, ca })
}

fn bare(answer: &[u8]) -> anyhow::Result<Webhook> {
    let (directory, address) = (TempDir::new()?, free_address()?);
    let ca = pair(directory.path())?;
    let socket = directory.path().join("bare.sock");
    fs::write(directory.path().join("answer.json"), answer)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.env_clear().arg("bare-tls").arg(address.to_string()).arg(directory.path());
    Ok(Webhook { server: Server::start(command, socket, directory)?, address, ca })
}

/// One connection of HTTP/2 over TLS.
struct Connection {
    sender: http2::SendRequest<Full<Bytes>>,
}

impl Connection {
    async fn open(webhook: &Webhook) -> anyhow::Result<Self> {
        let mut config = trusting(&webhook.ca);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(webhook.address).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME)?, stream).await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        TaskTracker::new().spawn(connection);
        Ok(Self { sender })
    }

    async fn review(&mut self) -> anyhow::Result<Bytes> {
        let request = Request::post(format!("https://{NAME}/inject/asked?timeout=5s"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .body(Full::new(Bytes::from_static(REVIEW.as_bytes())))?;
        let response = self.sender.send_request(request).await?;
        ensure!(response.status() == StatusCode::OK, "{}", response.status());
        Ok(response.into_body().collect().await?.to_bytes())
    }
}

/// Asks with [`OPEN`] reviews under way, each followed by the next.
async fn run(webhook: &Webhook, duration: Duration) -> anyhow::Result<Load> {
    let connection = Connection::open(webhook).await?;
    let began = Instant::now();
    let asking = (0..OPEN).map(|_| {
        let mut connection = Connection { sender: connection.sender.clone() };
        async move {
            let mut latencies = Vec::with_capacity(1 << 16);
            while began.elapsed() < duration {
                let sent = Instant::now();
                connection.review().await?;
                latencies.push(u32::try_from(sent.elapsed().as_nanos()).unwrap_or(u32::MAX));
            }
            anyhow::Ok(latencies)
        }
    });
    let latencies = futures_util::future::try_join_all(asking).await?.concat();
    Ok(Load::of(latencies, began.elapsed()))
}

/// Asks exactly so often.
async fn exactly(webhook: &Webhook, reviews: u64) -> anyhow::Result<()> {
    let connection = Connection::open(webhook).await?;
    let share = reviews.div_ceil(OPEN as u64);
    let asking = (0..OPEN).map(|_| {
        let mut connection = Connection { sender: connection.sender.clone() };
        async move {
            for _ in 0..share {
                ensure!(!connection.review().await?.is_empty());
            }
            Ok(())
        }
    });
    futures_util::future::try_join_all(asking).await.map(drop).context("asking")
}
