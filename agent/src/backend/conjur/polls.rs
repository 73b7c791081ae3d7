//! Changes that others make, found by asking for the versions of what is in use: metadata, never values.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::{Shared, reads, scope};
use crate::clock::{Clock, Moment};
use crate::conjur::{ConjurError, Side};
use crate::id::Location;
use crate::jitter;

/// Slots that are asked about; what is used beyond them lives out its time to live.
const SLOTS_MAX: usize = 1000;

/// The shortest pause between two questions of one agent: with more slots in use than fit, they are asked less often.
const APART: Duration = Duration::from_millis(15);

/// How often it is looked whether a question is due.
const TICK: Duration = Duration::from_millis(250);

/// What is in use, and what its variable looked like.
pub(super) struct Polls {
    in_use: Duration,
    clock: Clock,
    slots: Mutex<HashMap<Box<str>, Slot>>,
}

struct Slot {
    location: Location,
    side: Side,
    /// When a read of it last began, and what it brought.
    read: Moment,
    value: Digest,
    due: Moment,
    /// How the variable looked when it was last asked about.
    seen: Option<u64>,
}

/// Enough of a value to know it again.
type Digest = [u8; 32];

/// What a question has brought to light.
enum Finding {
    /// Nothing.
    Same,
    /// The value, or who may see it, has changed.
    Changed,
    /// Nobody had looked before the value was read: it has to be compared with what is there now, once.
    First(Digest),
}

impl Polls {
    pub(super) fn new(in_use: Duration) -> Self {
        Self { in_use, clock: Clock::Boot, slots: Mutex::default() }
    }

    /// A read of `location` that began at `began` has brought `value`.
    pub(super) fn note(&self, location: &Location, side: Side, began: Moment, value: &[u8], pause: Duration) {
        if pause.is_zero() || self.in_use.is_zero() {
            return;
        }
        let mut slots = self.lock();
        if let Some(slot) = slots.get_mut(location.slot_text()) {
            (slot.read, slot.side) = (began, side);
            if slot.seen.is_none() {
                slot.value = Sha256::digest(value).into();
            }
        } else if slots.len() < SLOTS_MAX {
            let (location, due) = (location.whole_slot(), began + jitter::up_to(pause));
            let name = location.slot_text().into();
            let slot = Slot { location, side, read: began, value: Sha256::digest(value).into(), due, seen: None };
            slots.insert(name, slot);
        }
    }

    /// The slots that it is time to ask about; forgets what is not in use any more.
    fn due(&self) -> Vec<(Location, Side)> {
        let now = self.clock.now();
        let mut slots = self.lock();
        slots.retain(|_, slot| now.since(slot.read) < self.in_use);
        slots.values().filter(|slot| slot.due <= now).map(|slot| (slot.location.clone(), slot.side)).collect()
    }

    /// Takes in how a variable looked to a question that was asked at `asked`; none where it is gone.
    fn learn(&self, location: &Location, asked: Moment, mark: Option<u64>, pause: Duration) -> Finding {
        let mut slots = self.lock();
        let Some(slot) = slots.get_mut(location.slot_text()) else { return Finding::Same };
        slot.due = self.clock.now() + pause.mul_f64(0.8) + jitter::up_to(pause.mul_f64(0.2));
        let Some(mark) = mark else {
            slots.remove(location.slot_text());
            return Finding::Changed;
        };
        match slot.seen.replace(mark) {
            Some(earlier) if earlier == mark => Finding::Same,
            Some(_) => Finding::Changed,
            None if slot.read < asked => Finding::First(slot.value),
            None => Finding::Same,
        }
    }

    /// A question could not be asked: the value lives out its time.
    fn put_off(&self, location: &Location, pause: Duration) {
        if let Some(slot) = self.lock().get_mut(location.slot_text()) {
            slot.due = self.clock.now() + pause;
        }
    }

    /// What was seen counts for nothing: the value could not be compared with it.
    fn forget(&self, location: &Location) {
        if let Some(slot) = self.lock().get_mut(location.slot_text()) {
            slot.seen = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Slot>> {
        // Entries are replaced as wholes: whatever a panic left is a state that was once true.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks until `stop`.
pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let pause = shared.settings.version_poll;
    if pause.is_zero() {
        return;
    }
    let polling = async {
        loop {
            for (location, side) in shared.polls.due() {
                ask(&shared, &location, side, pause).await;
                tokio::time::sleep(APART).await;
            }
            tokio::time::sleep(TICK).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = polling => {}
    }
}

async fn ask(shared: &Shared, location: &Location, side: Side, pause: Duration) {
    let (asked, id) = (shared.clock.now(), scope::variable(shared, location));
    let metadata = match shared.conjur.metadata(side, &id).await {
        Ok(metadata) => metadata,
        // Our role is gone, or may see nothing of it any more: what it has read before is not ours to keep.
        Err(ConjurError::Denied) => None,
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "a version could not be asked for");
            return shared.polls.put_off(location, pause);
        }
    };
    let changed = match shared.polls.learn(location, asked, metadata.map(|metadata| metadata.mark()), pause) {
        Finding::Same => false,
        Finding::Changed => true,
        Finding::First(read) => match reads::single(shared, side, &id).await {
            Ok(now) => now.is_none_or(|now| Digest::from(Sha256::digest(&*now)) != read),
            Err(_) => {
                shared.polls.forget(location);
                false
            }
        },
    };
    if changed {
        shared.tell(&location.scope());
    }
}
