//! The operations behind the API: permit, audit, cache, backend, in that order (N3, N6).
//!
//! Knows nothing of HTTP. A request that needs more than memory runs as a task of its own, so that a caller who hangs
//! up leaves no write without its outcome record.

mod error;
mod onboarding;
mod reads;
mod render;
mod watch;
mod writes;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::access::rate::RateLimiter;
use crate::access::{Access, AccessError, OnboardPermit, ReadPermit, Refused, WritePermit};
use crate::audit::{Audit, AuditDecision, AuditResult, AuditSource, Operation, Phase, Reason, Record};
use crate::backend::Changed;
use crate::cache::{Cache, Served, Source};
use crate::id::{Location, Scope};
use crate::identity::Caller;
use crate::metrics::Metrics;
use crate::request_id::RequestId;
use crate::slots::{Catalogue, Generator};

pub use error::OperationError;
pub use render::Each;
pub use watch::{Change, Watch, WhoIsThere};
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
    /// The same for what may load policy in a backend, which takes minutes.
    pub load_timeout: Duration,
    /// Told of each scope that was written through here, whatever came of it.
    pub written: Changed,
}

impl Operations {
    /// Runs `work` to its end whether or not the caller waits for it, and waits at most the request's deadline.
    fn detached<T: Send + 'static, W: Future<Output = Result<T, OperationError>> + Send + 'static>(
        &self,
        on_deadline: OperationError,
        work: W,
    ) -> impl Future<Output = Result<T, OperationError>> + Send + use<T, W> {
        self.detached_within(self.request_timeout, on_deadline, work)
    }

    /// The work begins at once, so that what is waited on is a handle and not the work itself, which is large.
    fn detached_within<T: Send + 'static, W: Future<Output = Result<T, OperationError>> + Send + 'static>(
        &self,
        within: Duration,
        on_deadline: OperationError,
        work: W,
    ) -> impl Future<Output = Result<T, OperationError>> + Send + use<T, W> {
        let work = tokio::time::timeout(within, self.tasks.spawn(work));
        async move {
            match work.await {
                Ok(Ok(result)) => result,
                Ok(Err(_panicked)) => Err(OperationError::Internal),
                Err(_elapsed) => Err(on_deadline),
            }
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

    /// The one record of a request that turned out to have no effect and to need no permit of its own.
    async fn record_without_effect(
        &self,
        context: &Context,
        operation: Operation,
        secrets: &[&Location],
    ) -> Result<(), OperationError> {
        let target = Refusal::Secrets(secrets);
        if let Err(error) = context.caller.subject() {
            return Err(self.record_refusal(context, operation, target, error).await);
        }
        let record = Record { result: Some(AuditResult::Ok), ..target.record(context, operation) };
        self.record(record, OperationError::AuditUnavailable).await
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
    /// The scope that it is in; of several secrets, which only reads name, that of the first.
    fn within(self) -> Option<Scope> {
        match self {
            Self::Secrets(secrets) => secrets.first().map(|location| location.scope()),
            Self::Scope(scope) => Some(scope.clone()),
        }
    }

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
