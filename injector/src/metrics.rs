//! The injector's metric families, with closed label sets.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_agent::metrics::ProcessCollector;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::certificate::serving::Serving;
use crate::watch::Tally;

/// From a pod without anything to one that barely arrives in time.
const BUCKETS: [f64; 10] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.1, 1.0, 5.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReviewLabels {
    decision: &'static str,
    reason: &'static str,
}

/// What reviews are counted by.
#[derive(Clone)]
pub struct ReviewMetrics {
    reviews: Family<ReviewLabels, Counter>,
    durations: Histogram,
}

impl Default for ReviewMetrics {
    fn default() -> Self {
        Self { reviews: Family::default(), durations: Histogram::new(BUCKETS) }
    }
}

impl ReviewMetrics {
    /// One review that was answered.
    pub fn observe(&self, decision: &'static str, reason: &'static str, took: Duration) {
        self.reviews.get_or_create(&ReviewLabels { decision, reason }).inc();
        self.durations.observe(took.as_secs_f64());
    }
}

/// All families.
#[must_use]
pub fn registry(reviews: &ReviewMetrics, serving: Arc<Serving>, tally: Arc<Tally>) -> Registry {
    let mut registry = Registry::default();
    let families = registry.sub_registry_with_prefix("cloakroom");
    let version = vec![("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    families.register("build", "The version that runs", Info::new(version));
    let families = families.sub_registry_with_prefix("injector");
    families.register("reviews", "Reviews by decision and its reason", reviews.reviews.clone());
    let help = "From the head of a review to its answer";
    families.register("review_duration_seconds", help, reviews.durations.clone());
    registry.register_collector(Box::new(Observed { serving, tally }));
    registry.register_collector(Box::new(ProcessCollector));
    registry
}

/// What is looked up at each scrape.
struct Observed {
    serving: Arc<Serving>,
    tally: Arc<Tally>,
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observed")
    }
}

impl Collector for Observed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some(validity) = self.serving.validity() {
            let left = validity.until - jiff::Timestamp::now().as_second();
            let help = "Seconds until the certificate that is served ends";
            let name = "cloakroom_injector_certificate_expiry";
            let family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
            ConstGauge::new(left).encode(family)?;
        }
        let help = "Pods that asked or had to be injected and are not; restart them";
        let name = "cloakroom_injector_uninjected_pods";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (namespace, count) in self.tally.counts() {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            ConstGauge::new(count).encode(family.encode_family(&[("namespace", namespace)])?)?;
        }
        Ok(())
    }
}
