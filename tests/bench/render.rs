//! What files cost: rendering beside a program that writes them by itself, and beside a bare watch that does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cloakroom_tests::cluster::{Account, Cluster};
use serde_json::{Value, json};

use crate::client;
use crate::servers::{APP, Server};
use crate::table::Row;

/// The files of the row about many.
const MANY: usize = 1000;

/// How often it is looked whether a file has changed.
const POLL: Duration = Duration::from_micros(50);

const LOST: Duration = Duration::from_secs(30);

/// Memory, as in a pod.
fn memory() -> anyhow::Result<tempfile::TempDir> {
    let place = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
    Ok(tempfile::TempDir::new_in(place)?)
}

fn set(place: &Path, files: &[Value]) -> String {
    format!("renderSets: {}", json!([{"directory": place.join("files"), "files": files}]))
}

/// A template with one secret.
pub(crate) fn template(name: &str, id: &str) -> Value {
    json!({"name": name, "destination": name, "template": format!("value: {{{{ secret('{id}') | json }}}}\n")})
}

/// What [`template`] makes.
fn content(value: &str) -> String {
    format!("value: \"{value}\"\n")
}

/// As a careful program writes a file.
pub(crate) fn write_atomically(directory: &Path, name: &str, content: &str) -> std::io::Result<()> {
    let beside = directory.join(format!(".{name}"));
    fs::write(&beside, content)?;
    fs::rename(beside, directory.join(name))
}

/// Runs what needs no cluster.
pub(crate) fn measure(rounds: usize) -> anyhow::Result<Vec<Row>> {
    Ok(vec![many(rounds)?, idle(rounds)?])
}

/// An agent with so many templates, each with a secret of its own.
fn with_files(count: usize, place: &Path) -> anyhow::Result<Server> {
    let id = |number| format!("poc:eni--hyperion:my-app:externalSecrets/k{number}:");
    let files: Vec<Value> = (0..count).map(|number| template(&format!("f{number}"), &id(number))).collect();
    let extra = format!("\n{}", set(place, &files));
    Server::agent_in(tempfile::TempDir::new()?, Path::new("/dev/null"), &extra)
}

/// All change by one write: from its answer to the swap, over writing as many files.
fn many(rounds: usize) -> anyhow::Result<Row> {
    let place = memory()?;
    let agent = with_files(MANY, place.path())?;
    let bare = place.path().join("bare");
    fs::create_dir(&bare)?;
    let mut ratios = Vec::new();
    for round in 0..=rounds {
        let value = |number: usize| format!("a-secret-of-round-{round}-number-{number}");
        let entries: serde_json::Map<String, Value> =
            (0..MANY).map(|number| (format!("k{number}"), value(number).into())).collect();
        if round == 0 {
            agent.ask(&client::put(APP, r#"{"secrets":[{"name":"externalSecrets/k0","value":"x"}]}"#))?;
        }
        let body = json!({"value": Value::Object(entries).to_string()}).to_string();
        agent.ask(&client::put("/api/v1/secrets/poc:eni--hyperion:my-app:externalSecrets:", &body))?;
        let began = Instant::now();
        for number in [0, MANY - 1] {
            await_content(&place.path().join(format!("files/f{number}")), &content(&value(number)))?;
        }
        let ours = began.elapsed();
        let began = Instant::now();
        for number in 0..MANY {
            write_atomically(&bare, &format!("f{number}"), &content(&value(number)))?;
        }
        let theirs = began.elapsed();
        println!("{MANY} files {round}: written {theirs:.1?}, rendered {ours:.1?}");
        if round > 0 {
            ratios.push(ours.as_secs_f64() / theirs.as_secs_f64());
        }
        // What was replaced is not taken away while the next round is measured.
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(Row::of("render_1000_over_write_1000", ratios, "ratio", "<= 3"))
}

fn await_content(path: &Path, wanted: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    while !fs::read_to_string(path).is_ok_and(|text| text == wanted) {
        ensure!(began.elapsed() < LOST, "{} does not change", path.display());
        std::thread::park_timeout(POLL);
    }
    Ok(())
}

/// A hundred files, and nothing happens.
fn idle(rounds: usize) -> anyhow::Result<Row> {
    const PART: Duration = Duration::from_secs(12);
    let place = memory()?;
    let agent = with_files(100, place.path())?;
    let secrets: Vec<Value> =
        (0..100).map(|number| json!({"name": format!("externalSecrets/k{number}"), "value": "a-secret"})).collect();
    agent.ask(&client::put(APP, &json!({"secrets": secrets}).to_string()))?;
    await_content(&place.path().join("files/f99"), &content("a-secret"))?;
    std::thread::sleep(Duration::from_secs(3));
    let mut parts = Vec::new();
    for _ in 0..rounds.min(3) {
        let before = agent.cpu()?;
        std::thread::sleep(PART);
        parts.push(agent.cpu()?.saturating_sub(before).as_secs_f64() / PART.as_secs_f64() * 100.0);
    }
    Ok(Row::of("render_idle_cpu_percent", parts, "%", "<= 0.1"))
}

/// An agent on a cluster whose files, so many, all have one secret in them.
pub(crate) struct Files {
    _agent: Server,
    place: tempfile::TempDir,
}

impl Files {
    /// Started, and the files are there.
    pub(crate) fn start(cluster: &Cluster, account: &Account, id: &str, count: usize) -> anyhow::Result<Self> {
        let place = memory()?;
        let files: Vec<Value> = (0..count).map(|number| template(&format!("f{number}"), id)).collect();
        let agent = Server::kubernetes_agent(None, cluster, account, &set(place.path(), &files))?;
        let files = Self { _agent: agent, place };
        let began = Instant::now();
        while !files.last(count).exists() {
            ensure!(began.elapsed() < LOST, "the files are not rendered");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(files)
    }

    fn last(&self, count: usize) -> PathBuf {
        self.place.path().join(format!("files/f{}", count - 1))
    }

    /// Waits for values that it is told, and says when the last of the files had each.
    pub(crate) fn watch(&self, count: usize) -> (mpsc::Sender<String>, mpsc::Receiver<Instant>) {
        let (wanted, wants) = mpsc::channel::<String>();
        let (arrived, arrivals) = mpsc::channel();
        let path = self.last(count);
        std::thread::spawn(move || -> anyhow::Result<()> {
            for value in wants {
                await_content(&path, &content(&value))?;
                arrived.send(Instant::now()).context("nobody waits")?;
            }
            Ok(())
        });
        (wanted, arrivals)
    }
}

/// What a bare watch does with a value: it writes the files itself.
pub(crate) struct Bare(tempfile::TempDir);

impl Bare {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(memory()?))
    }

    pub(crate) fn write(&self, count: usize, value: &str) -> std::io::Result<Instant> {
        for number in 0..count {
            write_atomically(self.0.path(), &format!("f{number}"), &content(value))?;
        }
        Ok(Instant::now())
    }
}
