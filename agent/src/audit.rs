//! The audit record: written before effect and before answer (N6).
//!
//! A record counts as written when `write(2)` has taken the whole line. There is no `fsync` for each record: a crash of
//! the agent loses no acknowledged line, a crash of the machine may lose the last ones. A record whose request gave up
//! waiting may still be written later; it then tells of an attempt that was refused.

mod line;
mod queue;
mod record;
mod sink;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, Mac};
use nix::errno::Errno;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::secret::SecretValue;
use queue::Queue;
pub use queue::Recording;
pub use record::{AuditCaller, AuditDecision, AuditResult, AuditSource, Operation, Phase, Reason, Record};

/// Longest time that a request waits for its record.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);

/// Lines that may wait for a sink that stands still: some three thousand records.
pub const DEFAULT_QUEUE_BYTES: usize = 1024 * 1024;

/// Shorter keys can be searched, and a fingerprint of a short value would then give it away.
const MIN_KEY_BYTES: usize = 16;

/// Where records go.
#[derive(Debug)]
pub enum SinkTarget {
    /// The standard output of the process.
    Stdout,
    /// A file, a FIFO or a character device, opened for appending.
    File(PathBuf),
    /// Something that is open already; it cannot be reopened.
    Descriptor(OwnedFd),
}

/// What an audit needs to start.
#[derive(Debug)]
pub struct AuditSettings {
    /// Where records go.
    pub sink: SinkTarget,
    /// Key of the fingerprints; without one they can be compared within one run of the agent only.
    pub hmac_key: Option<Zeroizing<Vec<u8>>>,
    /// How long a request waits for its record.
    pub timeout: Duration,
    /// Bytes of lines that may wait to be written.
    pub queue_bytes: usize,
}

impl AuditSettings {
    /// The defaults, for `sink`.
    #[must_use]
    pub fn new(sink: SinkTarget) -> Self {
        Self { sink, hmac_key: None, timeout: DEFAULT_TIMEOUT, queue_bytes: DEFAULT_QUEUE_BYTES }
    }
}

/// Why there is no audit, and so no start.
#[derive(Debug, thiserror::Error)]
pub enum AuditOpenError {
    /// The file cannot be opened or created.
    #[error("audit.file: cannot open {}; its directory must exist, and the agent must be allowed to write there", path.display())]
    Open {
        /// As configured.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// A FIFO that nobody reads takes no record.
    #[error("audit.file: the FIFO {} has no reader; start the reader first", path.display())]
    NoReader {
        /// As configured.
        path: PathBuf,
    },
    /// A directory, a socket or a block device.
    #[error("the audit sink is neither a file nor a FIFO nor a character device")]
    Kind,
    /// The descriptor cannot be used.
    #[error("preparing the audit sink")]
    Descriptor(#[source] std::io::Error),
    /// The key would not protect a value.
    #[error("audit.hmacKeyFile: the key has fewer than {MIN_KEY_BYTES} bytes; make a longer one")]
    WeakKey,
    /// The system's random source failed.
    #[error("making an audit key for this run")]
    Random,
    /// The writer could not be started.
    #[error("starting the audit writer")]
    Thread(#[source] std::io::Error),
}

/// The record was not written in time, so what it is about must not happen (N6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit record could not be written in time")]
pub struct AuditUnavailable;

/// HMAC-SHA-256 of a value under the audit key, cut to 128 bits: tells equal values from different ones, for whoever
/// reads the record, without the value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuditFingerprint([u8; 16]);

impl AuditFingerprint {
    pub(crate) fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for AuditFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The audit of one agent; clones share it.
#[derive(Clone)]
pub struct Audit {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Arc<Queue>,
    key: Hmac<Sha256>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Audit {
    /// Opens the sink. Never waits for a reader or a device.
    ///
    /// # Errors
    /// [`AuditOpenError`]: there is no sink, so there must be no start.
    pub fn open(settings: AuditSettings, metrics: AuditMetrics) -> Result<Self, AuditOpenError> {
        let key = key(settings.hmac_key)?;
        let sink = sink::Sink::open(settings.sink)?;
        let queue = Arc::new(Queue::new(Box::new(sink), settings.timeout, settings.queue_bytes, metrics));
        writer::start(&queue).map_err(AuditOpenError::Thread)?;
        Ok(Self { inner: Arc::new(Inner { queue, key }) })
    }

    /// Formats the record at once; the future resolves when the sink has the line.
    ///
    /// The timeout runs on the runtime's clock, and a paused one runs ahead while the writer thread works: tests that
    /// pause time use `/dev/null` or a file in `/dev/shm`, which need no thread.
    pub fn record(&self, record: &Record<'_>) -> Recording<'_> {
        self.inner.queue.record(record)
    }

    /// The fingerprint that goes into records about `value`.
    #[must_use]
    pub fn fingerprint(&self, value: &SecretValue) -> AuditFingerprint {
        let mut mac = self.inner.key.clone();
        mac.update(value.expose().as_bytes());
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        let mut short = [0; 16];
        short.copy_from_slice(digest.split_at(16).0);
        AuditFingerprint(short)
    }

    /// Opens the file again under its name (SIGHUP, after a rotation). If that fails, the old one stays in use and the
    /// log says so. Returns at once: the writer thread does it, between two lines.
    pub fn reopen(&self) {
        self.inner.queue.ask_to_reopen();
    }
}

fn key(configured: Option<Zeroizing<Vec<u8>>>) -> Result<Hmac<Sha256>, AuditOpenError> {
    let key = if let Some(key) = configured {
        key
    } else {
        let mut random = Zeroizing::new(vec![0_u8; 32]);
        getrandom::fill(&mut random).map_err(|_| AuditOpenError::Random)?;
        random
    };
    if key.len() < MIN_KEY_BYTES {
        return Err(AuditOpenError::WeakKey);
    }
    Hmac::new_from_slice(&key).map_err(|_| AuditOpenError::WeakKey)
}

/// Counters, resolved once: the hot path looks nothing up.
#[derive(Clone, Debug)]
pub struct AuditMetrics {
    records: Family<[(&'static str, &'static str); 1], Counter>,
    by_phase: [Counter; 3],
    failures: Counter,
    writes: Counter,
}

impl Default for AuditMetrics {
    fn default() -> Self {
        let records = Family::default();
        let by_phase = Phase::ALL.map(|phase| {
            let counter: &Counter = &records.get_or_create(&[("phase", phase.as_str())]);
            counter.clone()
        });
        Self { records, by_phase, failures: Counter::default(), writes: Counter::default() }
    }
}

impl AuditMetrics {
    /// Adds the families to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("audit_records", "Audit records that their requests waited for", self.records.clone());
        registry.register("audit_failures", "Audit records not written in time", self.failures.clone());
        registry.register("audit_writes", "Writes to the audit sink; one may carry many records", self.writes.clone());
    }

    /// Records written so far in `phase`.
    #[must_use]
    pub fn records(&self, phase: Phase) -> u64 {
        self.counter(phase).get()
    }

    /// Records refused so far.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.get()
    }

    /// Writes to the sink so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes.get()
    }

    fn counter(&self, phase: Phase) -> &Counter {
        let [attempt, outcome, served] = &self.by_phase;
        match phase {
            Phase::Attempt => attempt,
            Phase::Outcome => outcome,
            Phase::Served => served,
        }
    }
}
