//! The objects in use: what is known of each, from one get and one watch, and who is asking for it now.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::Shared;
use super::object::Object;
use super::pace::Pace;
use super::place::Place;
use super::version::Version;
use crate::backend::{Freshness, WatchHealth};
use crate::clock::Moment;

/// All objects in use.
pub(super) struct Objects {
    by_place: Mutex<HashSet<ByPlace>>,
    watches: AtomicUsize,
    watches_max: usize,
    kept: AtomicUsize,
    kept_max: usize,
}

/// An object, found by its place, which is in memory once.
struct ByPlace(Arc<InUse>);

impl Borrow<Place> for ByPlace {
    fn borrow(&self) -> &Place {
        &self.0.place
    }
}

impl Hash for ByPlace {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.place.hash(state);
    }
}

impl PartialEq for ByPlace {
    fn eq(&self, other: &Self) -> bool {
        self.0.place == other.0.place
    }
}

impl Eq for ByPlace {}

/// One object in use.
pub(super) struct InUse {
    pub(super) place: Place,
    state: Mutex<State>,
    /// One get at a time: who waited for it takes its answer.
    pub(super) gets: tokio::sync::Mutex<()>,
    /// Made with the first write: most objects are only read.
    writing: OnceLock<Box<Writing>>,
    /// Whether a watch confirms what is known.
    pub(super) health: Arc<WatchHealth>,
    watched: AtomicBool,
}

/// How one object is written.
#[derive(Default)]
pub(super) struct Writing {
    /// One write of this agent at a time: its own writers need not race each other.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// How fast it writes.
    pub(super) pace: Pace,
}

struct State {
    known: Option<Known>,
    used: Moment,
}

/// What is known.
struct Known {
    /// None where it does not exist, or is too much to keep.
    object: Option<Arc<Object>>,
    /// Whether `object` says what there is.
    kept: bool,
    /// The order of the version of what is known.
    version: u64,
    /// Where a watch goes on: that version, or that of a later bookmark.
    resume: Version,
    /// The uid of the object that is gone, of which late news may come.
    gone: Option<Box<str>>,
    /// When it was last known to be so.
    confirmed: Moment,
    bytes: usize,
}

/// An object as it was found.
pub(super) struct Found {
    /// None where it does not exist.
    pub(super) object: Option<Arc<Object>>,
    /// When it was so.
    pub(super) as_of: Moment,
    /// Whether a watch tells of changes.
    pub(super) watch: Arc<WatchHealth>,
}

impl Objects {
    pub(super) fn new(watches_max: usize, kept_max: usize) -> Self {
        Self {
            by_place: Mutex::default(),
            watches: AtomicUsize::new(0),
            watches_max,
            kept: AtomicUsize::new(0),
            kept_max,
        }
    }

    /// The object at `place`, marked as used now.
    pub(super) fn at(&self, place: &Place, now: Moment) -> Arc<InUse> {
        let mut by_place = self.lock();
        if let Some(ByPlace(object)) = by_place.get(place) {
            object.state().used = now;
            return Arc::clone(object);
        }
        if by_place.len() >= self.watches_max.max(64) {
            // What nobody watches and nobody holds is only a name.
            by_place.retain(|ByPlace(object)| object.is_watched() || Arc::strong_count(object) > 1);
        }
        let object = Arc::new(InUse {
            place: place.clone(),
            state: Mutex::new(State { known: None, used: now }),
            gets: tokio::sync::Mutex::default(),
            writing: OnceLock::new(),
            health: Arc::default(),
            watched: AtomicBool::new(false),
        });
        by_place.insert(ByPlace(Arc::clone(&object)));
        object
    }

    /// Takes a place for one more watch, if there is one and the object has none.
    pub(super) fn claim_watch(&self, object: &InUse) -> bool {
        if object.watched.swap(true, Ordering::AcqRel) {
            return false;
        }
        if self.watches.fetch_add(1, Ordering::AcqRel) < self.watches_max {
            return true;
        }
        self.release_watch(object);
        false
    }

    /// Gives a watch's place back.
    pub(super) fn release_watch(&self, object: &InUse) {
        self.watches.fetch_sub(1, Ordering::AcqRel);
        object.watched.store(false, Ordering::Release);
    }

    /// Forgets an object that was last used before `before`. Whether it did.
    pub(super) fn forget(&self, object: &Arc<InUse>, before: Moment) -> bool {
        let mut by_place = self.lock();
        let mut state = object.state();
        if state.used >= before {
            return false;
        }
        if let Some(known) = state.known.take() {
            self.drop_bytes(known.bytes);
        }
        drop(state);
        by_place.remove(&object.place);
        true
    }

    /// Whether there is room for so many bytes more, which are taken.
    fn take_bytes(&self, bytes: usize) -> bool {
        let fits = self.kept.fetch_add(bytes, Ordering::AcqRel).saturating_add(bytes) <= self.kept_max;
        if !fits {
            self.drop_bytes(bytes);
        }
        fits
    }

    fn drop_bytes(&self, bytes: usize) {
        self.kept.fetch_sub(bytes, Ordering::AcqRel);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<ByPlace>> {
        // Inserting and removing are single steps: a panic leaves none half-done.
        self.by_place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InUse {
    fn state(&self) -> MutexGuard<'_, State> {
        // What is known is replaced as a whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is written.
    pub(super) fn writing(&self) -> &Writing {
        self.writing.get_or_init(Box::default)
    }

    fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }

    /// When it was last asked for.
    pub(super) fn used(&self) -> Moment {
        self.state().used
    }

    /// Where a watch goes on, if anything is known.
    pub(super) fn resume(&self) -> Option<Version> {
        self.state().known.as_ref().map(|known| known.resume.clone())
    }

    /// Nothing that was known may be believed. Whether anything was.
    pub(super) fn doubt(&self, objects: &Objects) -> bool {
        let known = self.state().known.take();
        objects.drop_bytes(known.as_ref().map_or(0, |known| known.bytes));
        known.is_some()
    }

    /// It is still so, and a watch may go on from `resume`.
    pub(super) fn confirm(&self, now: Moment, resume: Option<Version>) {
        if let Some(known) = &mut self.state().known {
            known.confirmed = known.confirmed.max(now);
            known.resume = resume.unwrap_or_else(|| std::mem::take(&mut known.resume));
        }
    }

    /// Takes over what was learnt, unless more recent news came first. Whether it was news.
    pub(super) fn learn(&self, objects: &Objects, news: News, at: Moment) -> bool {
        let mut state = self.state();
        if let Some(known) = &mut state.known {
            match news.compared(known, at) {
                Compared::Older => return false,
                Compared::Same => {
                    known.confirmed = known.confirmed.max(at);
                    return false;
                }
                Compared::Newer => {}
            }
        }
        let before = state.known.take();
        objects.drop_bytes(before.as_ref().map_or(0, |known| known.bytes));
        let was_absent = before.as_ref().is_some_and(|known| known.kept && known.object.is_none());
        let gone = before.as_ref().and_then(|known| known.gone.clone());
        let known = match news {
            News::Is(object) => {
                let (version, resume, bytes) = (object.version.order(), object.version.clone(), object.kept_bytes());
                let kept = objects.take_bytes(bytes);
                let (object, bytes) = if kept { (Some(object), bytes) } else { (None, 0) };
                Known { object, kept, version, resume, gone, confirmed: at, bytes }
            }
            News::Gone { version, uid } => {
                let (version, resume) = (version.order(), version);
                Known { object: None, kept: true, version, resume, gone: uid.or(gone), confirmed: at, bytes: 0 }
            }
            News::Missing => {
                let (version, resume, uid) = before.map_or((0, Version::default(), None), |known| {
                    (known.version, known.resume, known.object.map(|object| object.uid.clone()))
                });
                Known { object: None, kept: true, version, resume, gone: uid.or(gone), confirmed: at, bytes: 0 }
            }
        };
        let is_absent = known.kept && known.object.is_none();
        state.known = Some(known);
        !(was_absent && is_absent)
    }

    /// What is known, if a watch confirms it, or a get did that began no earlier than `since`.
    pub(super) fn known(&self, shared: &Shared, freshness: Freshness, since: Option<Moment>) -> Option<Found> {
        let state = self.state();
        let known = state.known.as_ref().filter(|known| known.kept)?;
        let now = shared.clock.now();
        let watched = freshness == Freshness::Any
            && self.health.is_live()
            && now.since(known.confirmed) < shared.settings.believed;
        (watched || since.is_some_and(|since| known.confirmed >= since)).then(|| Found {
            object: known.object.clone(),
            as_of: known.confirmed,
            watch: Arc::clone(&self.health),
        })
    }
}

/// What was learnt of an object.
pub(super) enum News {
    /// It is this.
    Is(Arc<Object>),
    /// It was deleted, with the version of that, and the uid that it had.
    Gone { version: Version, uid: Option<Box<str>> },
    /// A get did not find it.
    Missing,
}

/// What news are beside what is known.
enum Compared {
    Older,
    Same,
    Newer,
}

impl News {
    /// `at` is when a get began, or when something else was heard.
    fn compared(&self, known: &Known, at: Moment) -> Compared {
        match self {
            // Late news of an object that was deleted since, or of an earlier state.
            Self::Is(object) if known.gone.as_ref() == Some(&object.uid) || object.version.order() < known.version => {
                Compared::Older
            }
            Self::Is(object) if object.version.order() == known.version && known.object.is_some() => Compared::Same,
            Self::Gone { version, .. } if version.order() < known.version => Compared::Older,
            // It tells no version: it was true when the get began, and what was heard since is newer.
            Self::Missing if known.confirmed > at => Compared::Older,
            Self::Is(_) | Self::Gone { .. } | Self::Missing => Compared::Newer,
        }
    }
}

#[cfg(test)]
mod tests;
