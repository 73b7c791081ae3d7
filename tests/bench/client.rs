//! A closed-loop client on epoll: each connection has one request under way, and asks again when it is answered.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// What one run saw.
pub(crate) struct Load {
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
    /// Nanoseconds, sorted.
    latencies: Vec<u32>,
}

impl Load {
    /// Of what each request took.
    pub(crate) fn of(mut latencies: Vec<u32>, elapsed: Duration) -> Self {
        latencies.sort_unstable();
        Self { requests: latencies.len() as u64, elapsed, latencies }
    }

    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that this part of the requests stays below.
    pub(crate) fn percentile(&self, part: f64) -> f64 {
        let index = (self.latencies.len().saturating_sub(1) as f64 * part).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index, from a length")]
        let index = index as usize;
        f64::from(self.latencies.get(index).copied().unwrap_or_default())
    }
}

struct Peer {
    stream: UnixStream,
    sent: Instant,
    received: usize,
    /// Bytes of a whole answer; answers differ only in fields of constant length.
    length: usize,
}

/// Asks over `connections` that stay, for `duration`.
pub(crate) fn run(socket: &Path, request: &[u8], connections: usize, duration: Duration) -> anyhow::Result<Load> {
    let length = whole_answer(&mut connect(socket)?, request)?.len();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut peers = Vec::with_capacity(connections);
    for index in 0..connections {
        let mut stream = connect(socket)?;
        // The first answer of each connection is looked at; after that its length says that it is the same.
        let first = whole_answer(&mut stream, request)?;
        ensure!(
            first.starts_with(b"HTTP/1.1 200") && first.len().abs_diff(length) < 8,
            "not the answer that was expected"
        );
        stream.set_nonblocking(true)?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        peers.push(Peer { stream, sent: Instant::now(), received: 0, length: first.len() });
    }
    let mut load = Load { requests: 0, elapsed: Duration::ZERO, latencies: Vec::with_capacity(1 << 20) };
    let began = Instant::now();
    for peer in &mut peers {
        peer.sent = Instant::now();
        peer.stream.write_all(request)?;
    }
    let mut events = [EpollEvent::empty(); 64];
    let mut buffer = vec![0; 64 * 1024];
    while began.elapsed() < duration {
        let ready = epoll.wait(&mut events, EpollTimeout::from(1000_u16))?;
        ensure!(ready > 0, "nothing was answered for a second");
        for event in events.iter().take(ready) {
            let peer = peers.get_mut(usize::try_from(event.data())?).context("an unknown connection")?;
            match peer.stream.read(&mut buffer) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(count) => peer.received += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            }
            // `Age` and the time to live grow by a digit now and then; nothing else may change.
            if peer.received + 8 >= peer.length {
                load.requests += 1;
                load.latencies.push(u32::try_from(peer.sent.elapsed().as_nanos()).unwrap_or(u32::MAX));
                peer.received = 0;
                peer.sent = Instant::now();
                peer.stream.write_all(request)?;
            }
        }
    }
    load.elapsed = began.elapsed();
    load.latencies.sort_unstable();
    Ok(load)
}

/// Asks once over each connection and connects again, `connections` at a time.
pub(crate) fn run_connecting(socket: &Path, request: &[u8], duration: Duration) -> anyhow::Result<Load> {
    let mut load = Load { requests: 0, elapsed: Duration::ZERO, latencies: Vec::with_capacity(1 << 18) };
    let began = Instant::now();
    while began.elapsed() < duration {
        let sent = Instant::now();
        let answer = whole_answer(&mut connect(socket)?, request)?;
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "not the answer that was expected");
        load.requests += 1;
        load.latencies.push(u32::try_from(sent.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }
    load.elapsed = began.elapsed();
    load.latencies.sort_unstable();
    Ok(load)
}

pub(crate) fn connect(socket: &Path) -> anyhow::Result<UnixStream> {
    let stream = UnixStream::connect(socket).with_context(|| format!("connecting to {}", socket.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// One request and its whole answer, by its `Content-Length`.
pub(crate) fn whole_answer(stream: &mut UnixStream, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0, "the server closed: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default()).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap_or("0");
            if answer.len() >= end + 4 + length.trim().parse::<usize>()? {
                return Ok(answer);
            }
        }
    }
}

/// The text of a request without a body.
pub(crate) fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// The text of a request with a JSON body.
pub(crate) fn put(target: &str, body: &str) -> Vec<u8> {
    format!("PUT {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// As [`whole_answer`], for requests after which a server may close. 204 has no length and no body.
pub(crate) fn whole_answer_or_none(stream: &mut UnixStream, request: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    match whole_answer(stream, request) {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() != ErrorKind::WouldBlock) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
