//! The one state that leader and follower share, and the past that a lagging follower answers from.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::log::Side;
use super::state::State;

#[derive(Default)]
pub(super) struct Store {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    current: Arc<State>,
    lag: Duration,
    /// Former states with the moment at which each stopped being the current one.
    past: VecDeque<(Instant, Arc<State>)>,
}

impl Store {
    /// What this side answers from now.
    pub(super) fn view(&self, side: Side, clock: &Clock) -> Arc<State> {
        let mut kept = self.kept.lock().unwrap();
        if side == Side::Leader || kept.lag.is_zero() {
            return Arc::clone(&kept.current);
        }
        let now = clock.instant();
        while kept.past.front().is_some_and(|(until, _)| now.saturating_duration_since(*until) >= kept.lag) {
            kept.past.pop_front();
        }
        Arc::clone(kept.past.front().map_or(&kept.current, |(_, state)| state))
    }

    /// Changes the state. Nothing is copied but what changes, and only while somebody still looks at it.
    pub(super) fn change<T>(&self, clock: &Clock, change: impl FnOnce(&mut State) -> T) -> T {
        let mut kept = self.kept.lock().unwrap();
        if !kept.lag.is_zero() {
            let before = (clock.instant(), Arc::clone(&kept.current));
            kept.past.push_back(before);
        }
        change(Arc::make_mut(&mut kept.current))
    }

    /// Changes the state as a whole or not at all.
    pub(super) fn attempt<T, E>(&self, clock: &Clock, change: impl FnOnce(&mut State) -> Result<T, E>) -> Result<T, E> {
        let mut kept = self.kept.lock().unwrap();
        let mut next = State::clone(&kept.current);
        let done = change(&mut next)?;
        let before = std::mem::replace(&mut kept.current, Arc::new(next));
        if !kept.lag.is_zero() {
            kept.past.push_back((clock.instant(), before));
        }
        Ok(done)
    }

    pub(super) fn set_lag(&self, lag: Duration) {
        let mut kept = self.kept.lock().unwrap();
        kept.lag = lag;
        if lag.is_zero() {
            kept.past.clear();
        }
    }
}
