//! Generations: a counter for each slot that something is known or being asked about.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::id::{Location, Scope};

/// The generation of one slot. Lives as long as an entry, a fetch or a write refers to it: a slot that nobody refers to
/// has nothing that could be older than anything.
#[derive(Debug, Default)]
pub(super) struct SlotState {
    generation: AtomicU64,
}

impl SlotState {
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn advance(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Moves the generation now, and again when the guard is dropped: after the write, however it ended, also where
    /// whoever waited for it is gone.
    pub(super) fn moving(self: &Arc<Self>) -> Moving {
        Moving { began: self.advance(), state: Arc::clone(self), ended: false }
    }
}

/// A write is under way.
pub(super) struct Moving {
    state: Arc<SlotState>,
    began: u64,
    ended: bool,
}

impl Moving {
    /// The write has ended. The generation that begins with it, if no other write of the slot began or ended meanwhile:
    /// what it has stored is then what is there.
    pub(super) fn end(mut self) -> Option<u64> {
        self.ended = true;
        let generation = self.state.advance();
        (generation == self.began + 1).then_some(generation)
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        if !self.ended {
            self.state.advance();
        }
    }
}

/// A write of a whole scope is under way. Names the scope and not its states: a slot that is first asked about during
/// the write has a state that did not exist when the write began.
pub(super) struct ScopeMoving<'a> {
    states: &'a SlotStates,
    prefix: String,
}

impl Drop for ScopeMoving<'_> {
    fn drop(&mut self) {
        self.states.advance_all(&self.prefix);
    }
}

/// The states of all slots, by `env:team:app:slot`.
#[derive(Default)]
pub(super) struct SlotStates {
    states: Mutex<States>,
}

#[derive(Default)]
struct States {
    by_slot: HashMap<Box<str>, Weak<SlotState>>,
    /// Names of dead states are dropped when there are this many.
    prune_at: usize,
}

impl SlotStates {
    /// The state of the slot that `location` is in.
    pub(super) fn of(&self, location: &Location) -> Arc<SlotState> {
        let mut states = self.lock();
        if let Some(state) = states.by_slot.get(location.slot_text()).and_then(Weak::upgrade) {
            return state;
        }
        if states.by_slot.len() >= states.prune_at {
            states.by_slot.retain(|_, state| state.strong_count() > 0);
            states.prune_at = (states.by_slot.len() * 2).max(64);
        }
        let state = Arc::new(SlotState::default());
        states.by_slot.insert(location.slot_text().into(), Arc::downgrade(&state));
        state
    }

    /// Moves every slot of `scope` now, and again when the guard is dropped; none of the scopes below it.
    pub(super) fn moving_in(&self, scope: &Scope) -> ScopeMoving<'_> {
        let prefix =
            format!("{}:{}:{}:", scope.env(), scope.team().unwrap_or_default(), scope.app().unwrap_or_default());
        self.advance_all(&prefix);
        ScopeMoving { states: self, prefix }
    }

    fn advance_all(&self, prefix: &str) {
        let states = self.lock();
        for (_, state) in states.by_slot.iter().filter(|(slot, _)| slot.starts_with(prefix)) {
            if let Some(state) = state.upgrade() {
                state.advance();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, States> {
        // Losing a state would let an old entry pass for a current one; inserting is the last step, so none is lost.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
