//! Whether admissions would succeed here, and what `/status` says about it.

use std::sync::Arc;

use serde_json::json;

use crate::certificate::serving::Serving;
use crate::publish::Publication;
use crate::watch::Tally;

/// What readiness is made of. Settings are not among it: without them nothing runs.
pub struct Readiness {
    serving: Arc<Serving>,
    /// None where somebody else publishes.
    publication: Option<Arc<Publication>>,
    tally: Arc<Tally>,
}

impl Readiness {
    /// Of these.
    #[must_use]
    pub fn new(serving: Arc<Serving>, publication: Option<Arc<Publication>>, tally: Arc<Tally>) -> Arc<Self> {
        Arc::new(Self { serving, publication, tally })
    }

    /// Whether the certificate is good now, and the API server has been told to trust it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let now = jiff::Timestamp::now().as_second();
        self.serving.validity().is_some_and(|validity| validity.lasts(now))
            && self.publication.as_ref().is_none_or(|publication| publication.is_good())
    }

    /// The state as JSON, for people.
    #[must_use]
    pub fn status(&self) -> String {
        let until = self.serving.validity().and_then(|v| jiff::Timestamp::from_second(v.until).ok());
        let counts = self.tally.is_known().then(|| self.tally.counts());
        let hint = counts.as_ref().filter(|counts| !counts.is_empty()).map(|_| {
            "these pods asked for the agent or must have it, and were made without it: make them anew, for example by \
             kubectl -n NAMESPACE rollout restart deployment/NAME"
        });
        let certificate = json!({
            "until": until.map(|until| until.to_string()),
            "published": self.publication.as_ref().map(|publication| publication.is_good()),
            "error": self.publication.as_ref().and_then(|publication| publication.error()),
        });
        let status = json!({
            "version": env!("CARGO_PKG_VERSION"), "ready": self.is_ready(), "certificate": certificate,
            "uninjectedPods": counts, "hint": hint,
        });
        format!("{status:#}\n")
    }
}
