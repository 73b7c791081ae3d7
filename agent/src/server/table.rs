//! The connections of one server: what each waits for and since when, who makes room, who has waited too long.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::ServerSettings;
use crate::clock::Clock;

/// How long a connection may rest between two requests. Longer than the pools of common clients keep one (90 s), so
/// that it is the client who closes and no request is lost to the race.
const IDLE: std::time::Duration = std::time::Duration::from_mins(2);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Between requests.
    Idle,
    /// A head has begun and is not complete.
    Head,
    /// A request is being read or worked on.
    Request,
    /// An answer waits for its reader.
    Answer,
    /// The reader has everything that there is so far.
    Stream,
}

/// What became of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum BodyState {
    /// To its end, or there was none.
    Read,
    /// Nobody has asked for it yet. hyper skips it where it has arrived already, and closes otherwise.
    Unread,
    /// Given up in the middle: the connection cannot go on.
    Refused,
}

/// One connection, as the sweeper sees it.
pub(super) struct State {
    /// None once the stream is closed: a number that may be somebody else's by now.
    descriptor: Mutex<Option<RawFd>>,
    left: Mutex<Option<UnixStream>>,
    phase: AtomicU8,
    since: AtomicU64,
    /// When the connection began.
    began: u64,
    /// Orders connections by when their last answer ended, or they began.
    rested: AtomicU64,
    served: AtomicBool,
    body: AtomicU8,
    streaming: AtomicBool,
    /// Nothing more is to be told on a stream.
    ended: AtomicBool,
    /// Whoever waits for the next event.
    stream: AtomicWaker,
    draining: Arc<AtomicBool>,
    table: Arc<Inner>,
}

impl State {
    /// Enters `phase`; entering the phase that it is in changes nothing.
    pub(super) fn enter(&self, phase: Phase) {
        if self.phase.swap(phase as u8, Ordering::Relaxed) == phase as u8 {
            return;
        }
        self.since.store(self.table.now.load(Ordering::Relaxed), Ordering::Relaxed);
        if phase == Phase::Idle {
            self.rested.store(self.table.next(), Ordering::Relaxed);
            self.served.store(true, Ordering::Relaxed);
            self.table.made_room();
        }
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Request,
            3 => Phase::Answer,
            _ => Phase::Stream,
        }
    }

    /// Whether the agent is draining, so that this answer is the connection's last.
    pub(super) fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether the answer is a stream that has not ended.
    pub(super) fn is_streaming(&self) -> bool {
        self.streaming.load(Ordering::Relaxed)
    }

    pub(super) fn set_streaming(&self, streaming: bool) {
        self.streaming.store(streaming, Ordering::Relaxed);
    }

    /// Whether the stream is to end; if not, `waker` is woken when it is.
    pub(super) fn has_ended(&self, waker: &Waker) -> bool {
        self.stream.register(waker);
        self.ended.load(Ordering::Acquire)
    }

    fn end_stream(&self) {
        self.ended.store(true, Ordering::Release);
        self.stream.wake();
    }

    /// Whether nobody is at the other end any more. hyper does not look while there is nothing to write; this writes
    /// nothing, which a stream that is shut for writing refuses all the same (`unix(7)`).
    fn is_deserted(&self) -> bool {
        let descriptor = self.descriptor.lock().unwrap_or_else(PoisonError::into_inner);
        descriptor.is_some_and(|descriptor| {
            send(descriptor, &[], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) == Err(Errno::EPIPE)
        })
    }

    /// How far the body of the last request was read.
    pub(super) fn body(&self) -> BodyState {
        match self.body.load(Ordering::Relaxed) {
            0 => BodyState::Read,
            1 => BodyState::Unread,
            _ => BodyState::Refused,
        }
    }

    pub(super) fn set_body(&self, body: BodyState) {
        self.body.store(body as u8, Ordering::Relaxed);
    }

    /// hyper is done with the stream.
    pub(super) fn leave_stream(&self, stream: UnixStream) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
    }

    /// The stream, once hyper is done with it.
    pub(super) fn take_stream(&self) -> Option<UnixStream> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The stream is about to be closed.
    pub(super) fn forget(&self) {
        *self.descriptor.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Ends the connection in `direction`; its task sees an end of file or a broken pipe.
    fn shut(&self, direction: Shutdown) {
        let descriptor = self.descriptor.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(descriptor) = *descriptor {
            // The only error is that the peer has gone already.
            let _gone = shutdown(descriptor, direction);
        }
    }
}

/// All connections.
#[derive(Clone)]
pub(super) struct Table(Arc<Inner>);

struct Inner {
    clock: Clock,
    /// The time as of the last sweep or accept: exact enough for deadlines of seconds, and free for each request.
    now: AtomicU64,
    capacity: AtomicUsize,
    connections: Mutex<HashMap<u64, Arc<State>>>,
    next: AtomicU64,
    draining: Arc<AtomicBool>,
    /// The accept loop waits for somebody to become idle or to leave.
    waiting: AtomicBool,
    room: Notify,
    /// The table is not empty any more.
    arrived: Notify,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<State>>> {
        // No code that can panic runs under this lock.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next of a sequence.
    fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn tick(&self) -> u64 {
        let now = nanos_of(self.clock.now().since_boot());
        self.now.store(now, Ordering::Relaxed);
        now
    }

    fn made_room(&self) {
        if self.waiting.swap(false, Ordering::AcqRel) {
            self.room.notify_one();
        }
    }
}

/// A place in the table; dropping the guard frees it.
pub(super) struct Room {
    pub(super) state: Arc<State>,
    pub(super) guard: Guard,
}

pub(super) struct Guard {
    table: Arc<Inner>,
    key: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.table.lock().remove(&self.key);
        self.table.made_room();
    }
}

impl Default for Table {
    fn default() -> Self {
        Self(Arc::new(Inner {
            clock: Clock::Boot,
            now: AtomicU64::new(0),
            capacity: AtomicUsize::new(0),
            connections: Mutex::new(HashMap::new()),
            next: AtomicU64::new(0),
            draining: Arc::new(AtomicBool::new(false)),
            waiting: AtomicBool::new(false),
            room: Notify::new(),
            arrived: Notify::new(),
        }))
    }
}

impl Table {
    pub(super) fn set_capacity(&self, connections: usize) {
        self.0.capacity.store(connections, Ordering::Relaxed);
    }

    /// Resolves when there is room for the connection that was just accepted: at the cap, the one that has been
    /// longest without a complete head is closed; where all are at work, the newcomer waits, and with it the backlog.
    pub(super) async fn room(&self) {
        loop {
            let notified = self.0.room.notified();
            self.0.waiting.store(true, Ordering::Release);
            if self.has_room() || self.evict() {
                self.0.waiting.store(false, Ordering::Release);
                return;
            }
            notified.await;
        }
    }

    fn has_room(&self) -> bool {
        self.0.lock().len() < self.0.capacity.load(Ordering::Relaxed)
    }

    /// Closes the connection that has been longest without a complete head, if there is one.
    fn evict(&self) -> bool {
        let mut connections = self.0.lock();
        let longest = connections
            .iter()
            .filter(|(_, state)| matches!(state.phase(), Phase::Idle | Phase::Head))
            .min_by_key(|(_, state)| state.rested.load(Ordering::Relaxed))
            .map(|(key, _)| *key);
        let Some(state) = longest.and_then(|key| connections.remove(&key)) else { return false };
        state.shut(Shutdown::Both);
        true
    }

    /// Resolves when there is a connection to look after.
    pub(super) async fn occupied(&self) {
        while self.0.lock().is_empty() {
            self.0.arrived.notified().await;
        }
    }

    /// Takes a connection in.
    pub(super) fn add(&self, descriptor: RawFd) -> Room {
        let (now, key) = (self.0.tick(), self.0.next());
        let state = Arc::new(State {
            descriptor: Mutex::new(Some(descriptor)),
            left: Mutex::new(None),
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU64::new(now),
            began: now,
            rested: AtomicU64::new(key),
            served: AtomicBool::new(false),
            body: AtomicU8::new(BodyState::Read as u8),
            streaming: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            stream: AtomicWaker::new(),
            draining: Arc::clone(&self.0.draining),
            table: Arc::clone(&self.0),
        });
        self.0.lock().insert(key, Arc::clone(&state));
        self.0.arrived.notify_one();
        Room { state, guard: Guard { table: Arc::clone(&self.0), key } }
    }

    /// Ends what has waited too long.
    pub(super) fn sweep(&self, settings: &ServerSettings) {
        let now = self.0.tick();
        let connections = self.0.lock();
        for state in connections.values() {
            let served = state.served.load(Ordering::Relaxed);
            let since = state.since.load(Ordering::Relaxed);
            let (limit, since) = match state.phase() {
                Phase::Idle if served => (IDLE, since),
                Phase::Head if served => (settings.header_timeout, since),
                // The first head has its time from the connection on, so that silence is no way around it.
                Phase::Idle | Phase::Head => (settings.header_timeout, state.began),
                Phase::Answer => (settings.answer_timeout, since),
                Phase::Stream => {
                    if state.is_deserted() {
                        state.end_stream();
                    }
                    continue;
                }
                // The body and the work have deadlines of their own, which end in an answer.
                Phase::Request => continue,
            };
            if now.saturating_sub(since) >= nanos_of(limit) {
                state.shut(Shutdown::Both);
            }
        }
    }

    /// No request is taken any more: who is between requests sees the end at once, who has sent one is answered first.
    pub(super) fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
        for state in self.0.lock().values() {
            if matches!(state.phase(), Phase::Idle | Phase::Head) {
                // Reading only: what the kernel holds already is still read, and answered.
                state.shut(Shutdown::Read);
            }
            if state.is_streaming() {
                state.end_stream();
            }
        }
    }

    pub(super) fn cut_off(&self) {
        for state in self.0.lock().values() {
            state.shut(Shutdown::Both);
        }
    }
}

fn nanos_of(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `cloakroom_connections{state}`, counted when it is asked for.
#[derive(Clone, Default)]
pub struct ServerMetrics {
    pub(super) table: Table,
}

impl ServerMetrics {
    /// Adds the family to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Counted(self.table.clone())));
    }
}

struct Counted(Table);

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counted")
    }
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let family = Family::<[(&'static str, &'static str); 1], Gauge>::default();
        for (phase, name) in [
            (Phase::Idle, "idle"),
            (Phase::Head, "head"),
            (Phase::Request, "request"),
            (Phase::Answer, "answer"),
            (Phase::Stream, "stream"),
        ] {
            let count = self.0.0.lock().values().filter(|state| state.phase() == phase).count();
            family.get_or_create(&[("state", name)]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let descriptor = encoder.encode_descriptor("connections", "Open connections", None, family.metric_type())?;
        family.encode(descriptor)
    }
}
