//! The turn of one of our own requests at a slot, and what becomes of the Lease when it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::slots::{Slot, State};
use super::store::{Outcome, Store};
use super::{CALL, Inner, USED};
use crate::clock::Moment;

/// How long to try to give a Lease back: it is over by itself soon after.
const GIVE_BACK: Duration = Duration::from_secs(5);

/// How long to wait before looking again for a write that may yet arrive, or writing again; doubled each time.
const AGAIN: Duration = Duration::from_millis(200);

/// How often to look for a write that may yet arrive.
const LOOKS: u32 = 3;

/// Whoever has it is the only one of this agent who asks about the slot.
pub(super) struct Turn {
    inner: Arc<Inner>,
    slot: Arc<Slot>,
    /// There until the turn ends.
    state: Option<OwnedMutexGuard<State>>,
    /// Nothing is to be done about the Lease when this ends.
    settled: bool,
}

impl Turn {
    pub(super) fn new(inner: Arc<Inner>, slot: Arc<Slot>, state: OwnedMutexGuard<State>) -> Self {
        Self { inner, slot, state: Some(state), settled: false }
    }

    pub(super) fn inner(&self) -> Arc<Inner> {
        Arc::clone(&self.inner)
    }

    pub(super) fn key(&self) -> &str {
        &self.slot.key
    }

    pub(super) fn store(&self) -> Option<&Store> {
        self.inner.store.as_ref()
    }

    pub(super) fn state(&mut self) -> &mut State {
        self.state.as_mut().expect("a turn that goes on must have its state")
    }

    pub(super) fn now(&self) -> Moment {
        self.inner.clock.now()
    }

    /// How long the Lease is ours.
    pub(super) fn left(&self) -> Duration {
        if self.inner.store.is_none() {
            return Duration::MAX;
        }
        let taken = self.state.as_ref().and_then(|state| state.taken.as_ref());
        taken.map_or(Duration::ZERO, |taken| (taken.since + USED).since(self.now()))
    }

    /// Ends the turn, and waits until the Lease is given back where it is.
    pub(super) async fn end(self) {
        if let Some(turn) = self.pass_on()
            && let Some(task) = turn.spawn()
        {
            // Its end is all there is to know, even where the runtime has ended it.
            drop(task.await);
        }
    }

    /// Lets the next of our own have the Lease as it is, if one waits and it is fair to others. What comes back has
    /// something to give back.
    fn pass_on(mut self) -> Option<Self> {
        let now = self.now();
        let waiting = self.slot.waiting.load(Ordering::SeqCst) > 0;
        let state = self.state();
        let nothing = state.taken.is_none() && !state.unsure;
        // What nobody knows of, the next one finds for itself.
        let passes = waiting && (state.taken.is_none() || state.row.is_none_or(|row| row.may_go_on(now)));
        if !nothing && !passes {
            return Some(self);
        }
        self.settled = true;
        let (inner, slot) = (Arc::clone(&self.inner), Arc::clone(&self.slot));
        drop(self);
        if passes {
            Self::look_after(&inner, &slot);
        }
        None
    }

    /// Gives back what was passed on to somebody who has left meanwhile.
    pub(super) fn look_after(inner: &Arc<Inner>, slot: &Arc<Slot>) {
        // Whoever has the turn now does that at its end.
        if slot.waiting.load(Ordering::SeqCst) == 0
            && let Ok(state) = Arc::clone(&slot.state).try_lock_owned()
            && (state.taken.is_some() || state.unsure)
        {
            drop(Self::new(Arc::clone(inner), Arc::clone(slot), state));
        }
    }

    /// Gives the Lease back on a task, which goes on whatever becomes of the caller.
    fn spawn(mut self) -> Option<tokio::task::JoinHandle<()>> {
        // A task that is dropped with its runtime must not make another.
        self.settled = true;
        let runtime = Handle::try_current().ok()?;
        let tasks = self.inner.tasks.clone();
        Some(tasks.spawn_on(self.give_back(), &runtime))
    }

    async fn give_back(mut self) {
        let (inner, slot) = (Arc::clone(&self.inner), Arc::clone(&self.slot));
        let Some(store) = &inner.store else { return };
        let deadline = Instant::now() + GIVE_BACK;
        let (mut looks, mut pause) = (LOOKS, AGAIN);
        while Instant::now() < deadline {
            match step(store, &slot, self.state(), &mut looks).await {
                Step::Done => break,
                Step::AtOnce => {}
                Step::Later => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
        let now = self.now();
        let state = self.state();
        (state.taken, state.unsure) = (None, false);
        if let Some(row) = &mut state.row {
            row.ended = now;
        }
    }
}

enum Step {
    Done,
    AtOnce,
    Later,
}

async fn step(store: &Store, slot: &Slot, state: &mut State, looks: &mut u32) -> Step {
    let lease = match state.taken.take() {
        Some(taken) => taken.lease,
        None if slot.waiting.load(Ordering::SeqCst) > 0 => return Step::Done,
        None => match store.get(&slot.key, CALL).await {
            Ok(Some(lease)) if store.is_ours(&lease) => lease,
            Ok(_) => {
                *looks -= 1;
                return if state.unsure && *looks > 0 { Step::Later } else { Step::Done };
            }
            Err(_) => return Step::Later,
        },
    };
    match store.free(&slot.key, &lease, CALL).await {
        Ok(Outcome::Done(lease)) => {
            state.free = Some(lease);
            Step::Done
        }
        Ok(Outcome::Conflict) => Step::AtOnce,
        Ok(Outcome::Unsure) | Err(_) => Step::Later,
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let Some(state) = self.state.take() else { return };
        let turn = Self::new(Arc::clone(&self.inner), Arc::clone(&self.slot), state);
        drop(turn.pass_on().and_then(Self::spawn));
    }
}
