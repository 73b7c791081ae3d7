//! Resolving: one id or a batch, from memory where that is enough, else with an attempt and an outcome on record.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Context, OperationError, Operations, Refusal, audit_source};
use crate::access::ReadPermit;
use crate::audit::{AuditResult, Operation, Phase, Record};
use crate::backend::BackendError;
use crate::cache::Served;
use crate::id::{Checksum, Location, SecretId};

type ReadResult = Result<Served, OperationError>;

impl Operations {
    /// The value of one secret. With `strict`, a checksum that does not match is an error.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn get(self: &Arc<Self>, context: &Context, id: SecretId, strict: bool) -> ReadResult {
        self.read(context, Operation::Get, id, strict).await
    }

    /// Reads one secret for `operation`, which the record names.
    pub(super) async fn read(
        self: &Arc<Self>,
        context: &Context,
        operation: Operation,
        id: SecretId,
        strict: bool,
    ) -> ReadResult {
        let (location, asked) = id.into_parts();
        if self.catalogue.is_sub_key_of_scalar(&location) {
            return Err(OperationError::SubKeyOfScalar);
        }
        let permit = match self.may_read(context, location).await {
            Ok(permit) => permit,
            Err(refused) => {
                let target = Refusal::Secrets(&[&refused.target]);
                return Err(Box::pin(self.record_refusal(context, operation, target, refused.error)).await);
            }
        };
        if let Some(found) = self.cache.peek(&permit, &asked) {
            let result = settle(found, &asked, strict);
            let secrets = [permit.location()];
            self.record_read(context, operation, Phase::Served, &secrets, &result, None).await?;
            return result;
        }
        let (this, context) = (Arc::clone(self), context.clone());
        let work = async move { this.fetch(context, operation, permit, asked, strict).await };
        // Boxed, so that the timer of a miss does not ride in the future of every cached read.
        Box::pin(self.detached(OperationError::Deadline, work)).await
    }

    async fn fetch(
        &self,
        context: Context,
        operation: Operation,
        permit: ReadPermit,
        asked: Checksum,
        strict: bool,
    ) -> ReadResult {
        let secrets = [&permit.location().clone()];
        let target = Refusal::Secrets(&secrets);
        self.take(&context, operation, target, 1).await?;
        let attempt = Record { phase: Phase::Attempt, ..target.record(&context, operation) };
        self.record(attempt, OperationError::AuditUnavailable).await?;
        let began = Instant::now();
        let result = settle(self.cache.get(permit, asked.clone()).await, &asked, strict);
        self.record_read(&context, operation, Phase::Outcome, &secrets, &result, Some(began)).await?;
        result
    }

    /// The values of several secrets, in the order of the ids. All or nothing: any denied id denies the batch, any
    /// error is the batch's error.
    ///
    /// # Errors
    /// [`OperationError`]; of several, the one that says most about what the caller can do.
    pub async fn get_many(
        self: &Arc<Self>,
        context: &Context,
        ids: Vec<SecretId>,
    ) -> Result<Vec<Served>, OperationError> {
        self.read_many(context, Operation::Batch, ids).await
    }

    /// The values of the different ids in a document, as [`Operations::get_many`]. One that names none reads nothing, and
    /// is on record all the same.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn resolve(
        self: &Arc<Self>,
        context: &Context,
        ids: Vec<SecretId>,
    ) -> Result<Vec<Served>, OperationError> {
        if ids.is_empty() {
            self.record_without_effect(context, Operation::Resolve, &[]).await?;
        }
        self.read_many(context, Operation::Resolve, ids).await
    }

    async fn read_many(
        self: &Arc<Self>,
        context: &Context,
        operation: Operation,
        ids: Vec<SecretId>,
    ) -> Result<Vec<Served>, OperationError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        if ids.iter().any(|id| self.catalogue.is_sub_key_of_scalar(id.location())) {
            return Err(OperationError::SubKeyOfScalar);
        }
        let mut wanted = Vec::with_capacity(ids.len());
        let locations: Vec<Location> = ids.iter().map(|id| id.location().clone()).collect();
        let secrets: Vec<&Location> = locations.iter().collect();
        for id in ids {
            let (location, asked) = id.into_parts();
            match self.may_read(context, location).await {
                Ok(permit) => wanted.push((permit, asked)),
                Err(refused) => {
                    let target = Refusal::Secrets(&secrets);
                    return Err(self.record_refusal(context, operation, target, refused.error).await);
                }
            }
        }
        let known: Option<Vec<_>> = wanted.iter().map(|(permit, asked)| self.cache.peek(permit, asked)).collect();
        if let Some(known) = known {
            let result = gather(known);
            self.record_batch(context, operation, Phase::Served, &secrets, &result, None).await?;
            return result;
        }
        let (this, context) = (Arc::clone(self), context.clone());
        self.detached(OperationError::Deadline, async move { this.fetch_many(context, operation, wanted).await }).await
    }

    async fn fetch_many(
        &self,
        context: Context,
        operation: Operation,
        wanted: Vec<(ReadPermit, Checksum)>,
    ) -> Result<Vec<Served>, OperationError> {
        let locations: Vec<Location> = wanted.iter().map(|(permit, _)| permit.location().clone()).collect();
        let secrets: Vec<&Location> = locations.iter().collect();
        let target = Refusal::Secrets(&secrets);
        // One batch is one call to the backend, which is what the bucket protects.
        self.take(&context, operation, target, 1).await?;
        let attempt = Record { phase: Phase::Attempt, ..target.record(&context, operation) };
        self.record(attempt, OperationError::AuditUnavailable).await?;
        let began = Instant::now();
        let result = gather(self.cache.get_many(wanted).await);
        self.record_batch(&context, operation, Phase::Outcome, &secrets, &result, Some(began)).await?;
        result
    }

    async fn record_read(
        &self,
        context: &Context,
        operation: Operation,
        phase: Phase,
        secrets: &[&Location],
        result: &ReadResult,
        began: Option<Instant>,
    ) -> Result<(), OperationError> {
        let served = result.as_ref().ok();
        let record = Record {
            phase,
            result: Some(result.as_ref().map_or_else(|error| error.audit_result(), |_| AuditResult::Ok)),
            source: served.map(audit_source),
            fingerprint: served.map(|served| *served.entry.audit_fingerprint(|value| self.audit.fingerprint(value))),
            duration: began.map(|began| began.elapsed()),
            ..Refusal::Secrets(secrets).record(context, operation)
        };
        self.record(record, OperationError::AuditUnavailable).await
    }

    async fn record_batch(
        &self,
        context: &Context,
        operation: Operation,
        phase: Phase,
        secrets: &[&Location],
        result: &Result<Vec<Served>, OperationError>,
        began: Option<Instant>,
    ) -> Result<(), OperationError> {
        let slowest = result.as_ref().ok().and_then(|all| all.iter().map(audit_source).max());
        let record = Record {
            phase,
            result: Some(result.as_ref().map_or_else(|error| error.audit_result(), |_| AuditResult::Ok)),
            source: slowest,
            duration: began.map(|began| began.elapsed()),
            ..Refusal::Secrets(secrets).record(context, operation)
        };
        self.record(record, OperationError::AuditUnavailable).await
    }
}

/// Applies the caller's checksum to what was found.
pub(super) fn settle(found: Result<Served, BackendError>, asked: &Checksum, strict: bool) -> ReadResult {
    let served = found?;
    if strict && !asked.is_empty() && served.entry.checksum() != asked {
        return Err(OperationError::ChecksumDiffers);
    }
    Ok(served)
}

/// All values, or the first error; an absence is reported only where nothing worse happened, because it says the most.
fn gather(found: Vec<Result<Served, BackendError>>) -> Result<Vec<Served>, OperationError> {
    let mut all = Vec::with_capacity(found.len());
    let mut absent = None;
    for (position, result) in found.into_iter().enumerate() {
        match result {
            Ok(served) => all.push(served),
            Err(error @ (BackendError::Absent | BackendError::ScopeMissing)) => {
                absent.get_or_insert(OperationError::BackendAt(position, error));
            }
            Err(error) => return Err(OperationError::BackendAt(position, error)),
        }
    }
    absent.map_or(Ok(all), Err)
}
