//! What the cache keeps: a value or its absence, under which generation it was fetched, and who doubted it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::metrics::Tally;
use super::slot::SlotState;
use crate::audit::AuditFingerprint;
use crate::backend::{BackendError, Fetched, WatchHealth};
use crate::clock::Moment;
use crate::id::Checksum;
use crate::json;
use crate::secret::SecretValue;

/// Checksums of which it is known that they do not match. More than this are asked again, at their rate.
const SETTLED_MAX: usize = 8;

/// A value, once, however many answers are made from it.
pub struct Entry {
    value: SecretValue,
    checksum: Checksum,
    /// Bytes of the value as the content of a JSON string, counted once.
    encoded_len: usize,
    fingerprint: OnceLock<AuditFingerprint>,
    watch: Option<Arc<WatchHealth>>,
    _tally: Tally,
}

impl Entry {
    pub(super) fn new(fetched: Fetched, tally: Tally) -> Self {
        let Fetched { value, checksum, watch, .. } = fetched;
        let encoded_len = json::escaped_len(value.expose());
        Self { value, checksum, encoded_len, fingerprint: OnceLock::new(), watch, _tally: tally }
    }

    /// Whether the backend would tell of changes by a watch, and does not: the value only lives out its time.
    #[must_use]
    pub fn is_unwatched(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| !watch.is_live())
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &SecretValue {
        &self.value
    }

    /// Its fingerprint for ids.
    #[must_use]
    pub fn checksum(&self) -> &Checksum {
        &self.checksum
    }

    /// How long the value is as the content of a JSON string; as long as it is where nothing needs an escape.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// Its fingerprint for the record, worked out once: a HMAC over the value is the costliest part of a cached read.
    pub fn audit_fingerprint(&self, make: impl FnOnce(&SecretValue) -> AuditFingerprint) -> &AuditFingerprint {
        self.fingerprint.get_or_init(|| make(&self.value))
    }
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Memory, within its time.
    Cache,
    /// The backend, for this request or one beside it.
    Backend,
    /// Memory, past its time, because the backend is unavailable.
    Stale,
}

/// A value on its way into an answer.
#[derive(Clone)]
pub struct Served {
    /// The value.
    pub entry: Arc<Entry>,
    /// Where it came from.
    pub source: Source,
    /// How long ago its fetch began.
    pub age: Duration,
    /// How long it stays fresh.
    pub ttl_left: Duration,
    /// Whether it was kept for the next request.
    pub stored: bool,
}

impl Served {
    pub(super) fn from_memory(entry: &Arc<Entry>, age: Duration, ttl_left: Duration) -> Self {
        Self { entry: Arc::clone(entry), source: Source::Cache, age, ttl_left, stored: true }
    }
}

/// One line of the cache.
pub(super) struct Stored {
    found: Result<Arc<Entry>, BackendError>,
    slot: Arc<SlotState>,
    generation: u64,
    /// Since when it is known: the value may have changed since then.
    fetched: Moment,
    /// Orders fetches of one generation.
    pub(super) sequence: u64,
    pub(super) refresh_at: Moment,
    /// Made with the first doubt: most values have none.
    doubts: Mutex<Option<Box<Doubts>>>,
}

/// Who asked with a checksum that does not match.
#[derive(Clone, Default)]
struct Doubts {
    settled: VecDeque<Checksum>,
    last_forced: Option<Moment>,
}

/// How a fetch began.
#[derive(Clone)]
pub(super) struct Fetch {
    pub(super) slot: Arc<SlotState>,
    pub(super) generation: u64,
    pub(super) began: Moment,
    pub(super) sequence: u64,
}

impl Stored {
    /// What a fetch found, true since `fetched`.
    pub(super) fn new(
        found: Result<Arc<Entry>, BackendError>,
        fetch: &Fetch,
        fetched: Moment,
        refresh_at: Moment,
    ) -> Self {
        Self {
            found,
            slot: Arc::clone(&fetch.slot),
            generation: fetch.generation,
            fetched,
            sequence: fetch.sequence,
            refresh_at,
            doubts: Mutex::default(),
        }
    }

    pub(super) fn found(&self) -> Result<&Arc<Entry>, BackendError> {
        self.found.as_ref().map_err(|error| *error)
    }

    /// Whether no write of the slot has begun or ended since the fetch began.
    pub(super) fn is_current(&self) -> bool {
        self.generation == self.slot.generation()
    }

    pub(super) fn age(&self, now: Moment) -> Duration {
        now.since(self.fetched)
    }

    pub(super) fn value_len(&self) -> usize {
        self.found.as_ref().map_or(0, |entry| entry.value.len() + entry.checksum.as_str().len())
    }

    /// Whether the backend need not be asked about `asked`: it was, or something else was a moment ago.
    pub(super) fn is_settled(&self, asked: &Checksum, now: Moment, interval: Duration) -> bool {
        let doubts = self.doubts();
        let Some(doubts) = &*doubts else { return false };
        doubts.settled.contains(asked) || doubts.last_forced.is_some_and(|last| now.since(last) < interval)
    }

    /// Notes that the backend is asked about `asked` now.
    pub(super) fn settle(&self, asked: &Checksum, now: Moment) {
        let mut doubts = self.doubts();
        let doubts = doubts.get_or_insert_default();
        if doubts.settled.contains(asked) {
            return;
        }
        if doubts.settled.len() == SETTLED_MAX {
            doubts.settled.pop_front();
        }
        doubts.settled.push_back(asked.clone());
        doubts.last_forced = Some(now);
    }

    /// Takes the note back: the backend could not be asked.
    pub(super) fn unsettle(&self, asked: &Checksum) {
        if let Some(doubts) = &mut *self.doubts() {
            doubts.settled.retain(|settled| settled != asked);
        }
    }

    /// Takes over what was known of an earlier fetch: all of it while the value is the same, else only when the backend
    /// was last asked.
    pub(super) fn inherit(&self, earlier: &Self) {
        let Some(mut doubts) = earlier.doubts().clone() else { return };
        if self.found.is_err() || self.differs(earlier) {
            doubts.settled.clear();
        }
        *self.doubts() = Some(doubts);
    }

    /// Whether another fetch has found something else.
    pub(super) fn differs(&self, earlier: &Self) -> bool {
        match (&self.found, &earlier.found) {
            (Ok(new), Ok(old)) => new.checksum != old.checksum,
            (Err(_), Err(_)) => false,
            _ => true,
        }
    }

    fn doubts(&self) -> std::sync::MutexGuard<'_, Option<Box<Doubts>>> {
        // A list of checksums: whatever a panic left of it is still one.
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
