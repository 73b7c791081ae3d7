//! N6: the record comes before the effect and before the answer, or there is neither.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::time::Duration;

use cloakroom_tests::agent::{Agent, Options, eventually};
use cloakroom_tests::wire::Connection;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::api::{APP, call, id_path};

const SECRET: &str = "poc:eni--hyperion:my-app:externalSecrets/a:";

const OBFUSCATE: &str = r#"{"scope":"poc/eni--hyperion/my-app","slot":"externalSecrets","paths":[{"pointer":"/b"}],"document":{"b":"old"}}"#;

fn onboard(agent: &Agent) -> Connection {
    let mut connection = Connection::open(&agent.socket());
    let body = r#"{"secrets":[{"name":"externalSecrets/a","value":"old"}]}"#;
    assert_eq!(call(&mut connection, "PUT", APP, body).status, 200);
    connection
}

#[test]
fn n6_every_request_is_on_record_once_or_as_a_pair() {
    let agent = Agent::start(Options {
        grants: cloakroom_tests::agent::grant_everything(cloakroom_tests::agent::own_uid())
            .replace("\"*\"", "poc/eni--hyperion"),
        ..Options::default()
    });
    let mut connection = onboard(&agent);
    let secret = id_path(SECRET);
    for (method, path, body, status) in [
        ("GET", secret.clone(), "", 200),
        ("GET", secret.clone(), "", 200),
        ("GET", id_path("poc:eni--hyperion:my-app:externalSecrets/none:"), "", 404),
        ("GET", id_path("poc:::zones:"), "", 403),
        ("GET", format!("/api/v1/secrets?secretId={}", SECRET.replace('/', "%2F")), "", 200),
        ("PUT", secret.clone(), r#"{"value":"new"}"#, 200),
        ("PUT", id_path("poc:eni--hyperion:my-app:other:"), r#"{"value":"x"}"#, 403),
        ("PUT", id_path("poc:no:app:clientSecret:"), r#"{"value":"x"}"#, 403),
        ("POST", format!("{}/rotate", id_path("poc:eni--hyperion:my-app:clientSecret:")), "", 200),
        ("POST", "/api/v1/resolve".to_owned(), r#"["$<poc:eni--hyperion:my-app:externalSecrets/a:>"]"#, 200),
        ("POST", "/api/v1/resolve".to_owned(), r#"["$<poc:eni--hyperion:my-app:externalSecrets/no:>"]"#, 404),
        ("POST", "/api/v1/resolve".to_owned(), r#"["$<poc:::zones/a:>"]"#, 403),
        ("POST", "/api/v1/resolve".to_owned(), "[]", 200),
        ("POST", "/api/v1/obfuscate".to_owned(), OBFUSCATE, 200),
        ("HEAD", format!("{secret}/events"), "", 200),
        ("HEAD", format!("{}/events", id_path("poc:::zones:")), "", 403),
        ("DELETE", secret.clone(), "", 204),
        ("DELETE", secret, "", 404),
        ("DELETE", APP.to_owned(), "", 204),
    ] {
        let answer = call(&mut connection, method, &path, body);
        assert_eq!(answer.status, status, "{method} {path}");
        let id = answer.header("x-request-id").unwrap();
        let records: Vec<Value> = agent.audit().into_iter().filter(|record| record["request"] == id).collect();
        let phases: Vec<&str> = records.iter().map(|record| record["phase"].as_str().unwrap()).collect();
        assert!(phases == ["served"] || phases == ["attempt", "outcome"], "{method} {path}: {phases:?}");
        let last = records.last().unwrap();
        let expected = match status {
            200 | 204 => "ok",
            404 => "not_found",
            _ => "refused",
        };
        assert_eq!(last["result"], expected, "{method} {path}");
        assert_eq!(last["decision"], if status == 403 { "deny" } else { "allow" });
    }
    let text = serde_json::to_string(&agent.audit()).unwrap();
    assert!(!text.contains("old") && !text.contains("\"new\""), "a value is on record");
}

#[test]
fn the_record_has_these_fields_and_no_others() {
    let agent = Agent::start(Options::default());
    let mut connection = onboard(&agent);
    for _ in 0..2 {
        assert_eq!(call(&mut connection, "GET", &id_path(SECRET), "").status, 200);
    }
    let fields: Vec<String> = agent
        .audit()
        .iter()
        .map(|record| {
            let keys: Vec<&str> = record.as_object().unwrap().keys().map(String::as_str).collect();
            let words = ["phase", "operation", "decision", "reason", "result", "source"];
            let values: Vec<String> = words.iter().map(|word| record[word].to_string()).collect();
            format!("{}\n  {}", keys.join(" "), values.join(" "))
        })
        .collect();
    insta::assert_snapshot!("audit_records", fields.join("\n"));
    let fingerprint = |index: usize| agent.audit()[index]["fingerprint"].clone();
    assert!(fingerprint(3).is_string() && fingerprint(3) == fingerprint(4), "the same value has the same fingerprint");
}

/// A FIFO with a reader that reads only when it is told to.
struct Fifo {
    directory: tempfile::TempDir,
    reader: fs::File,
}

impl Fifo {
    fn new() -> Self {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("audit");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        let reader = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        fcntl(reader.as_fd(), FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        Self { directory, reader }
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("audit")
    }

    /// Fills the pipe up to the last `room` bytes.
    fn fill(&self, room: usize) {
        let mut writer = fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(self.path()).unwrap();
        writer.write_all(&vec![b'\n'; 4096 - room]).unwrap();
    }

    fn empty(&mut self) -> usize {
        let mut bytes = [0; 8192];
        let mut total = 0;
        while let Ok(count @ 1..) = self.reader.read(&mut bytes) {
            total += count;
        }
        total
    }
}

#[test]
fn n6_a_sink_that_blocks_refuses_within_its_deadline_and_recovers() {
    let mut fifo = Fifo::new();
    let agent = Agent::start(Options { audit_file: Some(fifo.path()), ..Options::default() });
    let mut connection = onboard(&agent);
    assert_eq!(call(&mut connection, "GET", &id_path(SECRET), "").status, 200);
    fifo.empty();
    fifo.fill(0);
    let began = std::time::Instant::now();
    for (method, body) in [("GET", ""), ("PUT", r#"{"value":"never"}"#)] {
        let answer = call(&mut connection, method, &id_path(SECRET), body);
        assert_eq!(answer.status, 503, "{method}");
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["code"], "audit_unavailable");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "two requests, two seconds each");
    let mut recovered = String::new();
    eventually(Duration::from_secs(20), "the sink takes records and requests are answered", || {
        fifo.empty();
        let answer = call(&mut connection, "GET", &id_path(SECRET), "");
        recovered = String::from_utf8(answer.body).unwrap();
        answer.status == 200
    });
    assert!(recovered.contains("\"old\""), "what could not be recorded had no effect: {recovered}");
}

#[test]
fn n6_a_write_whose_outcome_cannot_be_recorded_is_504_and_a_read_503() {
    let mut fifo = Fifo::new();
    let agent = Agent::start(Options {
        audit_file: Some(fifo.path()),
        extra: "cache: {ttl: 0s}".to_owned(),
        ..Options::default()
    });
    let mut connection = onboard(&agent);
    let batch = format!("/api/v1/secrets?secretId={}", SECRET.replace('/', "%2F"));
    for (method, path, body, status) in [
        ("PUT", id_path(SECRET), r#"{"value":"written"}"#, 504),
        ("GET", id_path(SECRET), "", 503),
        ("GET", batch, "", 503),
    ] {
        fifo.empty();
        // One record fits, a second one does not.
        fifo.fill(500);
        let answer = call(&mut connection, method, &path, body);
        assert_eq!(answer.status, status, "{method} {path}");
        eventually(Duration::from_secs(20), "the late record to arrive", || {
            fifo.empty();
            call(&mut connection, "GET", &id_path(SECRET), "").status == 200
        });
    }
    fifo.empty();
    let answer = call(&mut connection, "GET", &id_path(SECRET), "");
    assert!(
        String::from_utf8_lossy(&answer.body).contains("written"),
        "504 means that it may have happened, and it did"
    );
}

#[test]
fn n6_a_full_disk_refuses() {
    let agent = Agent::start(Options { audit_file: Some("/dev/full".into()), ..Options::default() });
    let mut connection = Connection::open(&agent.socket());
    assert_eq!(call(&mut connection, "PUT", APP, "{}").status, 503);
    assert_eq!(call(&mut connection, "GET", "/api/v1/status", "").status, 200, "what needs no record is answered");
}

#[test]
fn n6_without_a_sink_there_is_no_start() {
    let directory = tempfile::TempDir::new().unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    for sink in ["/nonexistent/audit.jsonl".into(), directory.path().to_path_buf(), link] {
        let (code, said) = Agent::refused(&Options { audit_file: Some(sink.clone()), ..Options::default() });
        assert!(code.is_some_and(|code| code != 0), "{}", sink.display());
        assert!(said.contains("audit"), "{said}");
    }
}

#[test]
fn the_file_is_appended_to_is_0640_and_is_opened_again_on_sighup() {
    let directory = tempfile::TempDir::new().unwrap();
    let (path, rotated) = (directory.path().join("audit.jsonl"), directory.path().join("audit.1"));
    fs::write(&path, "{\"request\":\"before\"}\n").unwrap();
    let agent = Agent::start(Options { audit_file: Some(path.clone()), ..Options::default() });
    let mut connection = onboard(&agent);
    assert_eq!(agent.audit().len(), 3, "a line of before and a pair");
    fs::rename(&path, &rotated).unwrap();
    agent.signal(Signal::SIGHUP);
    eventually(Duration::from_secs(10), "the new file", || path.exists());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(call(&mut connection, "GET", &id_path(SECRET), "").status, 200);
    eventually(Duration::from_secs(10), "records in the new file", || !agent.audit().is_empty());
    assert_eq!(fs::read_to_string(&rotated).unwrap().lines().count(), 3, "nothing more goes to the old file");
}
