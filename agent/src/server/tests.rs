//! The server with a handler of its own: panics, room, deadlines, drain.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::StatusCode;
use nix::poll::{PollFd, PollFlags, poll};
use tempfile::TempDir;

use super::*;
use crate::listener::{ListenSettings, bind};

/// Answers 200 with the length of the body, panics when told to, and counts what it was asked.
#[derive(Default)]
struct Echo {
    asked: AtomicUsize,
}

impl Handler for Echo {
    type Caller = Peer;

    fn admit(&self, peer: Peer) -> Option<Peer> {
        Some(peer)
    }

    async fn handle(&self, _caller: &Arc<Peer>, request: Request<RequestBody>) -> Response<AnswerBody> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        assert!(request.uri().path() != "/panic", "a handler was told to panic");
        match request.uri().path() {
            "/never" => std::future::pending().await,
            // More than a socket's buffers hold.
            "/large" => return Response::new(Bytes::from(vec![b'x'; 8 << 20]).into()),
            _ => {}
        }
        match request.into_body().read().await {
            Ok(body) => Response::new(Bytes::from(body.len().to_string()).into()),
            Err(error) => status(match error {
                BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
                BodyError::Malformed => StatusCode::BAD_REQUEST,
                BodyError::OverCapacity => StatusCode::SERVICE_UNAVAILABLE,
            }),
        }
    }

    fn refuse(&self, _refusal: Refusal) -> Response<AnswerBody> {
        status(StatusCode::BAD_REQUEST)
    }

    fn panicked(&self) -> Response<AnswerBody> {
        status(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

fn status(status: StatusCode) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::default());
    *response.status_mut() = status;
    response
}

const SETTINGS: ServerSettings = ServerSettings {
    connections: 4,
    header_bytes: 16 * 1024,
    header_fields: 64,
    header_timeout: Duration::from_secs(1),
    body_bytes: 1024,
    body_timeout: Duration::from_secs(1),
    answer_timeout: Duration::from_secs(1),
    drain_timeout: Duration::from_secs(5),
};

/// A server on a thread of its own.
struct Running {
    _directory: TempDir,
    socket: PathBuf,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
    handler: Arc<Echo>,
}

impl Running {
    fn start(settings: ServerSettings) -> Self {
        let directory = TempDir::new().unwrap();
        let socket = directory.path().join("run/test.sock");
        let (stop, handler) = (CancellationToken::new(), Arc::new(Echo::default()));
        let (path, token, echo) = (socket.clone(), stop.clone(), Arc::clone(&handler));
        let (ready, started) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let bound = bind(&ListenSettings { socket: path, group: None }).unwrap();
                ready.send(()).unwrap();
                let tasks = TaskTracker::new();
                serve(bound, settings, echo, InFlight::new(2048), tasks, token, ServerMetrics::default())
                    .await
                    .unwrap();
            });
        });
        started.recv().unwrap();
        Self { _directory: directory, socket, stop, thread: Some(thread), handler }
    }

    fn end(mut self) {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
        assert!(!self.socket.exists(), "the socket is gone when nobody listens");
    }
}

fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Everything until the server closes.
fn talk(socket: &Path, text: &str) -> String {
    let mut stream = connect(socket);
    stream.write_all(text.as_bytes()).unwrap();
    rest(&mut stream)
}

fn rest(stream: &mut UnixStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// One answer without body on a connection that stays.
fn head(stream: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap()
}

const CLOSE: &str = "Host: a\r\nConnection: close\r\n";

#[test]
fn x2_a_panic_in_one_handler_is_that_requests_500_and_nobody_elses() {
    let server = Running::start(SETTINGS);
    let mut beside = connect(&server.socket);
    beside.write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(head(&mut beside).starts_with("HTTP/1.1 200"));
    for _ in 0..10 {
        assert!(talk(&server.socket, &format!("GET /panic HTTP/1.1\r\n{CLOSE}\r\n")).starts_with("HTTP/1.1 500"));
    }
    beside.write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(head(&mut beside).starts_with("HTTP/1.1 200"), "another connection goes on");
    server.end();
}

#[test]
fn at_the_cap_the_connection_longest_without_a_head_makes_room() {
    let server = Running::start(ServerSettings { header_timeout: Duration::from_mins(1), ..SETTINGS });
    let mut held: Vec<UnixStream> = (0..4).map(|_| connect(&server.socket)).collect();
    for stream in &mut held {
        stream.write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        head(stream);
    }
    // The first is active again; the second has rested longest now.
    held[0].write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    head(&mut held[0]);
    assert!(talk(&server.socket, &format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).starts_with("HTTP/1.1 200"));
    assert_eq!(rest(&mut held[1]), "");
    for index in [0, 2, 3] {
        held[index].write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert!(head(&mut held[index]).starts_with("HTTP/1.1 200"));
    }
    server.end();
}

#[test]
fn requests_in_one_segment_are_answered_in_their_order() {
    let server = Running::start(SETTINGS);
    let text = format!(
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcPUT / HTTP/1.1\r\nHost: a\r\n\r\nPUT / HTTP/1.1\r\nContent-Length: 1\r\n{CLOSE}\r\nx"
    );
    let answer = talk(&server.socket, &text);
    let bodies: Vec<&str> = answer.split("\r\n\r\n").skip(1).filter_map(|part| part.get(..1)).collect();
    assert_eq!(bodies, ["3", "0", "1"], "{answer}");
    server.end();
}

#[test]
fn n9_a_malformed_request_is_refused_after_the_answers_before_it_and_ends_the_connection() {
    let server = Running::start(SETTINGS);
    let good = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let bad = "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n";
    let answer = talk(&server.socket, &format!("{good}{bad}{good}"));
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 400").count(), 1, "{answer}");
    assert_eq!(server.handler.asked.load(Ordering::SeqCst), 1);
    server.end();
}

#[test]
fn s2_bodies_over_the_limit_or_the_time_are_refused_with_an_answer() {
    let server = Running::start(SETTINGS);
    let announced = format!("PUT / HTTP/1.1\r\nContent-Length: 1025\r\n{CLOSE}\r\n{}", "x".repeat(1025));
    assert!(talk(&server.socket, &announced).starts_with("HTTP/1.1 413"));
    let unsent = format!("PUT / HTTP/1.1\r\nContent-Length: 1025\r\n{CLOSE}\r\n");
    assert!(talk(&server.socket, &unsent).starts_with("HTTP/1.1 413"), "before a byte of it is read");
    let chunked =
        format!("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{CLOSE}\r\n401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025));
    assert!(talk(&server.socket, &chunked).starts_with("HTTP/1.1 413"));
    let slow = format!("PUT / HTTP/1.1\r\nContent-Length: 10\r\n{CLOSE}\r\nx");
    assert!(talk(&server.socket, &slow).starts_with("HTTP/1.1 408"));
    server.end();
}

#[test]
fn n8_bodies_beyond_the_budget_are_refused_until_it_is_free_again() {
    let server = Running::start(SETTINGS);
    let mut held: Vec<UnixStream> = (0..4).map(|_| connect(&server.socket)).collect();
    for stream in &mut held {
        stream.write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1024\r\nConnection: close\r\n\r\n").unwrap();
    }
    // There is room for two: they wait for bytes that never come, the others are told at once.
    let answers: Vec<String> = held.iter_mut().map(rest).collect();
    let count = |status: &str| answers.iter().filter(|answer| answer.starts_with(status)).count();
    assert_eq!((count("HTTP/1.1 408"), count("HTTP/1.1 503")), (2, 2), "{answers:?}");
    assert!(
        talk(&server.socket, &format!("PUT / HTTP/1.1\r\nContent-Length: 1\r\n{CLOSE}\r\nx"))
            .starts_with("HTTP/1.1 200")
    );
    server.end();
}

#[test]
fn x2_a_drain_answers_what_was_begun_and_takes_nothing_new() {
    let server = Running::start(SETTINGS);
    let mut idle = connect(&server.socket);
    let mut begun = connect(&server.socket);
    begun.write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx").unwrap();
    while server.handler.asked.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    server.stop.cancel();
    assert_eq!(rest(&mut idle), "", "who has asked nothing is let go");
    assert!(UnixStream::connect(&server.socket).is_err());
    begun.write_all(b"y").unwrap();
    let answer = rest(&mut begun);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    server.end();
}

#[test]
fn s1_a_silent_connection_and_a_slow_head_are_closed_in_time() {
    let server = Running::start(SETTINGS);
    let (mut silent, mut slow) = (connect(&server.socket), connect(&server.socket));
    slow.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
    assert_eq!(rest(&mut silent), "");
    assert_eq!(rest(&mut slow), "");
    server.end();
}

#[test]
fn n8_a_reader_that_does_not_take_its_answer_is_closed_in_time() {
    let server = Running::start(SETTINGS);
    let mut deaf = connect(&server.socket);
    deaf.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    // It reads nothing; the kernel tells all the same when the other end lets go.
    let mut hung_up = [PollFd::new(deaf.as_fd(), PollFlags::empty())];
    assert_eq!(poll(&mut hung_up, 20_000_u16), Ok(1), "an answer that nobody takes is kept");
    server.end();
}

#[test]
fn n8_a_drain_ends_at_its_deadline_also_where_a_request_does_not() {
    let server = Running::start(ServerSettings { drain_timeout: Duration::from_millis(100), ..SETTINGS });
    let mut stuck = connect(&server.socket);
    stuck.write_all(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    while server.handler.asked.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    server.stop.cancel();
    assert_eq!(rest(&mut stuck), "", "it is cut off without an answer");
}
