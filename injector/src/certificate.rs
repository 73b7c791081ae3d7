//! The webhook's certificates: an authority of our own, leaves from it, and when each is made, served and forgotten.
//!
//! Nothing here talks to anybody: [`plan`] says what is due, [`issue`] makes it, and the state is a text that the
//! replicas share as one Secret.

pub mod files;
pub mod issue;
pub mod plan;
pub mod serving;
pub mod state;

#[cfg(test)]
mod tests;

use std::time::Duration;

/// How long what is made lives. What is due for renewal has a third of it left.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Of a leaf: as long as an injector may be cut off from the API server and still serve.
    pub leaf: Duration,
    /// Of an authority.
    pub authority: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { leaf: Duration::from_hours(14 * 24), authority: Duration::from_hours(365 * 24) }
    }
}

/// From when to when a certificate is good, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: i64,
    /// The last second.
    pub until: i64,
}

impl Validity {
    /// Whether it has not ended at `now`. Whether it has begun is for its reader's clock to say: ours may be behind, and
    /// must not throw away what is good for everybody else.
    #[must_use]
    pub fn lasts(self, now: i64) -> bool {
        now < self.until
    }
}

/// A name in DNS that the API server asks for when it calls a Service.
#[must_use]
pub fn service_names(service: &str, namespace: &str) -> Vec<String> {
    vec![format!("{service}.{namespace}.svc"), format!("{service}.{namespace}.svc.cluster.local")]
}
