//! Keeps the shared certificates alive: looks every few seconds, and does the one thing that is due.
//!
//! There is no leader. Every replica looks and plans alike, every write names the version that it was planned for, and
//! of two that write at once one is told so and looks again.

mod entries;
mod keeper;
mod sightings;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloakroom_agent::clock::{Clock, Moment};
use cloakroom_agent::kubernetes::CallError;

use crate::certificate::issue::IssueError;

pub use entries::Entries;
pub use keeper::{Keeper, Progress};

/// How long the serving authority may be missing from the webhook configuration before we call ourselves not ready. A
/// manifest that was re-applied is repaired in less, and taking every replica out of the Service would outlast it.
const MISSING_MAX: Duration = Duration::from_secs(30);

/// What is kept, by its names in the cluster.
#[derive(Clone, Debug)]
pub struct Names {
    /// The webhook configuration.
    pub configuration: String,
    /// The namespace of Secret and Service.
    pub namespace: String,
    /// The Secret.
    pub secret: String,
    /// The names in the leaf.
    pub hosts: Vec<String>,
}

/// Why a look ended without knowing that all is well.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The API server.
    #[error("{doing}")]
    Call {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: CallError,
    },
    /// It answered with a status that has no place there.
    #[error("{doing}: the API server answered {status}; the injector's role may be incomplete, or the object gone")]
    Status {
        /// What was tried.
        doing: &'static str,
        /// What it said.
        status: u16,
    },
    /// The webhook configuration has no entries.
    #[error("the webhook configuration has no entries")]
    NoEntries,
    /// Nothing could be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// Whether the API server can trust what we serve, as far as we have seen.
pub struct Publication {
    clock: Clock,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    ever: bool,
    missing_since: Option<Moment>,
    error: Option<String>,
}

impl Publication {
    /// Nothing has been seen yet.
    #[must_use]
    pub fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self { clock, seen: Mutex::default() })
    }

    /// Whether it is, or was until a moment ago.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let seen = self.lock();
        let now = self.clock.now();
        seen.ever && seen.missing_since.is_none_or(|since| now.since(since) <= MISSING_MAX)
    }

    /// What the last look failed with.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.lock().error.clone()
    }

    fn saw(&self, covered: bool) {
        let now = self.clock.now();
        let mut seen = self.lock();
        if covered {
            (seen.ever, seen.missing_since) = (true, None);
        } else {
            seen.missing_since.get_or_insert(now);
        }
    }

    fn tell(&self, error: Option<String>) -> bool {
        let mut seen = self.lock();
        let news = seen.error != error;
        seen.error = error;
        news
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
