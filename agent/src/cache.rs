//! Freshness: which value may be answered from memory, who waits for whom, and what a write makes invalid (N3, N7).
//!
//! Every slot has a generation. A write moves it before and after it calls the backend, whatever comes of the call. What
//! a fetch brought may be served, and a reader may join a fetch, only under the generation that the fetch began with.
//! From that alone it follows that after an acknowledged write nothing older is answered, and it does not matter whether
//! the write succeeded, failed, or is unknown.

mod confirm;
mod entry;
mod flight;
mod follow;
mod metrics;
mod slot;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{OnboardPermit, ReadPermit, WritePermit};
use crate::backend::{Backend, BackendError, Entries, Freshness, Guard, Put, Written};
use crate::clock::{Clock, Moment};
use crate::id::{Checksum, Location, Scope};
use crate::slots::{OnboardRequest, OnboardedItem};

use confirm::First;
use entry::Stored;
pub use entry::{Entry, Served, Source};
use flight::{Flights, Landing};
pub use follow::{Follower, Missed, News};
use follow::{Followers, Stirred, Stirring};
pub use metrics::{CacheMetrics, Counters};
use slot::SlotStates;

/// Runs work that outlives the request that began it.
pub type Spawner = Arc<dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync>;

/// At most one refetch for a checksum that does not match, per secret and in this time.
const FORCED_INTERVAL: Duration = Duration::from_secs(1);

/// Limits and times of the cache.
#[derive(Clone, Copy, Debug)]
pub struct CacheSettings {
    /// Bytes of values and their keys.
    pub max_bytes: u64,
    /// Entries.
    pub max_entries: u64,
    /// How long a value is fresh; zero turns the cache off.
    pub ttl: Duration,
    /// How long an absence is believed.
    pub negative_ttl: Duration,
    /// How long after its time a value may be served when the backend is unavailable; zero never.
    pub stale_if_error: Duration,
    /// In which last part of its time a value that is asked for is fetched again, ahead of need.
    pub refresh_ahead: f64,
}

/// The cache of one agent, in front of its backend; clones share it.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    settings: CacheSettings,
    clock: Clock,
    backend: Arc<dyn Backend>,
    spawner: Spawner,
    /// W-TinyLFU: a flood of ids that are asked for once does not push out what is asked for often.
    entries: moka::sync::Cache<Location, Arc<Stored>>,
    slots: SlotStates,
    flights: Flights,
    followers: Followers,
    metrics: CacheMetrics,
}

/// What memory has to say about a request.
enum Known {
    /// The answer, and whether it is time to fetch it again.
    Answer(Result<Served, BackendError>, bool),
    /// Ask the backend.
    Unknown,
    /// There is a value, and the caller has reason to believe in another one.
    Differs(Arc<Stored>),
}

/// How a request is answered.
enum Place {
    /// From memory.
    Known(Served),
    /// By a fetch that is under way.
    Coming(Landing),
}

impl Cache {
    /// An empty cache in front of `backend`. Fetches run on `spawner`, so that no caller's leaving can end them.
    #[must_use]
    pub fn new(
        settings: CacheSettings,
        clock: Clock,
        backend: Arc<dyn Backend>,
        spawner: Spawner,
        metrics: CacheMetrics,
    ) -> Self {
        let smallest = settings.max_bytes.div_ceil(settings.max_entries.max(1));
        let evictions = metrics.evictions.clone();
        let entries = moka::sync::Cache::builder()
            .max_capacity(settings.max_bytes)
            // One bound for both limits: an entry weighs at least its share of the bytes.
            .weigher(move |location: &Location, stored: &Arc<Stored>| {
                let bytes = (location.as_str().len() + stored.value_len()) as u64;
                u32::try_from(bytes.max(smallest)).unwrap_or(u32::MAX)
            })
            // Only to forget values that nobody asks for any more; whether one may be served is decided on our clock.
            .time_to_live(settings.ttl.max(settings.negative_ttl) + settings.stale_if_error)
            .eviction_listener(move |_, _, cause| {
                if cause == moka::notification::RemovalCause::Size {
                    evictions.inc();
                }
            })
            .build();
        let inner = Inner {
            settings,
            clock,
            backend,
            spawner,
            entries,
            slots: SlotStates::default(),
            flights: Flights::default(),
            followers: Followers::default(),
            metrics,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The answer, if memory has it. Never waits.
    #[must_use]
    pub fn peek(&self, permit: &ReadPermit, asked: &Checksum) -> Option<Result<Served, BackendError>> {
        match self.inner.known(permit.location(), asked) {
            Known::Answer(answer, due) => {
                self.inner.metrics.hits.inc();
                if due {
                    self.inner.refresh(permit);
                }
                Some(answer)
            }
            Known::Unknown | Known::Differs(_) => None,
        }
    }

    /// The answer, from memory or from the backend.
    ///
    /// # Errors
    /// The backend's.
    pub async fn get(&self, permit: ReadPermit, asked: Checksum) -> Result<Served, BackendError> {
        let mut departures = flight::Departures::default();
        let place = self.inner.serve(&permit, &asked, &mut departures)?;
        Inner::depart(&self.inner, departures);
        let landing = match place {
            Place::Known(served) => return Ok(served),
            Place::Coming(landing) => landing,
        };
        let mut first = [self.inner.first(landing, permit.location(), &asked).await];
        Inner::confirm(&self.inner, &mut first, &[(permit, asked)]).await;
        let [first] = first;
        first.answer
    }

    /// As [`Cache::get`] for several, in order, with one call to the backend for all that is not known.
    pub async fn get_many(&self, wanted: Vec<(ReadPermit, Checksum)>) -> Vec<Result<Served, BackendError>> {
        let mut departures = flight::Departures::default();
        let places: Vec<_> =
            wanted.iter().map(|(permit, asked)| self.inner.serve(permit, asked, &mut departures)).collect();
        Inner::depart(&self.inner, departures);
        let mut firsts = Vec::with_capacity(places.len());
        for (place, (permit, asked)) in places.into_iter().zip(&wanted) {
            firsts.push(match place {
                Ok(Place::Known(served)) => First::last(Ok(served)),
                Ok(Place::Coming(landing)) => self.inner.first(landing, permit.location(), asked).await,
                Err(error) => First::last(Err(error)),
            });
        }
        Inner::confirm(&self.inner, &mut firsts, &wanted).await;
        firsts.into_iter().map(|first| first.answer).collect()
    }

    /// Writes one secret.
    ///
    /// # Errors
    /// The backend's.
    pub async fn put(&self, permit: &WritePermit, put: Put) -> Result<Written, BackendError> {
        let location = permit.location();
        let kept = put.keep_previous.as_ref().map(|slot| location.sibling(slot));
        let places = [Some(location), kept.as_ref()];
        // Dropped after the generations have moved, since what is declared last is dropped first.
        let _stirring = places.map(|place| place.map(|place| self.inner.stirring(Stirred::Slot(place))));
        let [moving, keeping] = places.map(|place| place.map(|place| self.inner.invalidate(place)));
        let written = self.inner.backend.put(permit, put).await;
        let [ended, kept_ended] = [moving, keeping].map(|moving| moving.and_then(slot::Moving::end));
        if let (Ok(written), Some(generation)) = (&written, ended) {
            self.inner.followers.tell(location, generation, Some(&written.checksum));
        }
        if let (Ok(Written { previous: Some(previous), .. }), Some(kept), Some(generation)) =
            (&written, &kept, kept_ended)
        {
            self.inner.followers.tell(kept, generation, Some(previous));
        }
        written
    }

    /// Writes entries of one map slot.
    ///
    /// # Errors
    /// The backend's.
    pub async fn put_entries(&self, permit: &WritePermit, entries: Entries) -> Result<Vec<Checksum>, BackendError> {
        let slot = permit.location();
        let places = entries.iter().map(|(key, _)| slot.entry(key)).collect::<Vec<_>>();
        let _stirring = self.inner.stirring(Stirred::Slot(slot));
        let moving = self.inner.invalidate(slot);
        for place in &places {
            self.inner.entries.invalidate(place);
        }
        let written = self.inner.backend.put_entries(permit, entries).await;
        if let (Ok(checksums), Some(generation)) = (&written, moving.end()) {
            for (place, checksum) in places.iter().zip(checksums) {
                self.inner.followers.tell(place, generation, Some(checksum));
            }
        }
        written
    }

    /// Deletes one secret.
    ///
    /// # Errors
    /// The backend's.
    pub async fn delete(&self, permit: &WritePermit, guard: Guard) -> Result<(), BackendError> {
        let location = permit.location();
        let _stirring = self.inner.stirring(Stirred::Slot(location));
        let moving = self.inner.invalidate(location);
        let deleted = self.inner.backend.delete(permit, guard).await;
        if let (Ok(()), Some(generation)) = (&deleted, moving.end()) {
            self.inner.followers.tell(location, generation, None);
        }
        deleted
    }

    /// Creates or updates a scope.
    ///
    /// # Errors
    /// The backend's.
    pub async fn onboard(
        &self,
        permit: &OnboardPermit,
        request: OnboardRequest,
    ) -> Result<Vec<OnboardedItem>, BackendError> {
        let _stirring = self.inner.stirring(Stirred::Scope(permit.scope()));
        let _moved = self.inner.invalidate_scope(permit.scope());
        self.inner.backend.onboard(permit, request).await
    }

    /// Deletes a scope.
    ///
    /// # Errors
    /// The backend's.
    pub async fn offboard(&self, permit: &OnboardPermit) -> Result<(), BackendError> {
        let _stirring = self.inner.stirring(Stirred::Scope(permit.scope()));
        let _moved = self.inner.invalidate_scope(permit.scope());
        self.inner.backend.offboard(permit).await
    }

    /// Forgets what is known of a scope's secrets: the backend has heard that it changed.
    pub fn scope_changed(&self, scope: &Scope) {
        drop(self.inner.invalidate_scope(scope));
        self.inner.followers.stir_scope(scope);
    }

    /// Follows the secret of `permit` from now on.
    #[must_use]
    pub fn follow(&self, permit: &ReadPermit) -> Follower {
        let location = permit.location();
        self.inner.followers.follow(location.clone(), self.inner.slots.of(location))
    }

    /// The figures for `/status`.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.inner.metrics.counters()
    }
}

impl Inner {
    /// From memory, or by a fetch that is under way or departs with `departures`.
    fn serve(
        &self,
        permit: &ReadPermit,
        asked: &Checksum,
        departures: &mut flight::Departures,
    ) -> Result<Place, BackendError> {
        match self.known(permit.location(), asked) {
            Known::Answer(answer, _) => {
                self.metrics.hits.inc();
                answer.map(Place::Known)
            }
            known => {
                self.metrics.misses.inc();
                let freshness = self.claim(&known, asked);
                self.board(permit, asked, freshness, departures).map(Place::Coming)
            }
        }
    }

    fn known(&self, location: &Location, asked: &Checksum) -> Known {
        if self.settings.ttl.is_zero() {
            return Known::Unknown;
        }
        let Some(stored) = self.entries.get(location) else { return Known::Unknown };
        // N7: what was fetched before a write of this slot began or ended is no knowledge any more.
        if !stored.is_current() {
            return Known::Unknown;
        }
        let now = self.clock.now();
        let Some(ttl_left) = self.ttl_left(&stored, now) else { return Known::Unknown };
        let is_believed = match stored.found() {
            Ok(entry) => asked.is_empty() || entry.checksum() == asked,
            // Somebody may have made it since; where there is one copy only, what it says counts for so short a time.
            Err(_) => asked.is_empty() || !self.backend.has_replica(),
        };
        // A refetch for this very reason is under way: its answer is the better one.
        if !is_believed && (self.flights.has_latest(location) || !stored.is_settled(asked, now, FORCED_INTERVAL)) {
            return Known::Differs(stored);
        }
        match stored.found() {
            Ok(entry) => {
                Known::Answer(Ok(Served::from_memory(entry, stored.age(now), ttl_left)), now >= stored.refresh_at)
            }
            Err(missing) => Known::Answer(Err(missing), false),
        }
    }

    fn ttl_left(&self, stored: &Stored, now: Moment) -> Option<Duration> {
        let ttl = if stored.found().is_ok() { self.settings.ttl } else { self.settings.negative_ttl };
        ttl.checked_sub(stored.age(now)).filter(|left| !left.is_zero())
    }

    /// How fresh the fetch must be, and the note that it is made.
    fn claim(&self, known: &Known, asked: &Checksum) -> Freshness {
        let Known::Differs(stored) = known else { return Freshness::Any };
        stored.settle(asked, self.clock.now());
        Freshness::Latest
    }

    /// Moves the generation of the slot of `location`, now and when the guard is dropped.
    fn invalidate(&self, location: &Location) -> slot::Moving {
        let moving = self.slots.of(location).moving();
        // Dead already by its generation; removed so that the value is wiped now and not when it is evicted.
        self.entries.invalidate(location);
        if location.sub_key().is_some() {
            self.entries.invalidate(&location.whole_slot());
        }
        moving
    }

    fn stirring<'a>(&'a self, what: Stirred<'a>) -> Stirring<'a> {
        Stirring { followers: &self.followers, what }
    }

    fn invalidate_scope(&self, scope: &Scope) -> slot::ScopeMoving<'_> {
        self.slots.moving_in(scope)
    }
}
