//! When our own tokens end, as a metric: read at each scrape from the tokens that are in use.

use std::fmt;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Asks the owner of a token when it ends; none where nobody knows.
type Ends = Box<dyn Fn() -> Option<Timestamp> + Send + Sync>;

/// `cloakroom_token_expiry_seconds{token}`: seconds that are left, less than nothing once it has ended.
#[derive(Default)]
pub struct TokenExpiry(Vec<(&'static str, Ends)>);

impl TokenExpiry {
    /// One more token, by its label.
    pub fn add(&mut self, token: &'static str, ends: impl Fn() -> Option<Timestamp> + Send + Sync + 'static) {
        self.0.push((token, Box::new(ends)));
    }
}

impl fmt::Debug for TokenExpiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenExpiry")
    }
}

impl Collector for TokenExpiry {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = Timestamp::now().as_second();
        // A token that does not say when it ends has no figure, and without any there is no family.
        let known = self.0.iter().filter_map(|(token, ends)| Some((*token, ends()?.as_second() - now)));
        let known: Vec<(&str, i64)> = known.collect();
        if known.is_empty() {
            return Ok(());
        }
        let help = "Seconds until a token that the agent uses ends";
        let mut family =
            encoder.encode_descriptor("cloakroom_token_expiry", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for (token, left) in known {
            ConstGauge::new(left).encode(family.encode_family(&[("token", token)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    fn text(expiry: TokenExpiry) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register_collector(Box::new(expiry));
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn all_tokens_are_in_one_family_and_those_without_an_end_are_left_out() {
        let mut expiry = TokenExpiry::default();
        expiry.add("kube", || Some(Timestamp::now() + 3600.seconds()));
        expiry.add("other", || None);
        expiry.add("conjur", || Some(Timestamp::now() - 60.seconds()));
        let text = text(expiry);
        assert_eq!(text.matches("# TYPE cloakroom_token_expiry_seconds gauge").count(), 1, "{text}");
        let left = |token: &str| -> i64 {
            let line = format!("cloakroom_token_expiry_seconds{{token=\"{token}\"}} ");
            text.lines().find_map(|found| found.strip_prefix(&line)).unwrap().parse().unwrap()
        };
        assert!((3590..=3600).contains(&left("kube")), "{text}");
        assert!((-70..=-60).contains(&left("conjur")), "{text}");
        assert!(!text.contains("other"), "{text}");
    }

    #[test]
    fn without_a_token_there_is_no_family() {
        assert!(!text(TokenExpiry::default()).contains("token_expiry"));
    }
}
