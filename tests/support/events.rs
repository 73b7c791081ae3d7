//! A reader of server-sent events on a Unix socket, which takes a chunked answer apart by itself.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// Longer than every deadline of the agent.
const PATIENCE: Duration = Duration::from_mins(1);

/// One stream.
pub struct EventStream {
    stream: UnixStream,
    /// Bytes that came and belong to no event yet, without their chunks.
    received: Vec<u8>,
    chunked: Chunked,
    /// The status of the answer.
    pub status: u16,
    /// The fields of the answer.
    pub headers: Vec<(String, String)>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its type; `message` where it has none.
    pub kind: String,
    /// The id that it tells of.
    pub id: String,
}

impl EventStream {
    /// Asks for the events of a secret; the path is that of its id.
    pub fn open(socket: &Path, path: &str) -> Self {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).unwrap(), 1, "the connection ended in the head");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap()[9..12].parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self { stream, received: Vec::new(), chunked: Chunked::default(), status, headers }
    }

    /// The next event, comments passed over; none at the end of the stream.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            while let Some(block) = self.block() {
                if let Some(event) = Event::parse(&block) {
                    return Some(event);
                }
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// The next event, which must come.
    pub fn event(&mut self) -> Event {
        self.next_event().expect("the stream ended")
    }

    /// Whether nothing comes within `limit`.
    pub fn is_silent_for(&mut self, limit: Duration) -> bool {
        self.stream.set_read_timeout(Some(limit)).unwrap();
        let mut byte = [0; 1024];
        let silent = match self.stream.read(&mut byte) {
            Ok(count) => {
                self.chunked.take(&byte[..count], &mut self.received);
                false
            }
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        };
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        silent && self.received.is_empty()
    }

    /// Whether the stream has ended as HTTP says that it ends.
    pub fn has_ended_whole(&self) -> bool {
        self.chunked.ended
    }

    fn block(&mut self) -> Option<String> {
        let end = self.received.windows(2).position(|window| window == b"\n\n")?;
        Some(String::from_utf8(self.received.drain(..end + 2).collect()).unwrap())
    }

    fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.chunked.take(&buffer[..count], &mut self.received);
                true
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                panic!("no event within {PATIENCE:?}")
            }
            Err(_reset) => false,
        }
    }
}

impl Event {
    fn parse(block: &str) -> Option<Self> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        let data: Value = serde_json::from_str(field("data")?).unwrap();
        assert_eq!(data.as_object().unwrap().len(), 1, "an event tells an id and nothing else");
        let id = data["id"].as_str().unwrap().to_owned();
        Some(Self { kind: field("event").unwrap_or("message").to_owned(), id })
    }
}

/// The chunks of a body (RFC 9112 §7.1).
#[derive(Default)]
struct Chunked {
    pending: Vec<u8>,
    ended: bool,
}

impl Chunked {
    fn take(&mut self, bytes: &[u8], into: &mut Vec<u8>) {
        self.pending.extend_from_slice(bytes);
        while let Some(line) = self.pending.windows(2).position(|window| window == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&self.pending[..line]).unwrap(), 16).unwrap();
            if self.pending.len() < line + 2 + size + 2 {
                return;
            }
            into.extend_from_slice(&self.pending[line + 2..line + 2 + size]);
            self.pending.drain(..line + 2 + size + 2);
            self.ended |= size == 0;
        }
    }
}
