//! The operations behind the API: permit, audit, cache, backend, in that order (N3, N6).
//!
//! Knows nothing of HTTP. A request that needs more than memory runs as a task of its own, so that a caller who hangs
//! up leaves no write without its outcome record.

mod error;
mod onboarding;
mod reads;
mod writes;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::access::rate::RateLimiter;
use crate::access::{Access, AccessError, OnboardPermit, ReadPermit, Refused, WritePermit};
use crate::audit::{Audit, AuditDecision, AuditResult, AuditSource, Operation, Phase, Reason, Record};
use crate::cache::{Cache, Served, Source};
use crate::id::{Location, Scope};
use crate::identity::Caller;
use crate::metrics::Metrics;
use crate::request_id::RequestId;
use crate::slots::{Catalogue, Generator};

pub use error::OperationError;
pub use writes::{PutValue, Rotated, guard};

/// One request: its id and its caller.
#[derive(Clone)]
pub struct Context {
    /// The id in answer, log and record.
    pub request: RequestId,
    /// Who asks.
    pub caller: Arc<Caller>,
}

/// Everything that an operation goes through.
pub struct Operations {
    /// Decides.
    pub access: Access,
    /// Remembers.
    pub cache: Cache,
    /// Records.
    pub audit: Audit,
    /// Bounds what one caller can cause.
    pub rate: RateLimiter,
    /// What scopes may hold.
    pub catalogue: Arc<Catalogue>,
    /// Makes new values.
    pub generator: Generator,
    /// Counts.
    pub metrics: Metrics,
    /// Where requests that outlive their caller run.
    pub tasks: TaskTracker,
    /// The longest value in bytes.
    pub value_bytes: usize,
    /// The longest that a caller waits.
    pub request_timeout: Duration,
}

impl Operations {
    /// Runs `work` to its end whether or not the caller waits for it, and waits at most the request's deadline.
    async fn detached<T: Send + 'static>(
        &self,
        on_deadline: OperationError,
        work: impl Future<Output = Result<T, OperationError>> + Send + 'static,
    ) -> Result<T, OperationError> {
        match tokio::time::timeout(self.request_timeout, self.tasks.spawn(work)).await {
            Ok(Ok(result)) => result,
            Ok(Err(_panicked)) => Err(OperationError::Internal),
            Err(_elapsed) => Err(on_deadline),
        }
    }

    /// Writes one record; an operation whose attempt cannot be recorded is not begun.
    async fn record(&self, record: Record<'_>, otherwise: OperationError) -> Result<(), OperationError> {
        self.audit.record(&record).await.map_err(|_| otherwise)
    }

    /// The one record of a request that no permit was made for.
    async fn record_refusal(
        &self,
        context: &Context,
        operation: Operation,
        target: Refusal<'_>,
        error: AccessError,
    ) -> OperationError {
        let record = Record {
            decision: AuditDecision::Deny,
            reason: error.into(),
            result: Some(AuditResult::Refused),
            ..target.record(context, operation)
        };
        match self.record(record, OperationError::AuditUnavailable).await {
            Ok(()) => OperationError::Access(error),
            Err(unrecorded) => unrecorded,
        }
    }

    /// Takes `tokens` from the caller's bucket, or records that it was empty.
    async fn take(
        &self,
        context: &Context,
        operation: Operation,
        target: Refusal<'_>,
        tokens: u32,
    ) -> Result<(), OperationError> {
        let Ok(subject) = context.caller.subject() else { return Ok(()) };
        let Err(retry) = self.rate.take(subject, tokens) else { return Ok(()) };
        let record = Record {
            decision: AuditDecision::Allow,
            reason: Reason::RateLimited,
            result: Some(AuditResult::Refused),
            ..target.record(context, operation)
        };
        self.record(record, OperationError::AuditUnavailable).await?;
        Err(OperationError::RateLimited(retry.0))
    }
}

/// Permits for the caller of a request. Who has no identity has no permit.
impl Operations {
    async fn may_read(&self, context: &Context, location: Location) -> Result<ReadPermit, Refused<Location>> {
        match context.caller.subject() {
            Ok(subject) => self.access.read(subject, location).await,
            Err(error) => Err(Refused { error, target: location }),
        }
    }

    async fn may_change(
        &self,
        context: &Context,
        operation: Operation,
        location: Location,
    ) -> Result<WritePermit, Refused<Location>> {
        match context.caller.subject() {
            Ok(subject) if operation == Operation::Delete => self.access.delete(subject, location).await,
            Ok(subject) => self.access.write(subject, location).await,
            Err(error) => Err(Refused { error, target: location }),
        }
    }

    async fn may_onboard(
        &self,
        context: &Context,
        operation: Operation,
        scope: Scope,
    ) -> Result<OnboardPermit, Refused<Scope>> {
        match context.caller.subject() {
            Ok(subject) if operation == Operation::Offboard => self.access.offboard(subject, scope).await,
            Ok(subject) => self.access.onboard(subject, scope).await,
            Err(error) => Err(Refused { error, target: scope }),
        }
    }
}

/// What a request that was refused, or is about to begin, is for.
#[derive(Clone, Copy)]
enum Refusal<'a> {
    Secrets(&'a [&'a Location]),
    Scope(&'a Scope),
}

impl<'a> Refusal<'a> {
    /// A record with the fields that every record of this request has; phase `served`, because a refusal has no pair.
    fn record(self, context: &'a Context, operation: Operation) -> Record<'a> {
        let (secrets, scope): (&[&Location], _) = match self {
            Self::Secrets(secrets) => (secrets, None),
            Self::Scope(scope) => (&[], Some(scope)),
        };
        Record {
            request: context.request,
            phase: Phase::Served,
            operation,
            caller: &context.caller.audit,
            secrets,
            scope,
            decision: AuditDecision::Allow,
            reason: Reason::Granted,
            result: None,
            source: None,
            fingerprint: None,
            duration: None,
        }
    }
}

/// How the record names where a read was answered from.
fn audit_source(served: &Served) -> AuditSource {
    match served.source {
        Source::Cache => AuditSource::Cache,
        Source::Backend => AuditSource::Backend,
        Source::Stale => AuditSource::Stale,
    }
}
