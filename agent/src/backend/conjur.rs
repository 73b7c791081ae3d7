//! The Conjur backend: each slot is one variable below the root branch, each scope a policy with groups of its own.
//!
//! Conjur has no compare-and-set. What is worked out from the current value is written under a lease, and the versions
//! that Conjur counts tell afterwards whether somebody came between.

mod ahead;
mod changes;
mod doubts;
mod loads;
mod mend;
mod merge;
mod onboard;
mod polls;
mod reads;
mod scope;
mod writes;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::plan::Rules;
use super::{Backend, BackendError, BackendKind, Changed, Entries, Fetched, Freshness, Guard, Put, Written};
use crate::access::{OnboardPermit, ReadPermit, WritePermit};
use crate::clock::Clock;
use crate::conjur::policy::RootBranch;
use crate::conjur::{Conjur, ConjurError};
use crate::id::{Checksum, Location, Scope};
use crate::lease::{LeaseError, Leases};
use crate::secret::SecretValue;
use crate::slots::{Catalogue, Generator, MapSlot, OnboardRequest, OnboardedItem, SlotKind};
use ahead::Ahead;
use polls::Polls;

/// What an operator may say about it.
#[derive(Clone, Debug)]
pub struct ConjurBackendSettings {
    /// The branch that everything lives under.
    pub root: RootBranch,
    /// The largest slot.
    pub slot_bytes_max: usize,
    /// How often the versions of secrets in use are asked for; zero for never.
    pub version_poll: Duration,
    /// How long a secret counts as in use after it was read.
    pub in_use: Duration,
    /// How long one call to Conjur may take.
    pub call: Duration,
    /// How long one write may take with all its tries.
    pub write: Duration,
    /// Whether this agent is the only one that writes: then a version by somebody else is an error.
    pub single_writer: bool,
    /// How long onboarding may take with all its tries.
    pub onboard: Duration,
}

/// The variables of one account, as one agent sees them.
pub struct ConjurVariables {
    shared: Arc<Shared>,
}

/// What calls and polls share.
struct Shared {
    conjur: Conjur,
    settings: ConjurBackendSettings,
    catalogue: Arc<Catalogue>,
    generator: Generator,
    clock: Clock,
    /// Between agents, for what is worked out from the current value.
    leases: Leases,
    /// Within this agent, for everything else: two writes of one variable at one time are an error to Conjur.
    turns: Leases,
    ahead: Ahead,
    polls: Polls,
    changed: OnceLock<Changed>,
    /// Places for writes whose answer never came.
    doubts: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl ConjurVariables {
    /// Speaks to `conjur`; merges under `leases`. Polls run on `tasks` until `stop`.
    #[must_use]
    pub fn new(
        conjur: Conjur,
        settings: ConjurBackendSettings,
        (catalogue, generator): (Arc<Catalogue>, Generator),
        leases: Leases,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let polls = Polls::new(settings.in_use);
        let shared = Arc::new(Shared {
            conjur,
            settings,
            catalogue,
            generator,
            clock: Clock::Boot,
            leases,
            turns: Leases::none(),
            ahead: Ahead::default(),
            polls,
            changed: OnceLock::new(),
            doubts: Arc::new(Semaphore::new(doubts::DOUBTS_MAX)),
            tasks,
            stop: stop.clone(),
        });
        shared.tasks.spawn(polls::run(Arc::clone(&shared), stop));
        Self { shared }
    }
}

impl Shared {
    fn rules(&self) -> Rules<'_> {
        Rules { catalogue: &self.catalogue, generator: &self.generator, slot_bytes_max: self.settings.slot_bytes_max }
    }

    fn tell(&self, scope: &Scope) {
        if let Some(changed) = self.changed.get() {
            changed(scope);
        }
    }

    fn is_map(&self, location: &Location) -> bool {
        let spec = self.catalogue.slot(location.scope_kind(), location.slot());
        spec.is_ok_and(|spec| spec.kind == SlotKind::Map)
    }

    /// The content of a slot out of what its variable holds. A map without an entry stands for none: a value cannot be
    /// taken away by writing, and whoever may write need not be allowed to load policies.
    fn content(&self, location: &Location, stored: SecretValue) -> Option<SecretValue> {
        let empty = self.is_map(location) && MapSlot::read(stored.expose()).is_ok_and(|map| map.is_empty());
        (!empty).then_some(stored)
    }
}

impl From<ConjurError> for BackendError {
    /// Of a read, or of a write that changed nothing.
    fn from(error: ConjurError) -> Self {
        let retry_after = Duration::from_secs(1);
        match error {
            ConjurError::Denied => Self::Denied,
            ConjurError::Limited(retry_after) | ConjurError::Busy(retry_after) => Self::Unavailable { retry_after },
            ConjurError::Unreachable
            | ConjurError::TooLate
            | ConjurError::Lost
            | ConjurError::Failed
            | ConjurError::Gateway
            | ConjurError::NoCredential
            | ConjurError::LoginRefused => Self::Unavailable { retry_after },
            ConjurError::NotAuthenticated
            | ConjurError::TooLarge
            | ConjurError::Unexpected
            | ConjurError::Misbehaved => Self::Misbehaved,
        }
    }
}

impl From<LeaseError> for BackendError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Contention => Self::Contention,
            LeaseError::Denied { .. } | LeaseError::NamespaceMissing { .. } => Self::NotSerialised,
            LeaseError::Unavailable { retry_after } => Self::Unavailable { retry_after },
            LeaseError::Misbehaved => Self::Misbehaved,
        }
    }
}

#[async_trait]
impl Backend for ConjurVariables {
    fn kind(&self) -> BackendKind {
        BackendKind::Conjur
    }

    fn has_replica(&self) -> bool {
        self.shared.conjur.has_follower()
    }

    async fn fetch(&self, permits: &[ReadPermit], freshness: Freshness) -> Vec<Result<Fetched, BackendError>> {
        reads::fetch(&self.shared, permits, freshness).await
    }

    async fn put(&self, permit: &WritePermit, put: Put) -> Result<Written, BackendError> {
        self.shared.ahead.note_write(permit.location());
        writes::put(&self.shared, permit.location(), &put).await
    }

    async fn put_entries(&self, permit: &WritePermit, entries: Entries) -> Result<Vec<Checksum>, BackendError> {
        self.shared.ahead.note_write(permit.location());
        writes::put_entries(&self.shared, permit.location(), &entries).await
    }

    async fn delete(&self, permit: &WritePermit, guard: Guard) -> Result<(), BackendError> {
        self.shared.ahead.note_write(permit.location());
        writes::delete(&self.shared, permit.location(), &guard).await
    }

    async fn onboard(
        &self,
        permit: &OnboardPermit,
        request: OnboardRequest,
    ) -> Result<Vec<OnboardedItem>, BackendError> {
        self.shared.ahead.note_scope(permit.scope());
        onboard::onboard(&self.shared, permit.scope(), &request).await
    }

    async fn offboard(&self, permit: &OnboardPermit) -> Result<(), BackendError> {
        self.shared.ahead.note_scope(permit.scope());
        onboard::offboard(&self.shared, permit.scope()).await
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.shared.conjur.whoami(crate::conjur::Side::Follower).await.map(drop).map_err(BackendError::from)
    }

    fn is_ready(&self) -> bool {
        self.shared.conjur.has_logged_in()
    }

    fn on_change(&self, changed: Changed) {
        // Told once, by whoever wires the agent.
        let _again = self.shared.changed.set(changed);
    }
}
