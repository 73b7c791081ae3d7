//! One writer of a slot at a time, among all agents: a Lease of the API server for each slot that is being changed.
//!
//! For a backend that cannot compare and set. Whoever holds the Lease may change the slot until [`Held::left`] is over;
//! nobody else takes it before. A request that changes the slot gets a deadline shorter than what is left, and what is
//! left is looked at again after its answer: a Lease is a promise about time, so an agent that was stopped between the
//! two may have been overtaken.
//!
//! No two clocks are ever compared. A Lease counts as forgotten by its holder when we have seen it unchanged for as
//! long as it lasts, by our own clock; its holder counts from before it asked for it, by its own. Objects stay when they
//! are free, a few hundred bytes for each slot that was ever merged: one that is deleted and made anew has no order, so
//! no agent deletes one, and no agent has the right to.

#[cfg(test)]
mod fake;
mod object;
mod pace;
mod slots;
mod store;
mod take;
#[cfg(test)]
mod tests;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::kubernetes::ApiServer;
use slots::{Slots, Waiting};
use store::{Api, Store};
use turn::Turn;

/// How long a Lease lasts.
///
/// Longer than one call of a backend (5 s) after the slowest answer about the Lease (2 s) with the margin below; short
/// enough that a crash is forgotten within two requests that wait 4.5 s each.
pub const LASTS: Duration = Duration::from_secs(8);

/// What a holder does not use of it: two clocks that differ by one part in sixteen still agree about the order.
const MARGIN: Duration = Duration::from_millis(500);

/// What it does use.
const USED: Duration = LASTS.saturating_sub(MARGIN);

/// One call of the API server.
const CALL: Duration = Duration::from_secs(2);

/// Why a slot is not ours to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// The time passed while others held it, or one of them took it over.
    #[error("others are changing the same slot")]
    Contention,
    /// RBAC, a quota or admission refuses.
    #[error(
        "the agent may not get, create and update leases (coordination.k8s.io) in namespace {namespace}: merges on \
         Conjur need these three rights there"
    )]
    Denied {
        /// Where the Leases are, as configured.
        namespace: Box<str>,
    },
    /// The API server cannot be asked now.
    #[error("the API server does not answer about the lease of a slot")]
    Unavailable {
        /// When to come back.
        retry_after: Duration,
    },
    /// There is no place for Leases.
    #[error("namespace {namespace}, where the leases of slots belong, does not exist")]
    NamespaceMissing {
        /// Where the Leases belong, as configured.
        namespace: Box<str>,
    },
    /// The API server answered with something that is no Lease, or does not accept our token.
    #[error("the API server answered with something unexpected about the lease of a slot")]
    Misbehaved,
}

/// The locks of slots; clones are the same locks.
#[derive(Clone)]
pub struct Leases {
    inner: Arc<Inner>,
}

struct Inner {
    /// None where this agent is the only writer.
    store: Option<Store>,
    slots: Slots,
    clock: Clock,
    tasks: TaskTracker,
}

impl Leases {
    /// Leases in `namespace`. `holder` is what people read in them; that two agents have the same does not matter.
    /// What is left to be given back is given back on `tasks`.
    ///
    /// # Errors
    /// The kernel has no random bytes, without which two holders of one name would be one.
    pub fn kubernetes(
        api: ApiServer,
        namespace: String,
        holder: &str,
        tasks: TaskTracker,
    ) -> Result<Self, getrandom::Error> {
        Ok(Self::new(Some(Store::new(Api::Server(api), namespace, holder)?), Clock::Boot, tasks))
    }

    /// For the only writer: its own requests wait for one another, and nobody else is asked.
    #[must_use]
    pub fn none() -> Self {
        Self::new(None, Clock::Boot, TaskTracker::new())
    }

    fn new(store: Option<Store>, clock: Clock, tasks: TaskTracker) -> Self {
        Self { inner: Arc::new(Inner { store, slots: Slots::default(), clock, tasks }) }
    }

    /// Waits until `deadline` for the slot at `key` to be nobody else's. At least 5.5 s of it are left then, unless this
    /// agent is stopped at that very moment.
    ///
    /// # Errors
    /// [`LeaseError`]. Nothing is held then; what may have been taken without an answer is given back.
    pub async fn acquire(&self, key: &str, deadline: Instant) -> Result<Held, LeaseError> {
        let slot = self.inner.slots.at(key, &self.inner.clock).ok_or(LeaseError::Contention)?;
        let waiting = Waiting::new(&self.inner, &slot);
        let Ok(state) = tokio::time::timeout_at(deadline, Arc::clone(&slot.state).lock_owned()).await else {
            return Err(slot.trouble().unwrap_or(LeaseError::Contention));
        };
        let mut turn = Turn::new(Arc::clone(&self.inner), Arc::clone(&slot), state);
        drop(waiting);
        if let Some(store) = &self.inner.store {
            let taken = Box::pin(take::take(store, &mut turn, deadline)).await;
            slot.note(taken.as_ref().err());
            taken?;
        }
        Ok(Held { turn })
    }
}

/// A slot that nobody else changes, for as long as [`Held::left`] says.
///
/// Dropping it gives the slot to the next, as [`Held::release`] does, without waiting for that. So whoever has a request
/// under way that changes the slot keeps it until the answer: a request that is dropped may still arrive.
pub struct Held {
    turn: Turn,
}

impl Held {
    /// How long nobody else takes it; [`Duration::MAX`] for the only writer. Counted from before the request that took
    /// it was sent, on a clock that goes on while the machine sleeps.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.turn.left()
    }

    /// Begins its time anew. What has been left until now stays where that fails for want of an answer.
    ///
    /// # Errors
    /// [`LeaseError`]; [`LeaseError::Contention`] where somebody else has taken it, and then nothing is left.
    pub async fn renew(&mut self) -> Result<(), LeaseError> {
        take::renew(&mut self.turn).await
    }

    /// Takes the slot anew where its time may be over: waits until `deadline` for it to be nobody else's, as
    /// [`Leases::acquire`] does. Others may have changed the slot in between.
    ///
    /// # Errors
    /// [`LeaseError`], and then nothing is left.
    pub async fn take_again(&mut self, deadline: Instant) -> Result<(), LeaseError> {
        let inner = self.turn.inner();
        let Some(store) = &inner.store else { return Ok(()) };
        Box::pin(take::take(store, &mut self.turn, deadline)).await
    }

    /// Lets the next one have it, and waits until the API server knows. It goes on when this is not waited for.
    pub async fn release(self) {
        self.turn.end().await;
    }
}
