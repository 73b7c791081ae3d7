//! Log lines on their way to stderr: a bounded queue, a thread that writes, a count of what was dropped.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::clock::{Clock, Moment};

/// Lines that may wait for a slow reader of stderr.
const QUEUE: usize = 1024;

/// Lines in one second, and at once. Far more than an agent at work says, far less than a flood.
const PER_SECOND: u64 = 200;
const BURST: u64 = 1000;

/// How long the end of the process waits for its last lines.
const FLUSH: Duration = Duration::from_secs(1);

enum Item {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Takes lines; clones share the queue.
#[derive(Clone)]
pub(super) struct Lines {
    queue: SyncSender<Item>,
    bucket: Arc<Mutex<Bucket>>,
    dropped: Arc<AtomicU64>,
}

/// Writes what is left when it is dropped.
pub struct Flush {
    queue: SyncSender<Item>,
}

impl Drop for Flush {
    fn drop(&mut self) {
        let (done, flushed) = sync_channel(1);
        // A reader that does not read must not keep the process.
        if self.queue.try_send(Item::Flush(done)).is_ok() {
            let _late = flushed.recv_timeout(FLUSH);
        }
    }
}

impl Lines {
    pub(super) fn start() -> io::Result<(Self, Flush)> {
        let (queue, items) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("log".into())
            .stack_size(128 * 1024)
            .spawn(move || write_all(&items, &counter, io::stderr()))?;
        let bucket = Arc::new(Mutex::new(Bucket::new(Clock::Boot)));
        let flush = Flush { queue: queue.clone() };
        Ok((Self { queue, bucket, dropped }, flush))
    }
}

fn write_all(items: &Receiver<Item>, dropped: &AtomicU64, mut sink: impl io::Write) {
    while let Ok(item) = items.recv() {
        // If stderr is gone there is nobody to tell.
        match item {
            Item::Line(line) => drop(sink.write_all(&line)),
            Item::Flush(done) => drop(done.send(())),
        }
        let count = dropped.swap(0, Ordering::Relaxed);
        if count > 0 {
            drop(writeln!(sink, "{{\"level\":\"WARN\",\"message\":\"log lines were dropped\",\"dropped\":{count}}}"));
        }
    }
}

/// One event; the formatter writes it as a whole.
pub(super) struct Line<'a>(&'a Lines);

impl io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let lines = self.0;
        let allowed = lines.bucket.lock().unwrap_or_else(PoisonError::into_inner).take();
        if !allowed || lines.queue.try_send(Item::Line(bytes.to_vec())).is_err() {
            lines.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

struct Bucket {
    clock: Clock,
    milli_tokens: u64,
    at: Moment,
}

impl Bucket {
    fn new(clock: Clock) -> Self {
        Self { milli_tokens: BURST * 1000, at: clock.now(), clock }
    }

    fn take(&mut self) -> bool {
        let now = self.clock.now();
        let passed = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        if passed > 0 {
            self.milli_tokens = self.milli_tokens.saturating_add(passed.saturating_mul(PER_SECOND)).min(BURST * 1000);
            self.at = now;
        }
        let left = self.milli_tokens.checked_sub(1000);
        self.milli_tokens = left.unwrap_or(self.milli_tokens);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_flood_is_cut_to_its_rate() {
        let clock = Clock::manual();
        let mut bucket = Bucket::new(clock.clone());
        assert_eq!((0..5000).filter(|_| bucket.take()).count(), 1000);
        clock.advance(Duration::from_secs(1));
        assert_eq!((0..5000).filter(|_| bucket.take()).count(), 200);
        clock.advance(Duration::from_hours(1));
        assert_eq!((0..5000).filter(|_| bucket.take()).count(), 1000);
    }

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_up_and_is_told_what_it_missed() {
        let (queue, items) = sync_channel(2);
        let lines =
            Lines { queue, bucket: Arc::new(Mutex::new(Bucket::new(Clock::manual()))), dropped: Arc::default() };
        for number in 0..5 {
            lines.make_writer().write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        let dropped = Arc::clone(&lines.dropped);
        assert!(dropped.load(Ordering::Relaxed) > 0);
        drop(lines);
        let mut sink = Vec::new();
        write_all(&items, &dropped, &mut sink);
        let text = String::from_utf8(sink).unwrap();
        assert!(text.contains("line 0") && text.contains("dropped") && !text.contains("line 4"), "{text}");
    }
}
