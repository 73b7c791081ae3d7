//! When our token ends, as a metric: read at each scrape from the token that is in use.

use std::fmt;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::ApiServer;

/// `cloakroom_token_expiry_seconds{token="kube"}`: seconds that are left, less than nothing once it has ended.
pub struct TokenExpiry(pub ApiServer);

impl fmt::Debug for TokenExpiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenExpiry")
    }
}

impl Collector for TokenExpiry {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // A token that does not say when it ends has no figure.
        let Some(expiry) = self.0.token_expiry() else { return Ok(()) };
        let left = ConstGauge::new(expiry.as_second() - Timestamp::now().as_second());
        let help = "Seconds until the token for the API server ends";
        let mut family =
            encoder.encode_descriptor("cloakroom_token_expiry", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        left.encode(family.encode_family(&[("token", "kube")])?)
    }
}
