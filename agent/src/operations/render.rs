//! Reading for files: many secrets at once, each with an outcome of its own.
//!
//! The agent asks as any caller does: with its own identity and permits, and with records. A file that may not have its
//! secret must not keep another from having its own, so that unlike a batch this is not all or nothing.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::reads::settle;
use super::{Context, OperationError, Operations, Refusal, audit_source};
use crate::access::{AccessError, ReadPermit};
use crate::audit::{AuditResult, Operation, Phase, Record};
use crate::cache::Served;
use crate::id::{Checksum, Location, SecretId};

/// What came of one secret.
pub type Each = Result<Served, OperationError>;

/// Secrets in one record and in one call of the backend.
const TOGETHER: usize = 100;

impl Operations {
    /// The value of each of `ids`, which name different secrets. What cannot be recorded is not given.
    pub async fn render(self: &Arc<Self>, context: &Context, ids: Vec<SecretId>) -> HashMap<Location, Each> {
        let mut found = HashMap::with_capacity(ids.len());
        let mut ids = ids.into_iter().peekable();
        while ids.peek().is_some() {
            let some = ids.by_ref().take(TOGETHER).collect();
            found.extend(self.render_some(context, some).await);
        }
        found
    }

    async fn render_some(self: &Arc<Self>, context: &Context, ids: Vec<SecretId>) -> HashMap<Location, Each> {
        let mut found = HashMap::with_capacity(ids.len());
        let (mut wanted, mut refused) = (Vec::with_capacity(ids.len()), Vec::new());
        for (location, asked) in ids.into_iter().map(SecretId::into_parts) {
            if self.catalogue.is_sub_key_of_scalar(&location) {
                found.insert(location, Err(OperationError::SubKeyOfScalar));
                continue;
            }
            match self.may_read(context, location).await {
                Ok(permit) => wanted.push((permit, asked)),
                Err(denial) => refused.push((denial.target, denial.error)),
            }
        }
        self.refuse_all(context, refused, &mut found).await;
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for (permit, asked) in wanted {
            match self.cache.peek(&permit, &asked) {
                Some(answer) => known.push((permit.location().clone(), settle(answer, &asked, false))),
                None => unknown.push((permit, asked)),
            }
        }
        self.record_each(context, Phase::Served, known, None, &mut found).await;
        if unknown.is_empty() {
            return found;
        }
        let locations: Vec<Location> = unknown.iter().map(|(permit, _)| permit.location().clone()).collect();
        let (this, context) = (Arc::clone(self), context.clone());
        let fetched = self.detached(OperationError::Deadline, async move { this.fetch_each(&context, unknown).await });
        match fetched.await {
            Ok(fetched) => found.extend(fetched),
            Err(error) => found.extend(locations.into_iter().map(|location| (location, Err(error)))),
        }
        found
    }

    async fn fetch_each(
        &self,
        context: &Context,
        unknown: Vec<(ReadPermit, Checksum)>,
    ) -> Result<HashMap<Location, Each>, OperationError> {
        let locations: Vec<Location> = unknown.iter().map(|(permit, _)| permit.location().clone()).collect();
        let secrets: Vec<&Location> = locations.iter().collect();
        let target = Refusal::Secrets(&secrets);
        // One call of the backend, which is what the bucket protects.
        self.take(context, Operation::Render, target, 1).await?;
        let attempt = Record { phase: Phase::Attempt, ..target.record(context, Operation::Render) };
        self.record(attempt, OperationError::AuditUnavailable).await?;
        let began = Instant::now();
        let answers = self.cache.get_many(unknown).await.into_iter().map(|answer| answer.map_err(OperationError::from));
        let answers = locations.iter().cloned().zip(answers).collect();
        let mut found = HashMap::with_capacity(locations.len());
        self.record_each(context, Phase::Outcome, answers, Some(began), &mut found).await;
        Ok(found)
    }

    /// One record for those who share a refusal.
    async fn refuse_all(
        &self,
        context: &Context,
        refused: Vec<(Location, AccessError)>,
        found: &mut HashMap<Location, Each>,
    ) {
        let mut rest = refused;
        while let Some((_, error)) = rest.first() {
            let error = *error;
            let (these, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(_, other)| *other == error);
            let secrets: Vec<&Location> = these.iter().map(|(location, _)| location).collect();
            let target = Refusal::Secrets(&secrets);
            let recorded = self.record_refusal(context, Operation::Render, target, error).await;
            found.extend(these.into_iter().map(|(location, _)| (location, Err(recorded))));
            rest = others;
        }
    }

    /// One record for those who share a result, which is one for all where nothing is wrong.
    async fn record_each(
        &self,
        context: &Context,
        phase: Phase,
        answers: Vec<(Location, Each)>,
        began: Option<Instant>,
        found: &mut HashMap<Location, Each>,
    ) {
        let result = |answer: &Each| answer.as_ref().map_or_else(|error| error.audit_result(), |_| AuditResult::Ok);
        let mut rest = answers;
        while let Some((_, first)) = rest.first() {
            let word = result(first);
            let (these, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(_, answer)| result(answer) == word);
            let secrets: Vec<&Location> = these.iter().map(|(location, _)| location).collect();
            let record = Record {
                phase,
                result: Some(word),
                source: these.iter().filter_map(|(_, answer)| answer.as_ref().ok().map(audit_source)).max(),
                duration: began.map(|began| began.elapsed()),
                ..Refusal::Secrets(&secrets).record(context, Operation::Render)
            };
            let unrecorded = self.record(record, OperationError::AuditUnavailable).await.err();
            found.extend(these.into_iter().map(|(location, answer)| (location, unrecorded.map_or(answer, Err))));
            rest = others;
        }
    }
}

impl Operations {
    /// Whether the caller may still read all of `known`, and memory still has each in the state that is named. Answers
    /// from memory, gives nothing out and so leaves no record.
    pub async fn is_still(&self, context: &Context, known: &[(Location, Checksum)]) -> bool {
        for (location, checksum) in known {
            let Ok(permit) = self.may_read(context, location.clone()).await else { return false };
            match self.cache.peek(&permit, &Checksum::default()) {
                Some(Ok(served)) if served.entry.checksum() == checksum => {}
                _ => return false,
            }
        }
        true
    }
}
