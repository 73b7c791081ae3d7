//! Who follows a secret: told that its slot may have changed, and of own writes what they have left there.
//!
//! Nothing waits for a follower. It is woken, and looks when it comes to it; what it has not fetched by then is bounded.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use super::slot::SlotState;
use crate::id::{Checksum, Location, Scope};

/// Own writes that a follower may be behind with.
const NEWS_MAX: usize = 64;

/// What an own write has left of a secret, true from a generation of its slot on: nobody else wrote meanwhile.
pub struct News {
    /// The generation.
    pub generation: u64,
    /// The fingerprint; none where the secret was deleted.
    pub checksum: Option<Checksum>,
}

/// What a follower has missed.
#[derive(Default)]
pub struct Missed {
    /// Own writes, in their order.
    pub news: VecDeque<News>,
    /// Whether a fetch has found another value than the last one.
    pub differs: bool,
    /// Whether there was more than is kept.
    pub overrun: bool,
}

/// Follows one secret until it is dropped.
pub struct Follower {
    following: Arc<Following>,
}

struct Following {
    location: Location,
    /// Held, so that it goes on counting.
    slot: Arc<SlotState>,
    missed: Mutex<Missed>,
    stirred: Notify,
}

impl Follower {
    /// Resolves when there may be something new; at once, if there has been since this was last awaited.
    pub async fn stirred(&self) {
        self.following.stirred.notified().await;
    }

    /// Takes what was missed.
    #[must_use]
    pub fn take(&self) -> Missed {
        std::mem::take(&mut *self.following.missed())
    }

    /// The generation of the slot: a read that begins now brings nothing older.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.following.slot.generation()
    }
}

impl Following {
    fn missed(&self) -> MutexGuard<'_, Missed> {
        // Replaced and appended to as a whole: there is nothing half-written to see.
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everybody who follows something. They are few, since each is a stream.
#[derive(Default)]
pub(super) struct Followers(Mutex<Vec<Weak<Following>>>);

impl Followers {
    pub(super) fn follow(&self, location: Location, slot: Arc<SlotState>) -> Follower {
        let following = Following { location, slot, missed: Mutex::default(), stirred: Notify::new() };
        let following = Arc::new(following);
        let mut all = self.lock();
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&following));
        Follower { following }
    }

    /// The slot of `location` may hold something else.
    pub(super) fn stir_slot(&self, location: &Location) {
        self.each(|following| {
            if following.location.slot_text() == location.slot_text() {
                following.stirred.notify_one();
            }
        });
    }

    /// Any slot of `scope` may.
    pub(super) fn stir_scope(&self, scope: &Scope) {
        self.each(|following| {
            if following.location.scope() == *scope {
                following.stirred.notify_one();
            }
        });
    }

    /// A fetch of `location` has found another value.
    pub(super) fn differs(&self, location: &Location) {
        self.each(|following| {
            if following.location == *location {
                following.missed().differs = true;
                following.stirred.notify_one();
            }
        });
    }

    /// An own write of `location` has ended in `generation`, alone.
    pub(super) fn tell(&self, location: &Location, generation: u64, checksum: Option<&Checksum>) {
        self.each(|following| {
            if following.location == *location {
                let mut missed = following.missed();
                if missed.news.len() < NEWS_MAX {
                    missed.news.push_back(News { generation, checksum: checksum.cloned() });
                } else {
                    missed.overrun = true;
                }
            }
        });
    }

    fn each(&self, act: impl Fn(&Following)) {
        for following in self.lock().iter().filter_map(Weak::upgrade) {
            act(&following);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Following>>> {
        // Pushing is the last step of a change: what a panic left is a list of followers.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stirs who follows a slot when it is dropped: after a write, however it ended.
pub(super) struct Stirring<'a> {
    pub(super) followers: &'a Followers,
    pub(super) what: Stirred<'a>,
}

/// What may have changed.
pub(super) enum Stirred<'a> {
    Slot(&'a Location),
    Scope(&'a Scope),
}

impl Drop for Stirring<'_> {
    fn drop(&mut self) {
        match self.what {
            Stirred::Slot(location) => self.followers.stir_slot(location),
            Stirred::Scope(scope) => self.followers.stir_scope(scope),
        }
    }
}
