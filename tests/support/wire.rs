//! A raw HTTP/1.1 client on a Unix socket, for requests that no library would send. Checks the framing of every answer.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longer than every deadline of the agent, so that a test fails by what it sees and not by waiting.
const PATIENCE: Duration = Duration::from_mins(1);

/// The only fields that an answer of the API may carry: anything else would be something that nobody decided to send.
const KNOWN_FIELDS: [&str; 11] = [
    "age",
    "allow",
    "cache-control",
    "cache-status",
    "connection",
    "content-length",
    "content-type",
    "date",
    "etag",
    "retry-after",
    "x-request-id",
];

/// One answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Fields in their order.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a field that stands at most once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let first = found.next();
        assert!(found.next().is_none(), "{name} stands twice");
        first.map(|(_, value)| value.as_str())
    }
}

/// One connection.
pub struct Connection {
    stream: UnixStream,
    /// Bytes that came and are not read as an answer yet.
    received: Vec<u8>,
    /// Methods whose answers are still to come, since HEAD has no body.
    heads: std::collections::VecDeque<bool>,
}

impl Connection {
    /// Connects, or fails the test.
    pub fn open(socket: &Path) -> Self {
        Self::try_open(socket).unwrap_or_else(|| panic!("cannot connect to {}", socket.display()))
    }

    /// Connects, if somebody listens.
    pub fn try_open(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Some(Self { stream, received: Vec::new(), heads: std::collections::VecDeque::new() })
    }

    /// One request and its answer, whose fields must be known ones.
    pub fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let response = self.request_plain(method, target, headers, body);
        for (name, _) in &response.headers {
            let known = KNOWN_FIELDS.iter().any(|known| name.eq_ignore_ascii_case(known));
            assert!(known, "{method} {target} is answered with the field {name}");
        }
        response
    }

    /// One request and its answer, whatever fields it has.
    pub fn request_plain(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let answer = self.try_request(method, target, headers, body);
        answer.unwrap_or_else(|| panic!("{method} {target}: the connection ended without an answer"))
    }

    /// One request and its answer, if there is one.
    pub fn try_request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Response> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || ["PUT", "POST"].contains(&method) {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        // A server that refuses early may stop reading; its answer is there all the same.
        let _refused = self.try_send(&bytes);
        self.heads.push_back(method == "HEAD");
        self.try_receive()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// Sends bytes as they are, if the peer takes them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next answer.
    pub fn receive(&mut self) -> Response {
        self.try_receive().expect("the connection ended without an answer")
    }

    /// The next answer, unless the connection ends before it begins.
    pub fn try_receive(&mut self) -> Option<Response> {
        let head_only = self.heads.pop_front().unwrap_or(false);
        let end = loop {
            if let Some(end) = find(&self.received, b"\r\n\r\n") {
                break end;
            }
            if self.fill() == 0 {
                assert!(self.received.is_empty(), "half an answer: {}", String::from_utf8_lossy(&self.received));
                return None;
            }
        };
        let head = String::from_utf8(self.received.drain(..end + 4).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap();
        assert!(status.starts_with("HTTP/1.1 ") || status.starts_with("HTTP/1.0 "), "{status}");
        let status: u16 = status[9..12].parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(':').unwrap_or_else(|| panic!("no field: {line}")))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let mut response = Response { status, headers, body: Vec::new() };
        let empty = head_only || matches!(status, 204 | 304) || status < 200;
        assert!(response.header("transfer-encoding").is_none(), "answers have a length");
        let length = response.header("content-length").map(|text| text.parse::<usize>().unwrap());
        if !empty {
            let length = length.unwrap_or_else(|| panic!("an answer without a length: {head}"));
            while self.received.len() < length {
                assert!(self.fill() > 0, "the answer ended early");
            }
            response.body = self.received.drain(..length).collect();
        }
        Some(response)
    }

    /// What arrives until the peer closes.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        std::mem::take(&mut self.received)
    }

    /// Whether the peer closes within `limit`, without sending anything more.
    pub fn is_closed_within(&mut self, limit: Duration) -> bool {
        self.stream.set_read_timeout(Some(limit)).unwrap();
        let mut byte = [0];
        let closed = match self.stream.read(&mut byte) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        };
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        closed
    }

    /// Reads once; zero at the end, and at a reset, which is an end too.
    fn fill(&mut self) -> usize {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                count
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                panic!("no answer within {PATIENCE:?}")
            }
            Err(_reset) => 0,
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
