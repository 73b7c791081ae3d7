//! What this agent knows of each Lease, and whose turn it is among its own requests.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as Turns;

use super::object::Lease;
use super::pace::Pace;
use super::turn::Turn;
use super::{Inner, LeaseError};
use crate::clock::{Clock, Moment};

/// Slots that are remembered. One that is not in use is forgotten for one that is; that costs at most a wait.
pub(super) const SLOTS_MAX: usize = 1024;

/// How many requests of one agent may have a Lease in a row, and for how long. What others wait because of it is
/// bounded by this.
const ROW_SECTIONS: u32 = 8;
const ROW_LASTS: Duration = Duration::from_millis(250);

/// One slot.
pub(super) struct Slot {
    pub(super) key: Box<str>,
    /// Whoever of our own has the turn. First come, first served.
    pub(super) state: Arc<Turns<State>>,
    /// Those who wait for the turn.
    pub(super) waiting: AtomicUsize,
    /// Why the last one with the turn did not get the Lease, for those whose time passes in the queue behind.
    trouble: Mutex<Option<LeaseError>>,
    used: Mutex<Moment>,
}

/// What who has the turn knows of the Lease.
#[derive(Default)]
pub(super) struct State {
    /// It is ours.
    pub(super) taken: Option<Taken>,
    /// A write that takes it may have arrived, or may yet arrive.
    pub(super) unsure: bool,
    /// It is free, as we left it ourselves.
    pub(super) free: Option<Lease>,
    /// Since when its version has been what it is, as far as we have looked.
    pub(super) seen: Option<(Box<str>, Moment)>,
    /// Sections of ours in a row.
    pub(super) row: Option<Row>,
    pub(super) pace: Pace,
}

/// A Lease of ours.
pub(super) struct Taken {
    pub(super) lease: Lease,
    /// Before the request that took it was sent.
    pub(super) since: Moment,
}

/// How long we have kept the others away: whether the Lease was passed on within the agent, which costs no request, or
/// given back and taken anew before anybody could see it.
#[derive(Clone, Copy)]
pub(super) struct Row {
    began: Moment,
    sections: u32,
    /// When it was last given back.
    pub(super) ended: Moment,
}

impl Row {
    /// Whether this agent may have it once more before others get their chance.
    pub(super) fn may_go_on(self, now: Moment) -> bool {
        self.sections < ROW_SECTIONS && now.since(self.began) < ROW_LASTS
    }

    /// One section more.
    pub(super) fn count(row: Option<Self>, now: Moment) -> Self {
        let row = row.unwrap_or(Self { began: now, sections: 0, ended: now });
        Self { sections: row.sections + 1, ..row }
    }
}

impl State {
    /// Notes the Lease as it is now; how long it has not changed.
    pub(super) fn observe(&mut self, lease: &Lease, now: Moment) -> Duration {
        match &self.seen {
            Some((version, since)) if *version == lease.version => now.since(*since),
            _ => {
                self.seen = Some((lease.version.clone(), now));
                Duration::ZERO
            }
        }
    }
}

impl Slot {
    pub(super) fn note(&self, trouble: Option<&LeaseError>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble.cloned();
    }

    pub(super) fn trouble(&self) -> Option<LeaseError> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn used(&self) -> std::sync::MutexGuard<'_, Moment> {
        // One moment, replaced as a whole.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Slots(Mutex<HashMap<Box<str>, Arc<Slot>>>);

impl Slots {
    /// The slot at `key`; none where more are in use than are remembered.
    pub(super) fn at(&self, key: &str, clock: &Clock) -> Option<Arc<Slot>> {
        let now = clock.now();
        // Entries are put in and taken out whole.
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(key) {
            *slot.used() = now;
            return Some(Arc::clone(slot));
        }
        if slots.len() >= SLOTS_MAX {
            // Nobody can come to use it meanwhile: that takes the lock that we have.
            let idle = slots.values().filter(|slot| Arc::strong_count(slot) == 1);
            let oldest = idle.min_by_key(|slot| *slot.used()).map(|slot| slot.key.clone())?;
            slots.remove(&oldest);
        }
        let slot = Arc::new(Slot {
            key: key.into(),
            state: Arc::default(),
            waiting: AtomicUsize::new(0),
            trouble: Mutex::new(None),
            used: Mutex::new(now),
        });
        slots.insert(key.into(), Arc::clone(&slot));
        Some(slot)
    }
}

/// One who waits for the turn.
pub(super) struct Waiting<'a> {
    inner: &'a Arc<Inner>,
    slot: &'a Arc<Slot>,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(inner: &'a Arc<Inner>, slot: &'a Arc<Slot>) -> Self {
        slot.waiting.fetch_add(1, Ordering::SeqCst);
        Self { inner, slot }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.slot.waiting.fetch_sub(1, Ordering::SeqCst);
        Turn::look_after(self.inner, self.slot);
    }
}
