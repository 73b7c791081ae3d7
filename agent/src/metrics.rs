//! Metric families of requests, decisions and backend calls, with closed label sets; other modules bring their own.

mod expiry;
mod process;

use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::api::ApiOperation;

pub use expiry::TokenExpiry;
pub use process::ProcessCollector;

/// Seconds. From a cached read (tens of microseconds) to a policy load (minutes).
const BUCKETS: [f64; 13] = [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BackendLabels {
    backend: &'static str,
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BackendDurationLabels {
    backend: &'static str,
    operation: &'static str,
}

/// The families that more than one module feeds.
#[derive(Clone)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<OperationLabels, Histogram>,
    backend_requests: Family<BackendLabels, Counter>,
    backend_durations: Family<BackendDurationLabels, Histogram, fn() -> Histogram>,
    backend_up: Gauge<u32, AtomicU32>,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram as fn() -> Histogram),
            backend_requests: Family::default(),
            backend_durations: Family::new_with_constructor(histogram),
            backend_up: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Adds the families to `registry`, which carries the prefix `cloakroom`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "build",
            "The version that runs",
            Info::new(vec![("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
        );
        registry.register("requests", "Requests by operation and status code", self.requests.clone());
        registry.register(
            "request_duration_seconds",
            "From the head of a request to its answer",
            self.durations.clone(),
        );
        registry.register("backend_requests", "Calls to the backend", self.backend_requests.clone());
        registry.register(
            "backend_request_duration_seconds",
            "How long the backend took",
            self.backend_durations.clone(),
        );
        registry.register("backend_up", "Whether the last call was answered", self.backend_up.clone());
    }

    /// Handles for the hot path, resolved once.
    #[must_use]
    pub fn requests(&self) -> RequestMetrics {
        let ok = |operation: ApiOperation| {
            let labels = RequestLabels { operation: operation.as_str(), code: 200 };
            self.requests.get_or_create(&labels).clone()
        };
        let duration = |operation: ApiOperation| {
            self.durations.get_or_create(&OperationLabels { operation: operation.as_str() }).clone()
        };
        RequestMetrics {
            ok: ApiOperation::ALL.map(ok),
            durations: ApiOperation::ALL.map(duration),
            requests: self.requests.clone(),
        }
    }

    /// One call to the backend.
    pub fn observe_backend(
        &self,
        backend: &'static str,
        operation: &'static str,
        outcome: &'static str,
        answered: bool,
        took: Duration,
    ) {
        self.backend_requests.get_or_create(&BackendLabels { backend, operation, outcome }).inc();
        self.backend_durations.get_or_create(&BackendDurationLabels { backend, operation }).observe(took.as_secs_f64());
        self.backend_up.set(u32::from(answered));
    }
}

/// Counts requests without looking a label up where the answer is 200.
pub struct RequestMetrics {
    ok: [Counter<u64, AtomicU64>; ApiOperation::ALL.len()],
    durations: [Histogram; ApiOperation::ALL.len()],
    requests: Family<RequestLabels, Counter>,
}

impl RequestMetrics {
    /// One request that was answered.
    pub fn observe(&self, operation: ApiOperation, status: StatusCode, took: Duration) {
        let index = operation as usize;
        match self.ok.get(index) {
            Some(counter) if status == StatusCode::OK => {
                counter.inc();
            }
            _ => {
                let labels = RequestLabels { operation: operation.as_str(), code: status.as_u16() };
                self.requests.get_or_create(&labels).inc();
            }
        }
        if let Some(histogram) = self.durations.get(index) {
            histogram.observe(took.as_secs_f64());
        }
    }
}
