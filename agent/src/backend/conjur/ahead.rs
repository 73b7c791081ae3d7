//! Which slots a replica may show as they were: those that this agent has written, or has seen at the leader.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Moment};
use crate::id::{Location, Scope};

/// Beyond this many slots, or scopes, everything is read from the leader.
const SLOTS_MAX: usize = 10_000;

/// How long what was read at the leader is read there again. A replica that is further behind than this shows an older
/// value than the last one, under an age that does not hide it.
const SEEN: Duration = Duration::from_mins(10);

/// What is known to be newer at the leader.
#[derive(Default)]
pub(super) struct Ahead {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Until when; for ever where this agent wrote it (N7): nobody tells how far a replica is behind.
    slots: HashMap<Box<str>, Option<Moment>>,
    scopes: HashSet<Scope>,
    everything: bool,
}

impl Ahead {
    pub(super) fn note_write(&self, location: &Location) {
        self.note(location, None);
    }

    pub(super) fn note_seen(&self, location: &Location) {
        let until = self.clock.now() + SEEN;
        if !self.is_ahead(location) {
            self.note(location, Some(until));
        }
    }

    pub(super) fn note_scope(&self, scope: &Scope) {
        let mut state = self.lock();
        state.everything |= state.scopes.len() >= SLOTS_MAX;
        if !state.everything {
            state.scopes.insert(scope.clone());
        }
    }

    fn note(&self, location: &Location, until: Option<Moment>) {
        let (mut state, now) = (self.lock(), self.clock.now());
        if state.slots.len() >= SLOTS_MAX {
            state.slots.retain(|_, until| until.is_none_or(|until| now < until));
            state.everything |= state.slots.len() >= SLOTS_MAX;
        }
        if !state.everything {
            state.slots.insert(location.slot_text().into(), until);
        }
    }

    /// Whether `location` is to be read from the leader.
    pub(super) fn is_ahead(&self, location: &Location) -> bool {
        let (state, now) = (self.lock(), self.clock.now());
        let slot = state.slots.get(location.slot_text());
        state.everything
            || slot.is_some_and(|until| until.is_none_or(|until| now < until))
            || (!state.scopes.is_empty() && state.scopes.contains(&location.scope()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Inserting is the last step of every change: what a panic left is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SecretId;

    #[test]
    fn n8_beyond_its_cap_nothing_is_remembered_and_everything_is_read_from_the_leader() {
        let other = SecretId::parse("other:::zones:").unwrap().into_parts().0;
        let (slots, scopes) = (Ahead::default(), Ahead::default());
        for number in 0..=SLOTS_MAX {
            assert!(!slots.is_ahead(&other) && !scopes.is_ahead(&other), "{number}");
            slots.note_write(&SecretId::parse(&format!("e{number}:::zones:")).unwrap().into_parts().0);
            scopes.note_scope(&Scope::parse(&format!("e{number}")).unwrap());
        }
        assert!(slots.is_ahead(&other) && scopes.is_ahead(&other));
        assert_eq!((slots.lock().slots.len(), scopes.lock().scopes.len()), (SLOTS_MAX, SLOTS_MAX));
    }
}
