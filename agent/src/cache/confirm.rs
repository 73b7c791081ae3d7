//! What a replica has answered, and a caller has reason to doubt, is asked of the copy that takes the writes.

use std::sync::Arc;

use super::entry::Served;
use super::flight::{Departures, Landing};
use super::{FORCED_INTERVAL, Inner};
use crate::access::ReadPermit;
use crate::backend::{BackendError, Freshness};
use crate::id::{Checksum, Location};

/// The first answer to a caller, and whether it is his last.
pub(super) struct First {
    pub(super) answer: Result<Served, BackendError>,
    doubted: bool,
}

impl First {
    /// An answer that is not doubted.
    pub(super) fn last(answer: Result<Served, BackendError>) -> Self {
        Self { answer, doubted: false }
    }
}

impl Inner {
    /// Waits for a fetch on behalf of a caller whose id carries `asked`.
    pub(super) async fn first(&self, landing: Landing, location: &Location, asked: &Checksum) -> First {
        let behind = landing.freshness == Freshness::Any && self.backend.has_replica();
        let answer = self.arrive(landing, location).await;
        let differs = match &answer {
            Ok(served) => served.entry.checksum() != asked,
            Err(error) => matches!(error, BackendError::Absent | BackendError::ScopeMissing),
        };
        First { doubted: behind && !asked.is_empty() && differs, answer }
    }

    /// Has doubted answers replaced, in one call to the backend.
    pub(super) async fn confirm(this: &Arc<Self>, firsts: &mut [First], wanted: &[(ReadPermit, Checksum)]) {
        // Registered and sent without a wait between: what is registered is waited for by others.
        let mut departures = Departures::default();
        let mut again = Vec::new();
        for (first, (permit, asked)) in firsts.iter_mut().zip(wanted).filter(|(first, _)| first.doubted) {
            match this.doubt(permit, asked, &mut departures) {
                None => {}
                Some(Ok(landing)) => again.push((first, permit.location(), landing)),
                Some(Err(error)) => first.answer = Err(error),
            }
        }
        Self::depart(this, departures);
        for (first, location, landing) in again {
            first.answer = this.arrive(landing, location).await;
        }
    }

    /// Joins or registers the fetch that settles a doubt; none where one was made a moment ago.
    fn doubt(
        &self,
        permit: &ReadPermit,
        asked: &Checksum,
        departures: &mut Departures,
    ) -> Option<Result<Landing, BackendError>> {
        let now = self.clock.now();
        if let Some(stored) = self.entries.get(permit.location()).filter(|stored| stored.is_current()) {
            if !self.flights.has_latest(permit.location()) && stored.is_settled(asked, now, FORCED_INTERVAL) {
                return None;
            }
            stored.settle(asked, now);
        }
        Some(self.board(permit, asked, Freshness::Latest, departures))
    }
}
