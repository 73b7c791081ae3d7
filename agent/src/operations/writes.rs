//! Put, rotate and delete: always to the backend, always with a pair of records.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Context, OperationError, Operations, Refusal};
use crate::access::WritePermit;
use crate::audit::{AuditDecision, AuditFingerprint, AuditResult, Operation, Phase, Reason, Record};
use crate::backend::{BackendError, Entries, Guard, Put, Written};
use crate::id::{Checksum, Location, SecretId, Slot};
use crate::secret::SecretValue;
use crate::slots::{MapSlot, SlotKind};

/// What a PUT stores.
pub enum PutValue {
    /// These bytes.
    Literal(SecretValue),
    /// A new generated value: the words `rotate` and `{{rotate}}`, and nothing else, mean it.
    Generated,
}

impl PutValue {
    /// Reads the reference's contract: exactly `rotate` or `{{rotate}}` is a command, unless the caller says literal.
    #[must_use]
    pub fn from_request(value: SecretValue, literal: bool) -> Self {
        if !literal && matches!(value.expose(), "rotate" | "{{rotate}}") {
            Self::Generated
        } else {
            Self::Literal(value)
        }
    }
}

/// The ids after a rotation.
pub struct Rotated {
    /// The secret with its new checksum.
    pub id: SecretId,
    /// Where the old value is now, if it was kept.
    pub previous: Option<SecretId>,
}

impl Operations {
    /// The permit to write `location`, which must be a slot of the catalogue.
    ///
    /// # Errors
    /// [`OperationError`]; nothing was read or changed.
    pub async fn permit_write(
        &self,
        context: &Context,
        operation: Operation,
        location: Location,
    ) -> Result<WritePermit, OperationError> {
        if self.catalogue.is_sub_key_of_scalar(&location) {
            return Err(OperationError::SubKeyOfScalar);
        }
        let permit = match self.may_change(context, operation, location).await {
            Ok(permit) => permit,
            Err(refused) => {
                let target = Refusal::Secrets(&[&refused.target]);
                return Err(self.record_refusal(context, operation, target, refused.error).await);
            }
        };
        let location = permit.location();
        if operation != Operation::Delete && self.catalogue.slot(location.scope_kind(), location.slot()).is_err() {
            return Err(self.record_slot_refusal(context, operation, location).await);
        }
        Ok(permit)
    }

    /// The permit to write entries of the map slot at `location`.
    ///
    /// # Errors
    /// [`OperationError`]; nothing was read or changed.
    pub async fn permit_entries(&self, context: &Context, location: Location) -> Result<WritePermit, OperationError> {
        let spec = self.catalogue.slot(location.scope_kind(), location.slot());
        if spec.is_ok_and(|spec| spec.kind == SlotKind::Scalar) {
            return Err(OperationError::SubKeyOfScalar);
        }
        self.permit_write(context, Operation::Obfuscate, location).await
    }

    /// Stores a value; answers with the id of what is stored now.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn put(
        self: &Arc<Self>,
        context: &Context,
        permit: WritePermit,
        value: PutValue,
        guard: Guard,
    ) -> Result<SecretId, OperationError> {
        let value = match value {
            PutValue::Literal(value) => self.check_value(permit.location(), value)?,
            PutValue::Generated => self.generate(permit.location())?,
        };
        let location = permit.location().clone();
        let put = Put { value, guard, keep_previous: None };
        let written = self.write(context, Operation::Put, permit, put).await?;
        Ok(SecretId::new(location, written.checksum))
    }

    /// Replaces a value by a generated one, and moves the old one to `keep_previous` in the same write.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn rotate(
        self: &Arc<Self>,
        context: &Context,
        permit: WritePermit,
        keep_previous: Option<Slot>,
        guard: Guard,
    ) -> Result<Rotated, OperationError> {
        let location = permit.location().clone();
        if let Some(slot) = &keep_previous {
            let Ok(spec) = self.catalogue.slot(location.scope_kind(), slot.as_str()) else {
                return Err(self.record_slot_refusal(context, Operation::Rotate, &location).await);
            };
            if spec.kind != SlotKind::Scalar || slot.as_str() == location.slot() || location.sub_key().is_some() {
                return Err(OperationError::NotRotatable);
            }
        }
        let value = self.generate(&location)?;
        let previous = keep_previous.as_ref().map(|slot| location.sibling(slot));
        let written = self.write(context, Operation::Rotate, permit, Put { value, guard, keep_previous }).await?;
        Ok(Rotated {
            id: SecretId::new(location, written.checksum),
            previous: previous.zip(written.previous).map(|(place, checksum)| SecretId::new(place, checksum)),
        })
    }

    /// Stores strings of a document as entries of the map slot that `permit` is for: all of them in one write, or none.
    /// Answers with their ids in the same order. Where there are none, nothing is written.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn obfuscate(
        self: &Arc<Self>,
        context: &Context,
        permit: WritePermit,
        entries: Entries,
    ) -> Result<Vec<SecretId>, OperationError> {
        entries.iter().try_for_each(|(_, value)| self.check_entry(value))?;
        if entries.is_empty() {
            self.record_without_effect(context, Operation::Obfuscate, &[permit.location()]).await?;
            return Ok(Vec::new());
        }
        let (this, context) = (Arc::clone(self), context.clone());
        self.detached(OperationError::OutcomeUnknown, async move {
            let places: Vec<Location> = entries.iter().map(|(key, _)| permit.location().entry(key)).collect();
            let secrets: Vec<&Location> = places.iter().collect();
            let target = Refusal::Secrets(&secrets);
            let began = this.begin(&context, Operation::Obfuscate, target).await?;
            let result = this.cache.put_entries(&permit, entries).await;
            let checksums = this.end(&context, Operation::Obfuscate, target, began, None, result).await?;
            Ok(places.into_iter().zip(checksums).map(|(place, checksum)| SecretId::new(place, checksum)).collect())
        })
        .await
    }

    /// Whether `value` may be an entry of a map slot.
    ///
    /// # Errors
    /// [`OperationError::BlankValue`] or [`OperationError::ValueTooLarge`].
    pub fn check_entry(&self, value: &SecretValue) -> Result<(), OperationError> {
        if value.is_blank() {
            return Err(OperationError::BlankValue);
        }
        if value.len() > self.value_bytes { Err(OperationError::ValueTooLarge) } else { Ok(()) }
    }

    /// Deletes a secret.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn delete(
        self: &Arc<Self>,
        context: &Context,
        permit: WritePermit,
        guard: Guard,
    ) -> Result<(), OperationError> {
        let (this, context) = (Arc::clone(self), context.clone());
        self.detached_within(self.load_timeout, OperationError::OutcomeUnknown, async move {
            let secrets = [permit.location()];
            let target = Refusal::Secrets(&secrets);
            let began = this.begin(&context, Operation::Delete, target).await?;
            let result = this.cache.delete(&permit, guard).await;
            this.end(&context, Operation::Delete, target, began, None, result).await
        })
        .await
    }

    async fn write(
        self: &Arc<Self>,
        context: &Context,
        operation: Operation,
        permit: WritePermit,
        put: Put,
    ) -> Result<Written, OperationError> {
        let (this, context) = (Arc::clone(self), context.clone());
        self.detached(OperationError::OutcomeUnknown, async move {
            let secrets = [permit.location()];
            let target = Refusal::Secrets(&secrets);
            let began = this.begin(&context, operation, target).await?;
            let fingerprint = this.audit.fingerprint(&put.value);
            let result = this.cache.put(&permit, put).await;
            this.end(&context, operation, target, began, Some(fingerprint), result).await
        })
        .await
    }

    /// Takes a token and records the attempt: after this, and only after this, the backend may be called.
    pub(super) async fn begin(
        &self,
        context: &Context,
        operation: Operation,
        target: Refusal<'_>,
    ) -> Result<Instant, OperationError> {
        self.take(context, operation, target, 1).await?;
        let attempt = Record { phase: Phase::Attempt, ..target.record(context, operation) };
        self.record(attempt, OperationError::AuditUnavailable).await?;
        Ok(Instant::now())
    }

    /// Records the outcome. A write that happened but cannot be recorded is answered as unknown (N6).
    pub(super) async fn end<T>(
        &self,
        context: &Context,
        operation: Operation,
        target: Refusal<'_>,
        began: Instant,
        fingerprint: Option<AuditFingerprint>,
        result: Result<T, BackendError>,
    ) -> Result<T, OperationError> {
        if let Some(scope) = target.within() {
            (self.written)(&scope);
        }
        let result = result.map_err(OperationError::from);
        let record = Record {
            phase: Phase::Outcome,
            result: Some(result.as_ref().map_or_else(|error| error.audit_result(), |_| AuditResult::Ok)),
            fingerprint: fingerprint.filter(|_| result.is_ok()),
            duration: Some(began.elapsed()),
            ..target.record(context, operation)
        };
        self.record(record, OperationError::OutcomeUnknown).await?;
        result
    }

    fn check_value(&self, location: &Location, value: SecretValue) -> Result<SecretValue, OperationError> {
        self.check_entry(&value)?;
        if self.is_whole_map(location) {
            let map = MapSlot::accept(value.expose());
            let usable = map.is_ok_and(|map| !map.is_empty());
            return if usable { Ok(value) } else { Err(OperationError::Backend(BackendError::InvalidValue)) };
        }
        Ok(value)
    }

    fn generate(&self, location: &Location) -> Result<SecretValue, OperationError> {
        if self.is_whole_map(location) {
            return Err(OperationError::NotRotatable);
        }
        self.generator.generate().map_err(|_| OperationError::Internal)
    }

    fn is_whole_map(&self, location: &Location) -> bool {
        location.sub_key().is_none()
            && self.catalogue.slot(location.scope_kind(), location.slot()).is_ok_and(|spec| spec.kind == SlotKind::Map)
    }

    async fn record_slot_refusal(
        &self,
        context: &Context,
        operation: Operation,
        location: &Location,
    ) -> OperationError {
        let secrets = [location];
        let record = Record {
            decision: AuditDecision::Deny,
            reason: Reason::SlotNotAllowed,
            result: Some(AuditResult::Refused),
            ..Refusal::Secrets(&secrets).record(context, operation)
        };
        match self.record(record, OperationError::AuditUnavailable).await {
            Ok(()) => OperationError::SlotNotAllowed,
            Err(unrecorded) => unrecorded,
        }
    }
}

/// The guard that `?checksum=strict` asks for: a caller that states no checksum demands nothing.
#[must_use]
pub fn guard(strict: bool, checksum: &Checksum) -> Guard {
    if strict && !checksum.is_empty() { Guard::Matches(checksum.clone()) } else { Guard::None }
}
