//! Figures of the cache: counters on its paths, and gauges that entries keep by living and dying.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// `cloakroom_cache_*`
#[derive(Clone, Debug, Default)]
pub struct CacheMetrics {
    pub(super) hits: Counter,
    pub(super) misses: Counter,
    pub(super) stale_hits: Counter,
    pub(super) evictions: Counter,
    pub(super) refreshes: Counter,
    gauges: Arc<Gauges>,
}

#[derive(Debug, Default)]
struct Gauges {
    entries: Gauge<i64, AtomicI64>,
    bytes: Gauge<i64, AtomicI64>,
}

/// The figures for `/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Values in memory.
    pub entries: i64,
    /// Their bytes.
    pub bytes: i64,
    /// Answers from memory.
    pub hits: u64,
    /// Questions that went to the backend.
    pub misses: u64,
    /// Answers past their time.
    pub stale_hits: u64,
    /// Values that made room.
    pub evictions: u64,
    /// Fetches ahead of need.
    pub refreshes: u64,
}

/// One value in memory, counted until it is dropped.
pub(super) struct Tally {
    gauges: Arc<Gauges>,
    bytes: i64,
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.gauges.entries.dec();
        self.gauges.bytes.dec_by(self.bytes);
    }
}

impl CacheMetrics {
    /// Adds the families to `registry`, which carries the prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("cache_hits", "Reads answered from memory", self.hits.clone());
        registry.register("cache_misses", "Reads that asked the backend", self.misses.clone());
        registry.register("cache_stale_hits", "Reads answered past their time", self.stale_hits.clone());
        registry.register("cache_evictions", "Entries that made room for others", self.evictions.clone());
        registry.register("cache_refreshes", "Fetches ahead of need", self.refreshes.clone());
        registry.register("cache_entries", "Values in memory", self.gauges.entries.clone());
        registry.register("cache_bytes", "Bytes of values and their keys", self.gauges.bytes.clone());
    }

    pub(super) fn tally(&self, bytes: usize) -> Tally {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.gauges.entries.inc();
        self.gauges.bytes.inc_by(bytes);
        Tally { gauges: Arc::clone(&self.gauges), bytes }
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            entries: self.gauges.entries.get(),
            bytes: self.gauges.bytes.get(),
            hits: self.hits.get(),
            misses: self.misses.get(),
            stale_hits: self.stale_hits.get(),
            evictions: self.evictions.get(),
            refreshes: self.refreshes.get(),
        }
    }
}
