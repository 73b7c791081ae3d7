//! X1: kill -9 at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloakroom_tests::agent::{Agent, Options};
use cloakroom_tests::wire::Connection;
use serde_json::{Value, json};

use crate::api::{APP, call, id_path};

/// What two writers have been told so far, and what they last asked for.
#[derive(Clone, Default)]
struct Seen {
    acknowledged: u64,
    asked: u64,
}

#[test]
fn x1_two_hundred_kills_under_load_never_show_a_wrong_or_a_lost_value() {
    let mut agent = Agent::start(Options {
        extra: "limits: {callerRate: 100000, callerBurst: 200000}".to_owned(),
        ..Options::default()
    });
    assert_eq!(call(&mut Connection::open(&agent.socket()), "PUT", APP, "{}").status, 200);
    let mut writers = [Seen::default(), Seen::default()];
    for round in 0..200_u64 {
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = writers
            .iter()
            .cloned()
            .enumerate()
            .map(|(writer, seen)| {
                let (stop, socket) = (Arc::clone(&stop), agent.socket());
                std::thread::spawn(move || write_until(&stop, &socket, writer, seen))
            })
            .collect();
        // The moment of the kill moves through the writers' work from round to round.
        std::thread::park_timeout(Duration::from_micros(round * 137 % 20_000));
        agent.kill_and_restart();
        stop.store(true, Ordering::Relaxed);
        for (writer, thread) in threads.into_iter().enumerate() {
            let seen = thread.join().unwrap();
            let answer = call(&mut Connection::open(&agent.socket()), "GET", &path(writer), "");
            if seen.asked == 0 {
                writers[writer] = seen;
                continue;
            }
            let stored = if answer.status == 404 {
                0
            } else {
                let body: Value = serde_json::from_slice(&answer.body).unwrap();
                parse(body["value"].as_str().unwrap(), writer)
            };
            assert!(
                (seen.acknowledged..=seen.asked).contains(&stored),
                "round {round}: {stored} is stored, {} was acknowledged, {} was asked for",
                seen.acknowledged,
                seen.asked
            );
            writers[writer] = Seen { acknowledged: stored, asked: seen.asked };
        }
    }
    assert!(writers.iter().all(|seen| seen.acknowledged > 0), "no write came through: nothing was tested");
}

fn path(writer: usize) -> String {
    id_path(&format!("poc:eni--hyperion:my-app:externalSecrets/writer{writer}:"))
}

/// A value that shows when it is mixed: the number over and over, longer than a page.
fn value(writer: usize, number: u64) -> String {
    format!("{writer}/{number:010};").repeat(500)
}

fn parse(text: &str, writer: usize) -> u64 {
    let number: u64 = text.split(['/', ';']).nth(1).unwrap().parse().unwrap();
    assert!(text == value(writer, number), "a mixed value");
    number
}

fn write_until(stop: &AtomicBool, socket: &std::path::Path, writer: usize, mut seen: Seen) -> Seen {
    while !stop.load(Ordering::Relaxed) {
        let Some(mut connection) = Connection::try_open(socket) else { continue };
        while !stop.load(Ordering::Relaxed) {
            seen.asked += 1;
            let body = json!({ "value": value(writer, seen.asked) }).to_string();
            let headers = [("content-type", "application/json")];
            match connection.try_request("PUT", &path(writer), &headers, body.as_bytes()) {
                Some(answer) if answer.status == 200 => seen.acknowledged = seen.asked,
                Some(answer) => assert_eq!(answer.status, 503, "{}", String::from_utf8_lossy(&answer.body)),
                None => break,
            }
        }
    }
    seen
}
