//! S1, S2, S3, S5, S9: HTTP as no client would send it.

use std::time::{Duration, Instant};

use cloakroom_tests::agent::{Agent, Options, eventually};
use cloakroom_tests::wire::Connection;

use crate::api::{APP, call, id_path};

const STATUS: &str = "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n";

fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer);
    text.match_indices("HTTP/1.").filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse().ok()).collect()
}

#[test]
fn s1_slow_heads_are_closed_and_a_normal_client_is_answered_meanwhile() {
    let agent = Agent::start(Options::default());
    let mut slow: Vec<Connection> = (0..64).map(|_| Connection::open(&agent.socket())).collect();
    let head = STATUS.as_bytes();
    let began = Instant::now();
    let mut closed = vec![false; slow.len()];
    for second in 0..14 {
        for (connection, closed) in slow.iter_mut().zip(&mut closed) {
            // One byte a second; whom the agent has closed cannot send.
            *closed = *closed || connection.try_send(&head[second..=second]).is_err();
        }
        let asked = Instant::now();
        let answer = call(&mut Connection::open(&agent.socket()), "GET", "/api/v1/status", "");
        assert_eq!(answer.status, 200);
        assert!(asked.elapsed() < Duration::from_secs(1), "a normal client waited {:?}", asked.elapsed());
        let next = Duration::from_secs(second as u64 + 1);
        eventually(Duration::from_secs(5), "the next second", || began.elapsed() >= next);
    }
    let left = closed.iter().filter(|closed| !**closed).count();
    assert_eq!(left, 0, "{left} of 64 slow clients are still connected after {:?}", began.elapsed());
}

#[test]
fn s2_bodies_beyond_the_limit_are_refused_and_store_nothing() {
    let agent = Agent::start(Options { extra: "limits: {bodyTimeout: 2s}".to_owned(), ..Options::default() });
    assert_eq!(call(&mut Connection::open(&agent.socket()), "PUT", APP, "{}").status, 200);
    let path = id_path("poc:eni--hyperion:my-app:externalSecrets/big:");
    let before = agent.status_kb("VmRSS");
    let body = format!("{{\"value\":\"{}\"}}", "x".repeat(1024 * 1024 - 11));
    assert_eq!(body.len(), 1024 * 1024 + 1);
    let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\n");
    let announced = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for text in [announced, chunked] {
        let mut connection = Connection::open(&agent.socket());
        let _cut_off = connection.try_send(text.as_bytes());
        let answer = connection.receive();
        assert_eq!(answer.status, 413);
        assert_eq!(answer.header("connection"), Some("close"), "the rest of the body is not read as a request");
        assert!(connection.is_closed_within(Duration::from_secs(5)));
    }
    let mut slow = Connection::open(&agent.socket());
    slow.send(format!("{head}Content-Length: 1000\r\n\r\n{{").as_bytes());
    let began = Instant::now();
    let answer = slow.receive();
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    assert!(began.elapsed() < Duration::from_secs(10), "the body's time is two seconds");
    let answer = call(&mut Connection::open(&agent.socket()), "GET", &path, "");
    assert_eq!(answer.status, 404, "nothing was stored");
    let grown = agent.status_kb("VmRSS").saturating_sub(before);
    assert!(grown < 4 * 1024, "resident memory grew by {grown} kB");
}

#[test]
fn s3_what_can_be_read_in_two_ways_is_refused_or_read_in_one_and_closed() {
    let agent = Agent::start(Options::default());
    let many_fields: String = (0..10_000).map(|number| format!("X-{number}: a\r\n")).collect();
    let some_fields: String = (0..80).map(|number| format!("X-{number}: a\r\n")).collect();
    let long_line = format!("GET /api/v1/status?{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(65 * 1024));
    let body = |fields: &str, body: &str| format!("{STATUS}{fields}\r\n{body}");
    let cases: Vec<(&str, String, &[u16])> = vec![
        ("CL and TE", body("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), &[400]),
        ("TE and CL", body("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), &[400]),
        ("two CL that differ", body("Content-Length: 5\r\nContent-Length: 6\r\n", "abcdef"), &[400]),
        ("two CL that agree", body("Content-Length: 5\r\nContent-Length: 5\r\n", "abcde"), &[400]),
        ("CL: +5", body("Content-Length: +5\r\n", "abcde"), &[400]),
        ("CL: 5, 5", body("Content-Length: 5, 5\r\n", "abcde"), &[400]),
        ("CL: -1", body("Content-Length: -1\r\n", ""), &[400]),
        ("CL: 0x5", body("Content-Length: 0x5\r\n", "abcde"), &[400]),
        ("CL without a number", body("Content-Length:\r\n", ""), &[400]),
        ("TE: xchunked", body("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), &[400]),
        ("TE: gzip, chunked", body("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), &[400]),
        (
            "TE: chunked twice",
            body("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            &[400],
        ),
        ("TE: chunked, chunked", body("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), &[400]),
        ("TE: identity", body("Transfer-Encoding: identity\r\n", ""), &[400]),
        ("obs-fold", body("X: a\r\n b\r\n", ""), &[400]),
        ("bare LF", format!("{}\n", STATUS.replace("\r\n", "\n")), &[400]),
        ("one bare LF", format!("{STATUS}X: a\nY: b\r\n\r\n"), &[400]),
        ("bare CR", body("X: a\rb\r\n", ""), &[400]),
        ("NUL in a field", body("X: a\0b\r\n", ""), &[400]),
        ("NUL in the target", "GET /api/v1/\0status HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), &[400]),
        ("space before the colon", body("X : a\r\n", ""), &[400]),
        ("no colon", body("nothing\r\n", ""), &[400]),
        ("no Host", "GET /api/v1/status HTTP/1.1\r\n\r\n".to_owned(), &[400]),
        ("two Host", body("Host: b\r\n", ""), &[400]),
        ("10,000 fields", body(&many_fields, ""), &[400, 431]),
        ("80 fields", body(&some_fields, ""), &[431]),
        ("a line of 65 KiB", long_line, &[400, 414, 431]),
        ("a field of 20 KiB", body(&format!("X: {}\r\n", "x".repeat(20 * 1024)), ""), &[431]),
        ("HTTP/0.9", "GET /api/v1/status\r\n\r\n".to_owned(), &[400]),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &[400]),
        ("HTTP/1.2", "GET /api/v1/status HTTP/1.2\r\nHost: a\r\n\r\n".to_owned(), &[400]),
        ("two empty lines first", format!("\r\n\r\n{STATUS}\r\n"), &[400]),
        ("two spaces", STATUS.replace(" /api", "  /api") + "\r\n", &[400]),
        ("a tab for a space", STATUS.replace(" /api", "\t/api") + "\r\n", &[400]),
    ];
    for (what, text, expected) in cases {
        let mut connection = Connection::open(&agent.socket());
        // A whole request behind it must never be read as one.
        let _cut_off = connection.try_send(format!("{text}{STATUS}\r\n").as_bytes());
        let answer = connection.rest();
        let seen = statuses(&answer);
        assert_eq!(seen.len(), 1, "{what}: {}", String::from_utf8_lossy(&answer));
        assert!(expected.contains(&seen[0]), "{what}: {seen:?}");
    }
    assert_eq!(call(&mut Connection::open(&agent.socket()), "GET", "/api/v1/status", "").status, 200);
}

#[test]
fn s3_a_chunked_body_is_the_last_thing_on_its_connection() {
    let agent = Agent::start(Options::default());
    let head = format!("PUT {APP} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (what, body, expected) in [
        ("a plain one", "2\r\n{}\r\n0\r\n\r\n", vec![200]),
        ("an extension", "2;a=b\r\n{}\r\n0\r\n\r\n", vec![200]),
        ("a bare LF", "2\n{}\n0\n\n", vec![400]),
        ("0x", "0x2\r\n{}\r\n0\r\n\r\n", vec![400]),
        ("a huge size", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n", vec![400, 413]),
        ("a negative size", "-2\r\n{}\r\n0\r\n\r\n", vec![400]),
        ("more than announced", "1\r\n{}\r\n0\r\n\r\n", vec![400]),
        ("trailers", "2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n", vec![200, 400]),
    ] {
        let mut connection = Connection::open(&agent.socket());
        connection.send(format!("{head}{body}{STATUS}\r\n").as_bytes());
        let answer = connection.rest();
        let seen = statuses(&answer);
        assert_eq!(seen.len(), 1, "{what}: {}", String::from_utf8_lossy(&answer));
        assert!(expected.contains(&seen[0]), "{what}: {seen:?}");
    }
}

#[test]
fn s5_a_request_that_is_none_of_ours_is_refused_with_a_problem() {
    let agent = Agent::start(Options::default());
    for (text, expected) in [
        ("GET http://localhost/api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("GET /api/v1/status HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("TRACE /api/v1/status HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ] {
        let mut connection = Connection::open(&agent.socket());
        connection.send(text.as_bytes());
        let answer = connection.receive();
        assert_eq!(answer.status, expected, "{text}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{text}");
        assert!(answer.header("x-request-id").is_some());
    }
}

#[test]
fn s9_the_marks_of_a_proxy_or_a_browser_are_refused() {
    let agent = Agent::start(Options::default());
    for field in ["Forwarded", "X-Forwarded-For", "x-forwarded-anything", "Via", "Origin"] {
        let mut connection = Connection::open(&agent.socket());
        let answer = connection.request("GET", "/api/v1/status", &[(field, "x")], b"");
        assert_eq!(answer.status, 400, "{field}");
        assert!(connection.is_closed_within(Duration::from_secs(5)), "{field}");
    }
}

#[test]
fn s9_the_agent_listens_on_its_two_sockets_and_nowhere_else() {
    let agent = Agent::start(Options::default());
    // A connection may wait before the agent has made its admin socket; an answer comes after it.
    assert_eq!(Connection::open(&agent.socket()).request("GET", "/api/v1/status", &[], b"").status, 200);
    let inodes: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", agent.pid()))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    let of_agent = |line: &str| line.split_whitespace().any(|field| inodes.iter().any(|inode| inode == field));
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = std::fs::read_to_string(format!("/proc/{}/net/{table}", agent.pid())).unwrap_or_default();
        assert!(!text.lines().any(of_agent), "{table}: {text}");
    }
    let unix = std::fs::read_to_string(format!("/proc/{}/net/unix", agent.pid())).unwrap();
    let mut named = 0;
    for line in unix.lines().filter(|line| of_agent(line)) {
        let Some(path) = line.split_whitespace().nth(7) else { continue };
        assert!(!path.starts_with('@'), "an abstract socket: {path}");
        named += usize::from(path.ends_with("agent.sock") || path.ends_with("admin.sock"));
    }
    assert!(named >= 2, "the sockets are not seen, so the test sees nothing: {unix}");
}
