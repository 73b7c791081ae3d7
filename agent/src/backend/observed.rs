//! Counts and times every call to another backend, and remembers whether it answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Backend, BackendError, BackendKind, Changed, Entries, Fetched, Freshness, Guard, Put, Written};
use crate::access::{OnboardPermit, ReadPermit, WritePermit};
use crate::id::Checksum;
use crate::metrics::Metrics;
use crate::slots::{OnboardRequest, OnboardedItem};

/// A backend under observation.
pub struct Observed {
    inner: Arc<dyn Backend>,
    metrics: Metrics,
    up: Arc<AtomicBool>,
}

impl Observed {
    /// Observes `inner`; `up` follows its answers.
    #[must_use]
    pub fn new(inner: Arc<dyn Backend>, metrics: Metrics, up: Arc<AtomicBool>) -> Self {
        Self { inner, metrics, up }
    }

    fn observe(&self, operation: &'static str, error: Option<BackendError>, began: Instant) {
        let outcome = error.map_or("ok", outcome);
        let answered = !matches!(error, Some(BackendError::Unavailable { .. } | BackendError::OutcomeUnknown));
        // One that answers and lets nobody in is of no more use than one that does not answer.
        let up = answered && self.inner.is_ready();
        self.up.store(up, Ordering::Relaxed);
        self.metrics.observe_backend(self.inner.kind().as_str(), operation, outcome, up, began.elapsed());
    }

    fn observed<T>(
        &self,
        operation: &'static str,
        began: Instant,
        result: Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        self.observe(operation, result.as_ref().err().copied(), began);
        result
    }
}

/// The label of an error.
fn outcome(error: BackendError) -> &'static str {
    match error {
        BackendError::Absent | BackendError::ScopeMissing => "not_found",
        BackendError::Denied | BackendError::LoadRefused => "denied",
        BackendError::ChecksumDiffers | BackendError::Contention | BackendError::VersionGap => "conflict",
        BackendError::InvalidValue
        | BackendError::TooLarge
        | BackendError::Rejected
        | BackendError::Immutable
        | BackendError::NamespaceMissing => "refused",
        BackendError::Unavailable { .. } | BackendError::Terminating { .. } | BackendError::NotSerialised => {
            "unavailable"
        }
        BackendError::Misbehaved | BackendError::Unreadable => "misbehaved",
        BackendError::OutcomeUnknown => "unknown",
    }
}

#[async_trait]
impl Backend for Observed {
    fn kind(&self) -> BackendKind {
        self.inner.kind()
    }

    fn has_replica(&self) -> bool {
        self.inner.has_replica()
    }

    async fn fetch(&self, permits: &[ReadPermit], freshness: Freshness) -> Vec<Result<Fetched, BackendError>> {
        let began = Instant::now();
        let results = self.inner.fetch(permits, freshness).await;
        // A batch is one call: it is as bad as its worst answer, and an absence is an answer.
        let failed = |error: &BackendError| !matches!(error, BackendError::Absent | BackendError::ScopeMissing);
        let errors = || results.iter().filter_map(|result| result.as_ref().err().copied());
        let worst = errors().find(failed).or_else(|| errors().next());
        self.observe("fetch", worst, began);
        results
    }

    async fn put(&self, permit: &WritePermit, put: Put) -> Result<Written, BackendError> {
        let began = Instant::now();
        self.observed("put", began, self.inner.put(permit, put).await)
    }

    async fn put_entries(&self, permit: &WritePermit, entries: Entries) -> Result<Vec<Checksum>, BackendError> {
        let began = Instant::now();
        self.observed("put", began, self.inner.put_entries(permit, entries).await)
    }

    async fn delete(&self, permit: &WritePermit, guard: Guard) -> Result<(), BackendError> {
        let began = Instant::now();
        self.observed("delete", began, self.inner.delete(permit, guard).await)
    }

    async fn onboard(
        &self,
        permit: &OnboardPermit,
        request: OnboardRequest,
    ) -> Result<Vec<OnboardedItem>, BackendError> {
        let began = Instant::now();
        self.observed("onboard", began, self.inner.onboard(permit, request).await)
    }

    async fn offboard(&self, permit: &OnboardPermit) -> Result<(), BackendError> {
        let began = Instant::now();
        self.observed("offboard", began, self.inner.offboard(permit).await)
    }

    async fn probe(&self) -> Result<(), BackendError> {
        let began = Instant::now();
        self.observed("probe", began, self.inner.probe().await)
    }

    fn is_ready(&self) -> bool {
        self.inner.is_ready()
    }

    fn on_change(&self, changed: Changed) {
        self.inner.on_change(changed);
    }
}
