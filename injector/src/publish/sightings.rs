//! Since when an authority has been in every entry, and when a repair is ours to make.

use std::time::Duration;

use cloakroom_agent::clock::{Clock, Moment};
use jiff::Timestamp;

use super::entries::Mark;
use crate::certificate::state::Digest;

/// API servers hear of a changed webhook configuration by a watch. This is far more than that takes.
const KNOWN: Duration = Duration::from_mins(1);

/// Between two repairs. Who writes an empty bundle again and again is not written against more often than this.
const BETWEEN_REPAIRS: Duration = Duration::from_mins(1);

/// What this replica has seen with its own eyes.
pub(super) struct Sightings {
    clock: Clock,
    seen: Option<(Digest, Moment)>,
    complete: Option<String>,
    repaired: Option<Moment>,
}

impl Sightings {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, seen: None, complete: None, repaired: None }
    }

    /// One look at the entries: whether the authority is in all of them, and has been for long enough.
    pub(super) fn confirm(&mut self, authority: Option<Digest>, everywhere: bool) -> bool {
        let now = self.clock.now();
        let since = match (authority, self.seen) {
            (Some(digest), Some((seen, since))) if everywhere && seen == digest => Some((digest, since)),
            (Some(digest), _) if everywhere => Some((digest, now)),
            _ => None,
        };
        self.seen = since;
        since.is_some_and(|(_, since)| now.since(since) >= KNOWN)
    }

    /// The bundle with this digest is in every entry.
    pub(super) fn complete(&mut self, digest: &str) {
        if self.complete.as_deref() != Some(digest) {
            self.complete = Some(digest.to_owned());
        }
    }

    /// Whether writing the bundle with this digest would put something back that was there before.
    pub(super) fn is_repair(&self, digest: &str, mark: Option<&Mark>) -> bool {
        self.complete.as_deref() == Some(digest) || mark.is_some_and(|mark| mark.digest == digest)
    }

    /// Whether a repair may be made now. The mark is what another replica says about its own.
    pub(super) fn may_repair(&self, mark: Option<&Mark>, wall: Timestamp) -> bool {
        let recent = |repaired: Timestamp| {
            let passed = wall.duration_since(repaired);
            // A time in the future is no time of ours.
            !passed.is_negative() && passed.unsigned_abs() < BETWEEN_REPAIRS
        };
        let elsewhere = mark.and_then(|mark| mark.repaired).is_some_and(recent);
        let here = self.repaired.is_some_and(|repaired| self.clock.now().since(repaired) < BETWEEN_REPAIRS);
        !elsewhere && !here
    }

    /// A repair was made by us.
    pub(super) fn repaired(&mut self) {
        self.repaired = Some(self.clock.now());
    }
}
