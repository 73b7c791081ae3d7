//! Onboarding: scopes come and go together with their slots.

use std::sync::Arc;

use super::{Context, OperationError, Operations, Refusal};
use crate::access::OnboardPermit;
use crate::audit::{AuditDecision, AuditResult, Operation, Reason, Record};
use crate::id::Scope;
use crate::slots::{OnboardEntry, OnboardError, OnboardRequest, OnboardedItem, Strategy};

impl Operations {
    /// The permit to create, update or delete `scope`.
    ///
    /// # Errors
    /// [`OperationError`]; nothing was read or changed.
    pub async fn permit_onboard(
        &self,
        context: &Context,
        operation: Operation,
        scope: Scope,
    ) -> Result<OnboardPermit, OperationError> {
        match self.may_onboard(context, operation, scope).await {
            Ok(permit) => Ok(permit),
            Err(refused) => {
                let target = Refusal::Scope(&refused.target);
                Err(self.record_refusal(context, operation, target, refused.error).await)
            }
        }
    }

    /// Creates or updates a scope.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn onboard(
        self: &Arc<Self>,
        context: &Context,
        permit: OnboardPermit,
        strategy: Strategy,
        entries: Vec<OnboardEntry>,
    ) -> Result<Vec<OnboardedItem>, OperationError> {
        if entries.iter().any(|entry| entry.value.len() > self.value_bytes) {
            return Err(OperationError::ValueTooLarge);
        }
        let request = match OnboardRequest::new(strategy, entries, &self.catalogue, permit.scope().kind()) {
            Ok(request) => request,
            Err(refusal) => {
                // Only this one is a decision; the others are mistakes of form.
                if refusal.cause == OnboardError::NotAllowed {
                    self.record_name_refusal(context, &permit).await?;
                }
                return Err(OperationError::Onboard(refusal));
            }
        };
        let (this, context) = (Arc::clone(self), context.clone());
        self.detached_within(self.load_timeout, OperationError::OutcomeUnknown, async move {
            let target = Refusal::Scope(permit.scope());
            let began = this.begin(&context, Operation::Onboard, target).await?;
            let result = this.cache.onboard(&permit, request).await;
            this.end(&context, Operation::Onboard, target, began, None, result).await
        })
        .await
    }

    /// Deletes a scope with its own slots and nothing below it.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn offboard(self: &Arc<Self>, context: &Context, permit: OnboardPermit) -> Result<(), OperationError> {
        let (this, context) = (Arc::clone(self), context.clone());
        self.detached_within(self.load_timeout, OperationError::OutcomeUnknown, async move {
            let target = Refusal::Scope(permit.scope());
            let began = this.begin(&context, Operation::Offboard, target).await?;
            let result = this.cache.offboard(&permit).await;
            this.end(&context, Operation::Offboard, target, began, None, result).await
        })
        .await
    }

    async fn record_name_refusal(&self, context: &Context, permit: &OnboardPermit) -> Result<(), OperationError> {
        let record = Record {
            decision: AuditDecision::Deny,
            reason: Reason::SlotNotAllowed,
            result: Some(AuditResult::Refused),
            ..Refusal::Scope(permit.scope()).record(context, Operation::Onboard)
        };
        self.record(record, OperationError::AuditUnavailable).await
    }
}
