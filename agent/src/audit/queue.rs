//! Lines on their way to the sink: one shared buffer, one write for all that arrived together.
//!
//! A recording yields to the runtime once before anything is written. The task goes to the end of the run queue, behind
//! every task that the same poll of the kernel made ready, so all their lines are in the buffer when the first of them
//! is polled again: that one writes (or hands over) for all, and the others find their lines written. No timer, no
//! waker and no task is made for it. The answers of those tasks then leave together too, and their readers are woken once
//! and not one by one, which is worth more than the yield costs even where a write is free.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Sleep;

use super::line::{self, Stamp};
use super::record::{Phase, Record};
use super::sink::Device;
use super::{AuditMetrics, AuditUnavailable};

/// Spare capacity above this is given back after a burst.
const KEPT_BYTES: usize = 64 * 1024;

pub(super) struct Queue {
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    /// Every byte before this position of the stream is in the sink. Written under the lock, read without it.
    written: AtomicU64,
    timeout: Duration,
    cap: usize,
    pub(super) metrics: AuditMetrics,
}

#[expect(clippy::struct_excessive_bools, reason = "four independent facts, each read and written under the one lock")]
pub(super) struct State {
    /// Whole lines that nobody has taken yet.
    filling: Vec<u8>,
    /// So much of the first of them is in the sink already.
    begun: usize,
    /// Position of the end of `filling`.
    appended: u64,
    stamp: Stamp,
    pub(super) device: Arc<dyn Device>,
    /// The writer thread has taken lines and has not finished.
    pub(super) busy: bool,
    /// The writer thread shall take what there is.
    pub(super) handed_over: bool,
    pub(super) reopen: bool,
    pub(super) closing: bool,
    waiters: Vec<Waiter>,
    next_waiter: u64,
}

struct Waiter {
    id: u64,
    end: u64,
    waker: Waker,
}

impl Queue {
    pub(super) fn new(device: Box<dyn Device>, timeout: Duration, cap: usize, metrics: AuditMetrics) -> Self {
        // The last line of a run that was killed within a write: ended, so that it spoils only itself.
        let filling = if device.ends_torn() { b"\n".to_vec() } else { Vec::new() };
        Self {
            state: Mutex::new(State {
                appended: filling.len() as u64,
                filling,
                begun: 0,
                stamp: Stamp::default(),
                device: device.into(),
                busy: false,
                handed_over: false,
                reopen: false,
                closing: false,
                waiters: Vec::new(),
                next_waiter: 0,
            }),
            changed: Condvar::new(),
            written: AtomicU64::new(0),
            timeout,
            cap,
            metrics,
        }
    }

    /// A panic under the lock can have left half a line at the end of the buffer, and nothing else: it is cut off.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            let mut state = poisoned.into_inner();
            let whole = line_start(&state.filling, state.filling.len());
            let torn = state.filling.len() - whole;
            state.filling.truncate(whole);
            state.appended -= torn as u64;
            self.state.clear_poison();
            state
        })
    }

    pub(super) fn record(&self, record: &Record<'_>) -> Recording<'_> {
        let mut state = self.lock();
        let state = &mut *state;
        let before = state.filling.len();
        let in_flight = usize::try_from(state.appended - self.written()).unwrap_or(usize::MAX);
        let first = if in_flight >= self.cap {
            Stage::Refused
        } else {
            line::push(&mut state.filling, &mut state.stamp, Timestamp::now(), record);
            state.appended += (state.filling.len() - before) as u64;
            Stage::Fresh
        };
        Recording { queue: self, end: state.appended, phase: record.phase, stage: first }
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Writes what is in the buffer, or hands it to the writer thread.
    fn flush(&self, state: &mut State) {
        if state.filling.is_empty() {
            return;
        }
        // Behind lines that the thread still holds, these must wait their turn.
        if state.device.prompt() && !state.busy && !state.handed_over {
            let taken = state.device.write(&state.filling).unwrap_or_default();
            self.metrics.writes.inc();
            self.advance(taken);
            if taken == state.filling.len() {
                state.filling.clear();
                state.filling.shrink_to(KEPT_BYTES);
                return;
            }
            // Full or failing. The thread repeats the write, at its own pace, and owns the recovery. It gets the line
            // that is half written as a whole, because it may have to begin it again in another file.
            let whole = line_start(&state.filling, taken);
            state.filling.drain(..whole);
            state.begun = taken - whole;
        }
        if !state.handed_over {
            state.handed_over = true;
            // A busy thread looks before it sleeps.
            if !state.busy {
                self.changed.notify_one();
            }
        }
    }

    /// The writer's: takes all lines into its own buffer, and says how much of them is in the sink already.
    pub(super) fn take(state: &mut State, batch: &mut Vec<u8>) -> usize {
        batch.clear();
        batch.shrink_to(KEPT_BYTES);
        std::mem::swap(&mut state.filling, batch);
        state.handed_over = false;
        state.busy = !batch.is_empty();
        std::mem::take(&mut state.begun)
    }

    /// More bytes are in the sink.
    pub(super) fn advance(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Release);
    }

    /// A line is begun again: its first bytes do not count any more. No request was told of it, because none is before
    /// its line has ended.
    pub(super) fn retreat(&self, bytes: usize) {
        self.written.fetch_sub(bytes as u64, Ordering::Release);
    }

    /// Takes out one request whose line is written. It wakes the others: on the runtime's own thread that costs no
    /// system call each.
    pub(super) fn first_written(&self, state: &mut State) -> Option<Waker> {
        let written = self.written();
        let position = state.waiters.iter().position(|waiter| waiter.end <= written)?;
        Some(state.waiters.swap_remove(position).waker)
    }

    fn wake_written(&self, state: &mut State) {
        let written = self.written();
        for waiter in state.waiters.extract_if(.., |waiter| waiter.end <= written) {
            waiter.waker.wake();
        }
    }

    pub(super) fn ask_to_reopen(&self) {
        self.lock().reopen = true;
        self.changed.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_one();
    }
}

/// Where the line begins that holds `position`.
pub(super) fn line_start(lines: &[u8], position: usize) -> usize {
    let before = lines.get(..position).unwrap_or_default();
    before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

/// Resolves when the line is in the sink, or when the timeout has passed.
#[must_use = "a record that nobody waits for allows nothing"]
pub struct Recording<'a> {
    queue: &'a Queue,
    end: u64,
    phase: Phase,
    stage: Stage,
}

enum Stage {
    /// In the buffer, not polled yet.
    Fresh,
    /// Polled once: others may add to the buffer.
    Shared,
    /// Handed over; the timer exists only from here on.
    Waiting { id: u64, timeout: Pin<Box<Sleep>> },
    /// The buffer was full.
    Refused,
    /// The answer was given.
    Done,
}

impl Recording<'_> {
    fn done(&mut self, result: Result<(), AuditUnavailable>) -> Poll<Result<(), AuditUnavailable>> {
        self.stage = Stage::Done;
        match result {
            Ok(()) => self.queue.metrics.counter(self.phase).inc(),
            Err(AuditUnavailable) => self.queue.metrics.failures.inc(),
        };
        Poll::Ready(result)
    }
}

impl Future for Recording<'_> {
    type Output = Result<(), AuditUnavailable>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let queue = this.queue;
        match &mut this.stage {
            Stage::Fresh => {
                this.stage = Stage::Shared;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Stage::Shared => {
                if queue.written() >= this.end {
                    return this.done(Ok(()));
                }
                let mut state = queue.lock();
                queue.flush(&mut state);
                if queue.written() >= this.end {
                    return this.done(Ok(()));
                }
                let id = state.next_waiter;
                state.next_waiter += 1;
                state.waiters.push(Waiter { id, end: this.end, waker: cx.waker().clone() });
                drop(state);
                let mut timeout = Box::pin(tokio::time::sleep(queue.timeout));
                // Registers the timer's waker; a timeout of zero has passed at once.
                let passed = timeout.as_mut().poll(cx).is_ready();
                this.stage = Stage::Waiting { id, timeout };
                if passed { this.done(Err(AuditUnavailable)) } else { Poll::Pending }
            }
            Stage::Waiting { id, timeout } => {
                let id = *id;
                let mut state = queue.lock();
                if queue.written() >= this.end {
                    state.waiters.retain(|waiter| waiter.id != id);
                    queue.wake_written(&mut state);
                    return this.done(Ok(()));
                }
                if timeout.as_mut().poll(cx).is_ready() {
                    state.waiters.retain(|waiter| waiter.id != id);
                    return this.done(Err(AuditUnavailable));
                }
                if let Some(waiter) = state.waiters.iter_mut().find(|waiter| waiter.id == id) {
                    waiter.waker.clone_from(cx.waker());
                }
                Poll::Pending
            }
            Stage::Refused => this.done(Err(AuditUnavailable)),
            Stage::Done => Poll::Ready(Err(AuditUnavailable)),
        }
    }
}

/// A request that goes away neither keeps its line from the sink nor the news from the others.
impl Drop for Recording<'_> {
    fn drop(&mut self) {
        match &self.stage {
            Stage::Fresh | Stage::Shared if self.queue.written() < self.end => {
                self.queue.flush(&mut self.queue.lock());
            }
            Stage::Waiting { id, .. } => {
                let mut state = self.queue.lock();
                state.waiters.retain(|waiter| waiter.id != *id);
                self.queue.wake_written(&mut state);
            }
            _ => {}
        }
    }
}
