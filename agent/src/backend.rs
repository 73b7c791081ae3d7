//! Where values live: the trait that every backend keeps, and the errors that it may answer with.
//!
//! A backend owns the wire and nothing else: it is called with a permit, and it decides neither rights nor freshness.
//! The semantics are pinned by the conformance suite in `tests`, which is generic over this trait.

pub mod conjur;
pub mod deadline;
pub mod embedded;
pub mod kubernetes;
pub mod observed;
pub mod plan;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::access::{OnboardPermit, ReadPermit, WritePermit};
use crate::clock::Moment;
use crate::id::{Checksum, Scope, Slot, SubKey};
use crate::secret::SecretValue;
use crate::slots::{OnboardRequest, OnboardedItem};

/// What a backend is, as configured and as shown in metrics and `/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// One sealed file.
    Embedded,
    /// Kubernetes Secrets.
    Kubernetes,
    /// Conjur.
    Conjur,
    /// Another Cloakroom.
    Gateway,
}

impl BackendKind {
    /// The name in configuration and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Kubernetes => "kubernetes",
            Self::Conjur => "conjur",
            Self::Gateway => "gateway",
        }
    }
}

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// A replica will do.
    Any,
    /// From the copy that takes the writes, or an error: the caller has reason to know of a newer value.
    Latest,
}

/// A value as it was read.
pub struct Fetched {
    /// The value.
    pub value: SecretValue,
    /// Its fingerprint.
    pub checksum: Checksum,
    /// Since when it is known to be so, where that is not when it was asked for.
    pub as_of: Option<Moment>,
    /// The watch that tells of changes, where the backend has such a thing.
    pub watch: Option<Arc<WatchHealth>>,
}

impl Fetched {
    /// A value that was read just now.
    #[must_use]
    pub fn now(value: SecretValue, checksum: Checksum) -> Self {
        Self { value, checksum, as_of: None, watch: None }
    }
}

/// Whether a watch is at work: shared with everybody who has taken a value under it.
#[derive(Debug, Default)]
pub struct WatchHealth(AtomicBool);

impl WatchHealth {
    /// Whether changes would be heard of.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Says whether they would.
    pub fn set(&self, live: bool) {
        self.0.store(live, Ordering::Release);
    }
}

/// Told of each scope that has changed under the backend, by whomever.
pub type Changed = Arc<dyn Fn(&Scope) + Send + Sync>;

/// What a write demands of the current value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    #[default]
    None,
    /// Its fingerprint is this one, checked in the same write (`?checksum=strict`).
    Matches(Checksum),
}

/// One write of one secret.
pub struct Put {
    /// The new value; not blank, and a flat JSON object of strings for a whole map slot.
    pub value: SecretValue,
    /// What must hold of the old one.
    pub guard: Guard,
    /// A scalar slot of the same scope that takes the old value in the same write, where the backend can.
    pub keep_previous: Option<Slot>,
}

/// Entries of one map slot, each key once; no value blank.
pub type Entries = Vec<(SubKey, SecretValue)>;

/// What a write did.
#[derive(Debug, PartialEq, Eq)]
pub struct Written {
    /// Fingerprint of the new value.
    pub checksum: Checksum,
    /// Fingerprint of the old value where it now lives, if there was one and it was kept.
    pub previous: Option<Checksum>,
}

/// A place where secrets live.
///
/// Every method is cancel-safe in this sense: a dropped call has either had its whole effect or none.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// What this is.
    fn kind(&self) -> BackendKind;

    /// Whether [`Freshness::Any`] may be answered by a copy that is behind the one that takes the writes.
    fn has_replica(&self) -> bool {
        false
    }

    /// Reads secrets, one answer for each permit in the same order, in one round trip where the backend has batches.
    /// A sub-key is the entry with that literal key; a map slot without sub-key is its JSON text.
    async fn fetch(&self, permits: &[ReadPermit], freshness: Freshness) -> Vec<Result<Fetched, BackendError>>;

    /// Writes one secret: an allowed but absent slot is created, a scope that was never onboarded is
    /// [`BackendError::ScopeMissing`].
    async fn put(&self, permit: &WritePermit, put: Put) -> Result<Written, BackendError>;

    /// Writes entries of the map slot that `permit` is for, beside those that are there: all of them in one step, or
    /// none. Answers with their fingerprints in the same order.
    async fn put_entries(&self, permit: &WritePermit, entries: Entries) -> Result<Vec<Checksum>, BackendError>;

    /// Deletes one secret; absent is [`BackendError::Absent`]. The last entry of a map slot takes the slot with it.
    async fn delete(&self, permit: &WritePermit, guard: Guard) -> Result<(), BackendError>;

    /// Creates or updates a scope together with its slots. Idempotent. Answers with the stored slots and the
    /// sub-keys that the request named.
    async fn onboard(
        &self,
        permit: &OnboardPermit,
        request: OnboardRequest,
    ) -> Result<Vec<OnboardedItem>, BackendError>;

    /// Deletes a scope with its own slots and nothing below it; unknown is [`BackendError::ScopeMissing`].
    async fn offboard(&self, permit: &OnboardPermit) -> Result<(), BackendError>;

    /// A cheap call that shows whether the backend answers.
    async fn probe(&self) -> Result<(), BackendError>;

    /// Whether it has ever been reached with our own credentials; until then the agent is not ready.
    fn is_ready(&self) -> bool {
        true
    }

    /// Takes who is to be told of changes, where the backend hears of them. Called once, before anything else.
    fn on_change(&self, _changed: Changed) {}
}

/// What can go wrong behind the backend; `api::problem` gives each its HTTP status in an exhaustive match.
///
/// Carries no text from the wire: what a backend says may hold a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The secret is not there.
    #[error("the secret does not exist")]
    Absent,
    /// The scope was never onboarded, or is gone.
    #[error("the scope is not onboarded")]
    ScopeMissing,
    /// The backend's own rules refuse us.
    #[error("the backend refused the operation")]
    Denied,
    /// The value does not match the caller's checksum.
    #[error("the current value is not the one the checksum names")]
    ChecksumDiffers,
    /// The value cannot be stored: no flat object for a map slot, or an entry that is not allowed in one.
    #[error("the value does not fit the slot")]
    InvalidValue,
    /// The backend's admission rules refuse the change.
    #[error("the cluster's admission rules refused the change; ask who runs them")]
    Rejected,
    /// The object was made unchangeable by somebody.
    #[error("the scope's Secret is immutable; delete the scope and onboard it again")]
    Immutable,
    /// There is no place for the scope.
    #[error("the scope's namespace does not exist; create it, or set backend.kubernetes.createNamespaces")]
    NamespaceMissing,
    /// The object or its namespace is being deleted.
    #[error("the scope's Secret or its namespace is being deleted; try again once it is gone")]
    Terminating {
        /// When to try again.
        retry_after: Duration,
    },
    /// Larger than the backend or our limit takes.
    #[error("the stored object would be larger than the limit")]
    TooLarge,
    /// Others wrote first more often than the retries last.
    #[error("other writers kept changing the scope")]
    Contention,
    /// It cannot be reached or cannot answer; nothing was changed.
    #[error("the backend is unavailable")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
    /// It answered with something that it must not answer.
    #[error("the backend answered with something unexpected")]
    Misbehaved,
    /// What it stored cannot be carried: no UTF-8, or a record that does not open.
    #[error("the stored record cannot be read")]
    Unreadable,
    /// Conjur's policy lets us load nowhere that the scope could be made.
    #[error(
        "Conjur's policy lets the agent change neither the scope's branch nor one above it: it needs `create` there, and \
         `update` to delete; `cloakroom conjur policy` prints what gives it"
    )]
    LoadRefused,
    /// The lease that keeps writers apart cannot be had: RBAC, or a namespace that is missing.
    #[error(
        "writers cannot be kept apart: the agent needs get, create and update on leases in the namespace of \
         backend.conjur.lease"
    )]
    NotSerialised,
    /// The only writer was not the only one. What both wrote has been put together where that could be done.
    #[error(
        "somebody else wrote the slot at the same time, though this agent was to be the only writer; read it again"
    )]
    VersionGap,
    /// A write was sent and nobody knows whether it took effect.
    #[error("the outcome of the write is unknown")]
    OutcomeUnknown,
}
