//! A deadline for every call to another backend (N8).
//!
//! A write runs as a task of its own: when its deadline passes the answer is "unknown", and the write still ends
//! whole, one way or the other.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{Backend, BackendError, BackendKind, Changed, Entries, Fetched, Freshness, Guard, Put, Written};
use crate::access::{OnboardPermit, ReadPermit, WritePermit};
use crate::id::Checksum;
use crate::slots::{OnboardRequest, OnboardedItem};

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub struct DeadlineSettings {
    /// A read or the write of one secret.
    pub call: Duration,
    /// The deletion of one secret, which loads policy on some backends.
    pub delete: Duration,
    /// Onboarding, which loads policy on some backends.
    pub onboard: Duration,
}

/// A backend whose calls end in time.
pub struct Deadlines {
    inner: Arc<dyn Backend>,
    settings: DeadlineSettings,
    tasks: TaskTracker,
}

/// When to try again after a call that took too long: at once would meet the same backend.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Deadlines {
    /// Puts deadlines on the calls to `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Backend>, settings: DeadlineSettings, tasks: TaskTracker) -> Self {
        Self { inner, settings, tasks }
    }

    async fn write<T: Send + 'static>(
        &self,
        within: Duration,
        work: impl Future<Output = Result<T, BackendError>> + Send + 'static,
    ) -> Result<T, BackendError> {
        match timeout(within, self.tasks.spawn(work)).await {
            Ok(Ok(result)) => result,
            // Late, or dead half-way: either way nobody knows.
            Ok(Err(_)) | Err(_) => Err(BackendError::OutcomeUnknown),
        }
    }
}

#[async_trait]
impl Backend for Deadlines {
    fn kind(&self) -> BackendKind {
        self.inner.kind()
    }

    fn has_replica(&self) -> bool {
        self.inner.has_replica()
    }

    async fn fetch(&self, permits: &[ReadPermit], freshness: Freshness) -> Vec<Result<Fetched, BackendError>> {
        match timeout(self.settings.call, self.inner.fetch(permits, freshness)).await {
            Ok(results) => results,
            Err(_elapsed) => {
                permits.iter().map(|_| Err(BackendError::Unavailable { retry_after: RETRY_AFTER })).collect()
            }
        }
    }

    async fn put(&self, permit: &WritePermit, put: Put) -> Result<Written, BackendError> {
        let (inner, permit) = (Arc::clone(&self.inner), permit.share());
        self.write(self.settings.call, async move { inner.put(&permit, put).await }).await
    }

    async fn put_entries(&self, permit: &WritePermit, entries: Entries) -> Result<Vec<Checksum>, BackendError> {
        let (inner, permit) = (Arc::clone(&self.inner), permit.share());
        self.write(self.settings.call, async move { inner.put_entries(&permit, entries).await }).await
    }

    async fn delete(&self, permit: &WritePermit, guard: Guard) -> Result<(), BackendError> {
        let (inner, permit) = (Arc::clone(&self.inner), permit.share());
        self.write(self.settings.delete, async move { inner.delete(&permit, guard).await }).await
    }

    async fn onboard(
        &self,
        permit: &OnboardPermit,
        request: OnboardRequest,
    ) -> Result<Vec<OnboardedItem>, BackendError> {
        let (inner, permit) = (Arc::clone(&self.inner), permit.share());
        self.write(self.settings.onboard, async move { inner.onboard(&permit, request).await }).await
    }

    async fn offboard(&self, permit: &OnboardPermit) -> Result<(), BackendError> {
        let (inner, permit) = (Arc::clone(&self.inner), permit.share());
        self.write(self.settings.onboard, async move { inner.offboard(&permit).await }).await
    }

    async fn probe(&self) -> Result<(), BackendError> {
        match timeout(self.settings.call, self.inner.probe()).await {
            Ok(result) => result,
            Err(_elapsed) => Err(BackendError::Unavailable { retry_after: RETRY_AFTER }),
        }
    }

    fn is_ready(&self) -> bool {
        self.inner.is_ready()
    }

    fn on_change(&self, changed: Changed) {
        self.inner.on_change(changed);
    }
}
