//! `GET /secrets/{id}/events`: who may follow a secret hears of every change, and nobody waits for a follower.

use std::fs;
use std::time::Duration;

use cloakroom_tests::agent::{Agent, Options, eventually, grant_everything, own_uid};
use cloakroom_tests::events::EventStream;
use cloakroom_tests::wire::Connection;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::api::{APP, call, id_path};

const SECRET: &str = "poc:eni--hyperion:my-app:externalSecrets/foo/password:";

fn started(extra: &str) -> (Agent, Connection) {
    let limits = format!("limits: {{callerRate: 10000, callerBurst: 20000{extra}}}");
    let agent = Agent::start(Options { extra: limits, ..Options::default() });
    let mut connection = Connection::open(&agent.socket());
    let body = json!({"secrets": [{"name": "externalSecrets/foo/password", "value": "s3cr3t"}]}).to_string();
    assert_eq!(call(&mut connection, "PUT", APP, &body).status, 200);
    (agent, connection)
}

fn put(connection: &mut Connection, id: &str, value: &str) -> String {
    let answer = call(connection, "PUT", &id_path(id), &json!({ "value": value }).to_string());
    assert_eq!(answer.status, 200);
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    answer["id"].as_str().unwrap().to_owned()
}

fn current(connection: &mut Connection, id: &str) -> String {
    let answer: Value = serde_json::from_slice(&call(connection, "GET", &id_path(id), "").body).unwrap();
    answer["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_stream_begins_with_the_current_id_and_tells_each_change_once() {
    let (agent, mut connection) = started("");
    let mut stream = EventStream::open(&agent.socket(), &id_path(&format!("$<{SECRET}>")));
    assert_eq!(stream.status, 200);
    let header = |name: &str| stream.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(header("content-type"), Some("text/event-stream"));
    assert_eq!(header("cache-control"), Some("no-store"));
    assert!(header("x-request-id").is_some());
    assert_eq!(stream.event().id, current(&mut connection, SECRET));
    // Each write of this agent is an event of its own, however fast they come.
    let ids: Vec<String> = (0..50).map(|number| put(&mut connection, SECRET, &format!("v{number}"))).collect();
    assert_eq!((0..50).map(|_| stream.event().id).collect::<Vec<_>>(), ids);
    // The same value is no change, and neither is another secret.
    put(&mut connection, SECRET, "v49");
    put(&mut connection, &SECRET.replace("foo", "bar"), "x");
    assert_eq!(call(&mut connection, "PUT", APP, "{}").status, 200);
    let again = put(&mut connection, SECRET, "v50");
    assert_eq!(stream.event().id, again);
    // Writes that do not name the secret itself.
    let body = json!({"strategy": "merge", "secrets": [{"name": "externalSecrets/foo/password", "value": "v51"}]});
    assert_eq!(call(&mut connection, "PUT", APP, &body.to_string()).status, 200);
    assert_eq!(stream.event().id, current(&mut connection, SECRET));
    put(&mut connection, "poc:eni--hyperion:my-app:externalSecrets:", r#"{"foo/password":"v52"}"#);
    assert_eq!(stream.event().id, current(&mut connection, SECRET));
    let body = json!({
        "scope": "poc/eni--hyperion/my-app", "slot": "externalSecrets", "document": "v53",
        "paths": [{"pointer": "", "key": "foo/password"}],
    });
    assert_eq!(call(&mut connection, "POST", "/api/v1/obfuscate", &body.to_string()).status, 200);
    assert_eq!(stream.event().id, current(&mut connection, SECRET));
    assert!(stream.is_silent_for(Duration::from_millis(300)));
}

#[test]
fn a_deletion_is_told_and_so_is_a_return() {
    let (agent, mut connection) = started("");
    let mut stream = EventStream::open(&agent.socket(), &id_path(SECRET));
    stream.event();
    assert_eq!(call(&mut connection, "DELETE", &id_path(SECRET), "").status, 204);
    let gone = stream.event();
    assert_eq!((gone.kind.as_str(), gone.id.as_str()), ("deleted", SECRET));
    let back = put(&mut connection, SECRET, "again");
    assert_eq!(stream.event().id, back);
    assert_eq!(call(&mut connection, "DELETE", APP, "").status, 204);
    assert_eq!(stream.event().kind, "deleted");
}

#[test]
fn a_rotation_is_told_to_those_who_follow_either_slot() {
    let (agent, mut connection) = started("");
    let ids = ["clientSecret", "rotatedClientSecret"].map(|slot| format!("poc:eni--hyperion:my-app:{slot}:"));
    let mut streams = ids.each_ref().map(|id| EventStream::open(&agent.socket(), &id_path(id)));
    for stream in &mut streams {
        drop(stream.event());
    }
    let path = format!("{}/rotate", id_path(&ids[0]));
    let answer = call(&mut connection, "POST", &path, r#"{"keepPrevious":"rotatedClientSecret"}"#);
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(streams[0].event().id, answer["id"].as_str().unwrap());
    assert_eq!(streams[1].event().id, answer["previousId"].as_str().unwrap());
}

#[test]
fn who_may_not_read_follows_nothing_and_a_stream_ends_when_the_right_is_taken_away() {
    let (agent, mut connection) = started("");
    let events = |id: &str| format!("{}/events", id_path(id));
    for (path, status) in [
        (events("poc:eni--hyperion:my-app:externalSecrets/none:"), 404),
        (events("poc:eni--hyperion:my-app:clientSecret/x:"), 422),
        (events("not-an-id"), 422),
        (format!("{}?x=1", events(SECRET)), 400),
    ] {
        assert_eq!(call(&mut connection, "GET", &path, "").status, status, "{path}");
    }
    let json = [("accept", "application/json")];
    assert_eq!(connection.request("GET", &events(SECRET), &json, b"").status, 406);
    let head = call(&mut connection, "HEAD", &events(SECRET), "");
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));

    let mut stream = EventStream::open(&agent.socket(), &id_path(SECRET));
    stream.event();
    let grants = grant_everything(own_uid()).replace("\"*\"", "poc/other");
    fs::write(agent.grants(), grants).unwrap();
    agent.signal(Signal::SIGHUP);
    assert_eq!(stream.next_event(), None);
    assert!(stream.has_ended_whole());
    let request = stream.headers.iter().find(|(name, _)| name == "x-request-id").unwrap().1.clone();
    let records: Vec<Value> = agent.audit().into_iter().filter(|record| record["request"] == request).collect();
    let told = |record: &Value| {
        ["phase", "operation", "decision", "result"].map(|field| record[field].as_str().unwrap_or("-").to_owned())
    };
    let told: Vec<String> = records.iter().map(|record| told(record).join(" ")).collect();
    // The head that was asked for before has left it in memory.
    assert_eq!(told, ["served watch allow ok", "served watch deny refused"]);
    assert_eq!(call(&mut connection, "GET", &events(SECRET), "").status, 403);
}

#[test]
fn n8_streams_at_one_time_are_bounded_and_one_that_is_left_makes_room() {
    let (agent, mut connection) = started("");
    let open = || EventStream::open(&agent.socket(), &id_path(SECRET));
    let mut streams: Vec<EventStream> = (0..16).map(|_| open()).collect();
    assert!(streams.iter_mut().all(|stream| stream.event().id.starts_with(SECRET)));
    let path = format!("{}/events", id_path(SECRET));
    let refused = call(&mut connection, "GET", &path, "");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    streams.truncate(8);
    // Nothing is written to them, so that only a look tells that they are gone.
    let mut more: Vec<EventStream> = Vec::new();
    eventually(Duration::from_secs(5), "the places are free again", || {
        let stream = open();
        if stream.status == 200 {
            more.push(stream);
        }
        more.len() == 8
    });
    let id = put(&mut connection, SECRET, "new");
    for stream in &mut streams {
        assert_eq!(stream.event().id, id);
    }
    for mut stream in more {
        stream.event();
        assert_eq!(stream.event().id, id);
    }
}

#[test]
fn a_reader_that_takes_nothing_holds_nobody_up_and_is_cut_off() {
    let (agent, mut connection) = started(", bodyTimeout: 1s");
    let long = format!("poc:eni--hyperion:my-app:externalSecrets/{}:", "x".repeat(200));
    put(&mut connection, &long, "0");
    let lazy = EventStream::open(&agent.socket(), &id_path(&long));
    let mut eager = EventStream::open(&agent.socket(), &id_path(&long));
    eager.event();
    // More than what a socket and a server hold.
    let mut last = String::new();
    for number in 1..=1000 {
        last = put(&mut connection, &long, &number.to_string());
        assert_eq!(eager.event().id, last);
    }
    let places = || {
        let metrics = Connection::open(&agent.admin()).request_plain("GET", "/metrics", &[], b"").body;
        let metrics = String::from_utf8(metrics).unwrap();
        let of = |state: &str| {
            let name = format!("cloakroom_connections{{state=\"{state}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse::<u32>().unwrap()
        };
        of("stream") + of("answer")
    };
    eventually(Duration::from_secs(10), "the lazy reader is cut off", || places() == 1);
    let mut lazy = lazy;
    while lazy.next_event().is_some() {}
    assert!(!lazy.has_ended_whole(), "it was behind");
    let id = put(&mut connection, &long, "last");
    assert!(id != last && eager.event().id == id);
}

#[test]
fn x2_streams_end_with_the_drain() {
    let (mut agent, _connection) = started("");
    let mut streams: Vec<EventStream> = (0..4).map(|_| EventStream::open(&agent.socket(), &id_path(SECRET))).collect();
    for stream in &mut streams {
        drop(stream.event());
    }
    agent.signal(Signal::SIGTERM);
    for stream in &mut streams {
        assert_eq!(stream.next_event(), None);
        assert!(stream.has_ended_whole());
    }
    let status = agent.wait(Duration::from_secs(10)).expect("the drain does not wait for streams");
    assert!(status.success(), "{status}");
}
