//! X2, X4: panics, signals, hardening.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use cloakroom_tests::agent::{Agent, Options, binary, eventually, grant_everything};
use cloakroom_tests::wire::Connection;
use nix::sys::signal::Signal;

use crate::api::{APP, call};

/// A uid that no other part of the machine uses.
const OTHER_UID: u32 = 48_123;

fn as_other_uid() -> Option<Options> {
    nix::unistd::getuid().is_root().then(|| Options {
        uid: Some(OTHER_UID),
        grants: grant_everything(OTHER_UID),
        ..Options::default()
    })
}

#[test]
fn x4_a_sibling_of_the_same_uid_reads_nothing_of_the_agent() {
    // As root every file mode is passed, so the promise can only be seen as another uid.
    let Some(options) = as_other_uid() else { return };
    let agent = Agent::start(options);
    for entry in ["environ", "mem", "maps", "fd", "root", "cwd", "exe", "auxv"] {
        let path = format!("/proc/{}/{entry}", agent.pid());
        let read = if ["fd", "root"].contains(&entry) { "ls" } else { "head" };
        let mut command = Command::new(read);
        command.arg(if entry == "root" { format!("{path}/") } else { path.clone() });
        let output = command.uid(OTHER_UID).gid(OTHER_UID).output().unwrap();
        assert!(!output.status.success(), "{path} is open to a process of the same uid");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("ermission denied"), "{path}: {said}");
    }
    // The same sibling does read a process that is not hardened, so the test can fail.
    let mut plain = Command::new("sleep").arg("60").uid(OTHER_UID).gid(OTHER_UID).spawn().unwrap();
    let open = Command::new("head")
        .arg(format!("/proc/{}/environ", plain.id()))
        .uid(OTHER_UID)
        .gid(OTHER_UID)
        .output()
        .unwrap();
    plain.kill().unwrap();
    plain.wait().unwrap();
    assert!(open.status.success());
}

#[test]
fn x4_an_abort_leaves_no_core() {
    let mut agent = Agent::start(Options::default());
    let limits = fs::read_to_string(format!("/proc/{}/limits", agent.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "soft and hard limit");
    agent.signal(Signal::SIGABRT);
    let status = agent.wait(Duration::from_secs(10)).unwrap();
    assert!(!std::os::unix::process::ExitStatusExt::core_dumped(&status));
}

#[test]
fn x2_a_signal_drains_and_a_stopped_agent_leaves_no_socket() {
    let mut agent = Agent::start(Options::default());
    let mut idle = Connection::open(&agent.socket());
    assert_eq!(call(&mut idle, "GET", "/api/v1/status", "").status, 200);
    agent.signal(Signal::SIGTERM);
    let status = agent.wait(Duration::from_secs(25)).unwrap();
    assert_eq!(status.code(), Some(0), "{}", agent.log());
    assert!(!agent.socket().exists());
    assert!(!agent.admin().exists());
}

#[test]
fn x2_a_request_in_flight_ends_while_new_ones_are_refused() {
    let mut agent = Agent::start(Options::default());
    let mut slow = Connection::open(&agent.socket());
    let body = br#"{"secrets":[{"name":"externalSecrets/a","value":"b"}]}"#;
    slow.send(
        format!(
            "PUT {APP} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .as_bytes(),
    );
    slow.send(&body[..10]);
    // The agent has the head: it answers others, and only then is told to stop.
    assert_eq!(call(&mut Connection::open(&agent.socket()), "GET", "/api/v1/status", "").status, 200);
    agent.signal(Signal::SIGTERM);
    eventually(Duration::from_secs(10), "the socket to close", || {
        std::os::unix::net::UnixStream::connect(agent.socket()).is_err()
    });
    slow.send(&body[10..]);
    let answer = slow.receive();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(agent.wait(Duration::from_secs(25)).unwrap().code(), Some(0));
    let outcomes = agent.audit().iter().filter(|record| record["phase"] == "outcome").count();
    assert_eq!(outcomes, 1, "the outcome is on record");
}

#[test]
fn x2_a_second_signal_ends_at_once() {
    let mut agent = Agent::start(Options::default());
    let mut slow = Connection::open(&agent.socket());
    slow.send(format!("PUT {APP} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{").as_bytes());
    assert_eq!(call(&mut Connection::open(&agent.socket()), "GET", "/api/v1/status", "").status, 200);
    agent.signal(Signal::SIGTERM);
    eventually(Duration::from_secs(10), "the socket to close", || {
        std::os::unix::net::UnixStream::connect(agent.socket()).is_err()
    });
    agent.signal(Signal::SIGTERM);
    let status = agent.wait(Duration::from_secs(5)).unwrap();
    assert_ne!(status.code(), Some(0));
}

#[test]
fn the_dev_agent_prints_three_commands_that_work_as_they_are() {
    let home = tempfile::TempDir::new().unwrap();
    let mut child = Command::new(binary())
        .args(["agent", "--dev"])
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", std::env::var_os("PATH").unwrap())
        .stdin(std::process::Stdio::null())
        .stdout(fs::File::create(home.path().join("stdout")).unwrap())
        .stderr(fs::File::create(home.path().join("stderr")).unwrap())
        .spawn()
        .unwrap();
    let printed = || fs::read_to_string(home.path().join("stdout")).unwrap();
    let commands = || {
        let text = printed();
        let lines: Vec<String> =
            text.lines().map(str::trim).filter(|line| line.contains("poc")).map(str::to_owned).collect();
        lines
    };
    eventually(Duration::from_secs(20), "three commands", || commands().len() == 3);
    let mut outputs = Vec::new();
    for command in commands() {
        let output = Command::new("sh")
            .args(["-c", &command])
            .env_clear()
            .env("HOME", home.path())
            .env("PATH", std::env::var_os("PATH").unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        outputs.push(String::from_utf8(output.stdout).unwrap());
    }
    assert!(outputs[1].contains("\"value\":\"s3cr3t\""), "{outputs:?}");
    assert_eq!(outputs[2], "s3cr3t");
    child.kill().unwrap();
    child.wait().unwrap();
}
