//! Fetches under way: who may join one, and how it ends for all who wait.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Inner;
use super::entry::{Entry, Fetch, Served, Source, Stored};
use crate::access::ReadPermit;
use crate::backend::{BackendError, Fetched, Freshness};
use crate::clock::Moment;
use crate::id::{Checksum, Location};

/// Fetches at one time. Beyond it the backend is not what is slow.
const FLIGHTS_MAX: usize = 1024;

/// What a fetch ended with, for everybody who waited.
#[derive(Clone)]
struct Outcome {
    found: Result<Arc<Entry>, BackendError>,
    since: Moment,
    stored: bool,
}

/// Where a reader waits.
pub(super) struct Landing {
    outcome: watch::Receiver<Option<Outcome>>,
    /// Of the fetch.
    pub(super) freshness: Freshness,
    /// The checksum whose doubt began this fetch, to be asked again should the fetch fail.
    doubted: Option<Checksum>,
}

struct Flight {
    fetch: Fetch,
    freshness: Freshness,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// Fetches that are registered and not yet sent.
#[derive(Default)]
pub(super) struct Departures {
    any: Passengers,
    latest: Passengers,
}

/// What one call to the backend fetches, and who is told of it, in the same order.
#[derive(Default)]
struct Passengers {
    permits: Vec<ReadPermit>,
    told: Vec<(Fetch, watch::Sender<Option<Outcome>>)>,
}

impl Passengers {
    fn each(&self) -> impl Iterator<Item = (&Location, &Fetch, &watch::Sender<Option<Outcome>>)> {
        self.permits.iter().zip(&self.told).map(|(permit, (fetch, told))| (permit.location(), fetch, told))
    }
}

#[derive(Default)]
pub(super) struct Flights {
    under_way: Mutex<HashMap<Location, Flight>>,
    sequence: AtomicU64,
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<Location, Flight>> {
        self.under_way.lock().unwrap_or_else(|poisoned| {
            // Whoever waits is told by its own channel; nobody joins what a panic has touched.
            let mut flights = poisoned.into_inner();
            flights.clear();
            self.under_way.clear_poison();
            flights
        })
    }

    /// Whether a fetch from the copy that takes the writes is under way and may be joined.
    pub(super) fn has_latest(&self, location: &Location) -> bool {
        self.lock().get(location).is_some_and(|flight| flight.freshness == Freshness::Latest && flight.is_current())
    }
}

impl Flight {
    fn is_current(&self) -> bool {
        self.fetch.generation == self.fetch.slot.generation()
    }
}

impl Inner {
    /// Joins the fetch of `permit`'s secret that is under way, or registers one.
    pub(super) fn board(
        &self,
        permit: &ReadPermit,
        asked: &Checksum,
        freshness: Freshness,
        departures: &mut Departures,
    ) -> Result<Landing, BackendError> {
        let location = permit.location();
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(location)
            // N7: a fetch that began before a write began or ended may bring what the write has replaced.
            && flight.is_current()
            && (freshness == Freshness::Any || flight.freshness == Freshness::Latest)
        {
            return Ok(Landing { outcome: flight.outcome.clone(), freshness: flight.freshness, doubted: None });
        }
        if flights.len() >= FLIGHTS_MAX {
            return Err(BackendError::Unavailable { retry_after: Duration::from_secs(1) });
        }
        let slot = self.slots.of(location);
        let sequence = self.flights.sequence.fetch_add(1, Ordering::Relaxed);
        let fetch = Fetch { generation: slot.generation(), slot, began: self.clock.now(), sequence };
        let (sender, receiver) = watch::channel(None);
        flights.insert(location.clone(), Flight { fetch: fetch.clone(), freshness, outcome: receiver.clone() });
        let doubted = (freshness == Freshness::Latest).then(|| asked.clone());
        let passengers = match freshness {
            Freshness::Any => &mut departures.any,
            Freshness::Latest => &mut departures.latest,
        };
        passengers.permits.push(permit.share());
        passengers.told.push((fetch, sender));
        Ok(Landing { outcome: receiver, freshness, doubted })
    }

    /// Sends what was registered, in one call to the backend for each kind of freshness.
    pub(super) fn depart(this: &Arc<Self>, departures: Departures) {
        for (passengers, freshness) in [(departures.any, Freshness::Any), (departures.latest, Freshness::Latest)] {
            if !passengers.permits.is_empty() {
                let inner = Arc::clone(this);
                (this.spawner)(Box::pin(async move { inner.fly(passengers, freshness).await }));
            }
        }
    }

    async fn fly(&self, passengers: Passengers, freshness: Freshness) {
        // Should the backend panic, the flights leave the map with this guard, and the senders with the passengers.
        let guard = Grounding { inner: self, passengers: &passengers };
        let mut results = self.backend.fetch(&passengers.permits, freshness).await.into_iter();
        for (location, fetch, told) in guard.passengers.each() {
            let result = results.next().unwrap_or(Err(BackendError::Misbehaved));
            let outcome = self.land(location, fetch, result);
            told.send_replace(Some(outcome));
        }
    }

    /// Ends one fetch: keeps what may be kept.
    fn land(&self, location: &Location, fetch: &Fetch, result: Result<Fetched, BackendError>) -> Outcome {
        // A backend that watches knows it from before; no backend knows it from after the fetch began.
        let since = result.as_ref().ok().and_then(|fetched| fetched.as_of);
        let since = since.map_or(fetch.began, |since| since.min(fetch.began));
        let found = result.map(|fetched| {
            let bytes = location.as_str().len() + fetched.value.len();
            Arc::new(Entry::new(fetched, self.metrics.tally(bytes)))
        });
        let keeps = match &found {
            Ok(_) => !self.settings.ttl.is_zero(),
            Err(BackendError::Absent | BackendError::ScopeMissing) => {
                !self.settings.ttl.is_zero() && !self.settings.negative_ttl.is_zero()
            }
            // A failure says nothing about the secret.
            Err(_) => false,
        };
        // Under this lock, so that of two fetches of one generation the later one stays.
        let mut flights = self.flights.lock();
        if flights.get(location).is_some_and(|flight| flight.fetch.sequence == fetch.sequence) {
            flights.remove(location);
        }
        let earlier = keeps.then(|| self.entries.get(location)).flatten().filter(|stored| stored.is_current());
        let overtaken = earlier.as_ref().is_some_and(|stored| stored.sequence > fetch.sequence);
        if keeps && !overtaken {
            let stored = Stored::new(found.clone(), fetch, since, self.refresh_at(location, fetch, since));
            if let Some(earlier) = earlier {
                stored.inherit(&earlier);
                if stored.differs(&earlier) {
                    self.followers.differs(location);
                }
            }
            self.entries.insert(location.clone(), Arc::new(stored));
        } else if found.as_ref().is_err_and(|error| *error == BackendError::Denied) {
            // The backend's own rules have changed: what it let us read before is not ours to serve any more.
            self.entries.invalidate(location);
        }
        Outcome { found, since, stored: keeps && !overtaken }
    }

    /// Waits for a fetch. Where it fails because the backend is unavailable, and only then, an older value may do.
    pub(super) async fn arrive(&self, mut landing: Landing, location: &Location) -> Result<Served, BackendError> {
        let outcome = match landing.outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            // The fetch died without an outcome.
            Err(_closed) => None,
        };
        let Some(outcome) = outcome else { return Err(BackendError::Misbehaved) };
        let now = self.clock.now();
        let age = now.since(outcome.since);
        match outcome.found {
            Ok(entry) => Ok(Served {
                entry,
                source: Source::Backend,
                age,
                ttl_left: self.settings.ttl.saturating_sub(age),
                stored: outcome.stored,
            }),
            Err(error) => {
                if let Some(asked) = &landing.doubted
                    && let Some(stored) = self.entries.get(location)
                {
                    stored.unsettle(asked);
                }
                self.stale(location, now, error, landing.doubted.is_some())
            }
        }
    }

    fn stale(
        &self,
        location: &Location,
        now: Moment,
        error: BackendError,
        doubted: bool,
    ) -> Result<Served, BackendError> {
        let unavailable = matches!(error, BackendError::Unavailable { .. });
        // Who has reason to know of a newer value gets it or the error, never the old one.
        if !unavailable || doubted || self.settings.stale_if_error.is_zero() {
            return Err(error);
        }
        let limit = self.settings.ttl + self.settings.stale_if_error;
        let stored = self.entries.get(location).filter(|stored| stored.is_current() && stored.age(now) < limit);
        let Some(stored) = stored else { return Err(error) };
        let Ok(entry) = stored.found() else { return Err(error) };
        self.metrics.stale_hits.inc();
        Ok(Served {
            entry: Arc::clone(entry),
            source: Source::Stale,
            age: stored.age(now),
            ttl_left: Duration::ZERO,
            stored: true,
        })
    }

    /// Fetches ahead of need what is near the end of its time and still asked for.
    pub(super) fn refresh(self: &Arc<Self>, permit: &ReadPermit) {
        let mut departures = Departures::default();
        // A refusal for want of room is no loss: the value is still fresh.
        if self.board(permit, &Checksum::default(), Freshness::Any, &mut departures).is_ok()
            && !departures.any.permits.is_empty()
        {
            self.metrics.refreshes.inc();
            Self::depart(self, departures);
        }
    }

    /// When to refresh: within the last part of the time to live, at a moment that differs from secret to secret, so
    /// that what was read together is not fetched together for ever.
    fn refresh_at(&self, location: &Location, fetch: &Fetch, since: Moment) -> Moment {
        let mut hasher = DefaultHasher::new();
        location.hash(&mut hasher);
        fetch.sequence.hash(&mut hasher);
        let jitter = f64::from(u32::try_from(hasher.finish() >> 32).unwrap_or_default()) / f64::from(u32::MAX);
        let ahead = self.settings.refresh_ahead.clamp(0.0, 1.0) * (0.5 + 0.5 * jitter);
        since + self.settings.ttl.mul_f64(1.0 - ahead)
    }
}

/// Takes the flights of a fetch that never ended out of the map.
struct Grounding<'a> {
    inner: &'a Inner,
    passengers: &'a Passengers,
}

impl Drop for Grounding<'_> {
    fn drop(&mut self) {
        let mut flights = self.inner.flights.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        for (location, fetch, _) in self.passengers.each() {
            if flights.get(location).is_some_and(|flight| flight.fetch.sequence == fetch.sequence) {
                flights.remove(location);
            }
        }
    }
}
