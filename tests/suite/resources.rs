//! R1 to R5: floods, caps, memory.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cloakroom_tests::agent::{Agent, Options, eventually};
use cloakroom_tests::wire::Connection;
use nix::sys::signal::Signal;

use crate::api::{APP, call, id_path};

fn metrics(agent: &Agent) -> String {
    let answer = Connection::open(&agent.admin()).request_plain("GET", "/metrics", &[], b"");
    String::from_utf8(answer.body).unwrap()
}

/// Hundredths of a second of processor time that the agent takes in a second.
fn spent_in_a_second(agent: &Agent) -> u64 {
    let spent = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", agent.pid())).unwrap();
        // Behind the name: the state, ten numbers, utime and stime (`proc(5)`).
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum::<u64>()
    };
    let (before, began) = (spent(), std::time::Instant::now());
    eventually(Duration::from_secs(5), "a second", || began.elapsed() >= Duration::from_secs(1));
    spent() - before
}

#[test]
fn r1_an_agent_without_descriptors_does_not_spin_and_goes_on_when_there_are_some() {
    let agent = Agent::start(Options { descriptors: Some(48), ..Options::default() });
    // Fewer than its cap, so that it is the kernel that says no; idle, so that none makes room.
    let mut held = Vec::new();
    for _ in 0..60 {
        let mut stream = UnixStream::connect(agent.socket()).unwrap();
        stream.write_all(b"GET /api/v1/st").unwrap();
        held.push(stream);
    }
    eventually(Duration::from_secs(5), "the last descriptor is taken", || agent.log().contains("cannot accept"));
    assert!(spent_in_a_second(&agent) <= 20, "an agent that cannot accept burns its core");
    drop(held);
    eventually(Duration::from_secs(5), "an answer after relief", || {
        Connection::try_open(&agent.socket())
            .and_then(|mut connection| connection.try_request("GET", "/api/v1/status", &[], b""))
            .is_some_and(|answer| answer.status == 200)
    });
}

#[test]
fn r1_ten_thousand_connections_under_a_low_descriptor_limit_are_capped_and_leave_the_agent_well() {
    let agent = Agent::start(Options { descriptors: Some(128), ..Options::default() });
    let mut held = Vec::new();
    for _ in 0..10_000 {
        match UnixStream::connect(agent.socket()) {
            Ok(mut stream) => {
                // Half a head, so that the connection looks alive. It may be closed already to make room.
                let _sent = stream.write_all(b"GET /api/v1/st");
                if held.len() < 500 {
                    held.push(stream);
                }
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
        }
    }
    drop(held);
    eventually(Duration::from_secs(5), "an answer after relief", || {
        Connection::try_open(&agent.socket())
            .and_then(|mut connection| connection.try_request("GET", "/api/v1/status", &[], b""))
            .is_some_and(|answer| answer.status == 200)
    });
    assert!(spent_in_a_second(&agent) <= 20, "an idle agent burns its core");
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", agent.pid()));
    assert!(descriptors.map_or(0, Iterator::count) < 64);
}

#[test]
fn r2_a_caller_that_misses_too_often_is_slowed_down_and_cached_reads_are_not() {
    let agent = Agent::start(Options::default());
    let mut connection = Connection::open(&agent.socket());
    let body = r#"{"secrets":[{"name":"externalSecrets/a","value":"b"}]}"#;
    assert_eq!(call(&mut connection, "PUT", APP, body).status, 200);
    let cached = id_path("poc:eni--hyperion:my-app:externalSecrets/a:");
    assert_eq!(call(&mut connection, "GET", &cached, "").status, 200);
    let mut refused = 0;
    for index in 0..1_000 {
        let path = id_path(&format!("poc:eni--hyperion:my-app:externalSecrets/n{index}:"));
        let answer = call(&mut connection, "GET", &path, "");
        if answer.status == 429 {
            assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
            refused += 1;
        } else {
            assert_eq!(answer.status, 404);
        }
    }
    assert!(refused > 300, "of 1,000 misses in a row only {refused} were refused");
    assert_eq!(call(&mut connection, "GET", &cached, "").status, 200, "a cached read needs no token");
}

#[test]
fn r2_another_principal_is_served_while_one_floods() {
    if !nix::unistd::getuid().is_root() {
        return;
    }
    let other = 48_124;
    let grants = format!(
        "grants:\n  - {{subject: \"uid:0\", rights: [secrets_read, secrets_write, onboarding_write], scopes: [\"*\"]}}\n  \
         - {{subject: \"uid:{other}\", rights: [secrets_read], scopes: [poc]}}\n"
    );
    let agent = Agent::start(Options { grants, allow_uids: vec![other], ..Options::default() });
    let mut flood = Connection::open(&agent.socket());
    assert_eq!(call(&mut flood, "PUT", APP, "{}").status, 200);
    let mut limited = false;
    for index in 0..600 {
        let path = id_path(&format!("poc:eni--hyperion:my-app:externalSecrets/n{index}:"));
        limited |= call(&mut flood, "GET", &path, "").status == 429;
    }
    assert!(limited, "the flood was not slowed down");
    for directory in [agent.directory().to_path_buf(), agent.directory().join("run")] {
        std::fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    std::fs::set_permissions(agent.socket(), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let script = "import socket,sys\n\
        for i in range(50):\n\
        \ts=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n\
        \ts.sendall(b'GET /api/v1/secrets/poc:eni--hyperion:my-app:externalSecrets%%2Fm%d: HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' % i)\n\
        \tassert b' 404 ' in s.recv(64)\n";
    let mut command = std::process::Command::new("python3");
    command.args(["-c", script]).arg(agent.socket());
    std::os::unix::process::CommandExt::uid(&mut command, other);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn r3_full_size_answers_on_every_connection_stay_within_the_memory_limit() {
    let agent = Agent::start(Options {
        extra: "limits: {callerRate: 10000, callerBurst: 20000}\ncache: {maxBytes: 4MiB}".to_owned(),
        ..Options::default()
    });
    let mut connection = Connection::open(&agent.socket());
    assert_eq!(call(&mut connection, "PUT", APP, "{}").status, 200);
    // Quotes take two bytes each in JSON, and five such values fill a map slot.
    let value = serde_json::json!({ "value": "\"".repeat(64 * 1024) }).to_string();
    for index in 0..20 {
        let path = id_path(&format!("poc:eni--hyperion:my-app:externalSecrets/big{index}:"));
        let answer = call(&mut connection, "PUT", &path, &value);
        assert!([200, 413].contains(&answer.status), "{}", answer.status);
    }
    let query: Vec<String> =
        (0..20).map(|i| format!("secretId=poc:eni--hyperion:my-app:externalSecrets%2Fbig{}:", i % 5)).collect();
    let path = format!("/api/v1/secrets?{}", query.join("&"));
    drop(connection);
    let mut connections: Vec<Connection> = (0..60).map(|_| Connection::open(&agent.socket())).collect();
    for connection in &mut connections {
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    }
    let mut statuses = std::collections::BTreeSet::new();
    for connection in &mut connections {
        statuses.insert(connection.receive().status);
    }
    assert!(statuses.iter().all(|status| [200, 413, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&200), "{statuses:?}");
    let peak = agent.status_kb("VmHWM");
    assert!(peak < 64 * 1024, "the agent grew to {peak} kB");
    let mut connection = Connection::open(&agent.socket());
    assert_eq!(call(&mut connection, "GET", "/api/v1/status", "").status, 200);
}

#[test]
fn r3_deadlines_hold_for_an_agent_that_was_stopped_and_it_answers_when_it_goes_on() {
    let agent = Agent::start(Options { extra: "limits: {headerTimeout: 1s}".to_owned(), ..Options::default() });
    let mut before = Connection::open(&agent.socket());
    assert_eq!(call(&mut before, "GET", "/api/v1/status", "").status, 200);
    let mut half = Connection::open(&agent.socket());
    half.send(b"GET /api/v1/status HTTP/1.1\r\nHost: local");
    agent.signal(Signal::SIGSTOP);
    let mut waiting = Connection::open(&agent.socket());
    waiting.send(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let stopped = std::time::Instant::now();
    eventually(Duration::from_secs(10), "two seconds", || stopped.elapsed() >= Duration::from_secs(2));
    agent.signal(Signal::SIGCONT);
    assert_eq!(waiting.receive().status, 200, "who asked meanwhile is answered");
    assert_eq!(call(&mut before, "GET", "/api/v1/status", "").status, 200, "an old connection goes on");
    assert!(half.is_closed_within(Duration::from_secs(5)), "the time of the half head has passed");
}

#[test]
fn r5_random_ids_add_no_metric_series_and_leave_no_text() {
    let agent = Agent::start(Options {
        extra: "limits: {callerRate: 100000, callerBurst: 200000}".to_owned(),
        ..Options::default()
    });
    let mut connection = Connection::open(&agent.socket());
    assert_eq!(call(&mut connection, "PUT", APP, "{}").status, 200);
    let ask = |connection: &mut Connection, index: usize| {
        let id = match index % 3 {
            0 => format!("poc:eni--hyperion:my-app:externalSecrets/needle{index}:"),
            1 => format!("poc:t{index}-needle:a{index}:clientSecret:"),
            _ => format!("needle {index}"),
        };
        let status = call(connection, "GET", &id_path(&id), "").status;
        assert!([404, 422].contains(&status), "{status}");
    };
    for index in 0..100 {
        ask(&mut connection, index);
    }
    let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    let before = series(&metrics(&agent));
    for index in 100..5_000 {
        ask(&mut connection, index);
    }
    let after = metrics(&agent);
    assert_eq!(series(&after), before);
    assert!(!after.contains("needle"));
    assert!(!agent.log().contains("needle"), "{}", agent.log());
}

#[test]
fn r5_a_flood_of_denials_is_on_record_completely_and_in_the_log_hardly() {
    let agent = Agent::start(Options {
        grants: "grants: [{subject: \"uid:47\", rights: [secrets_read], scopes: [poc]}]\n".to_owned(),
        ..Options::default()
    });
    let mut connection = Connection::open(&agent.socket());
    for index in 0..2_000 {
        let path = id_path(&format!("poc:eni--hyperion:my-app:externalSecrets/n{index}:"));
        assert_eq!(call(&mut connection, "GET", &path, "").status, 403);
    }
    let denials = agent.audit().iter().filter(|record| record["decision"] == "deny").count();
    assert_eq!(denials, 2_000);
    assert!(agent.log().lines().count() < 200, "{} lines", agent.log().lines().count());
}
