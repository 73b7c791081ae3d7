//! Why an operation did not happen, or may have happened unseen.

use std::time::Duration;

use crate::access::AccessError;
use crate::audit::AuditResult;
use crate::backend::BackendError;
use crate::id::IdError;
use crate::slots::OnboardRefusal;

/// Everything that an operation can end with other than its answer. Carries no caller text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// No permit.
    #[error("access was refused")]
    Access(#[source] AccessError),
    /// The slot may not be written in this kind of scope.
    #[error("the secret is not allowed for onboarding")]
    SlotNotAllowed,
    /// An id or a name breaks the grammar.
    #[error("an id is invalid")]
    Id(#[source] IdError),
    /// A sub-key stands under a slot that holds one value.
    #[error("a sub-key stands under a slot that holds one value")]
    SubKeyOfScalar,
    /// The value is empty or only white space.
    #[error("the value is empty or only white space")]
    BlankValue,
    /// The value is longer than the limit.
    #[error("the value is longer than the limit")]
    ValueTooLarge,
    /// `rotate` names something that cannot take a generated value, or `keepPrevious` something that cannot take one.
    #[error("the slot cannot take a generated or a previous value")]
    NotRotatable,
    /// The onboarding request is invalid.
    #[error("the onboarding request is invalid")]
    Onboard(#[source] OnboardRefusal),
    /// The checksum does not match and the caller asked to be strict.
    #[error("the current value is not the one the checksum names")]
    ChecksumDiffers,
    /// The caller's bucket is empty.
    #[error("the caller asks too often")]
    RateLimited(Duration),
    /// The attempt, or a read's outcome, cannot be recorded.
    #[error("the audit record cannot be written")]
    AuditUnavailable,
    /// A write happened, or may have happened, and its outcome cannot be recorded or is unknown.
    #[error("the outcome of the write is unknown or could not be recorded")]
    OutcomeUnknown,
    /// The request's deadline passed before anything was changed.
    #[error("the deadline of the request passed")]
    Deadline,
    /// The backend.
    #[error("the backend did not do it")]
    Backend(#[source] BackendError),
    /// The same in a batch, at a position that the answer may name.
    #[error("the backend did not answer for one id")]
    BackendAt(usize, #[source] BackendError),
    /// Our defect.
    #[error("internal error")]
    Internal,
}

impl OperationError {
    /// The word for the record.
    pub(super) fn audit_result(self) -> AuditResult {
        match self {
            Self::Backend(error) | Self::BackendAt(_, error) => backend_result(error),
            Self::ChecksumDiffers => AuditResult::Conflict,
            Self::OutcomeUnknown | Self::Internal => AuditResult::Unknown,
            Self::AuditUnavailable | Self::Deadline => AuditResult::Unavailable,
            Self::Access(_)
            | Self::SlotNotAllowed
            | Self::Id(_)
            | Self::SubKeyOfScalar
            | Self::BlankValue
            | Self::ValueTooLarge
            | Self::NotRotatable
            | Self::Onboard(_)
            | Self::RateLimited(_) => AuditResult::Refused,
        }
    }
}

impl From<BackendError> for OperationError {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::ChecksumDiffers => Self::ChecksumDiffers,
            BackendError::OutcomeUnknown => Self::OutcomeUnknown,
            other => Self::Backend(other),
        }
    }
}

fn backend_result(error: BackendError) -> AuditResult {
    match error {
        BackendError::Absent | BackendError::ScopeMissing => AuditResult::NotFound,
        BackendError::ChecksumDiffers | BackendError::Contention | BackendError::VersionGap => AuditResult::Conflict,
        BackendError::Denied
        | BackendError::LoadRefused
        | BackendError::InvalidValue
        | BackendError::TooLarge
        | BackendError::Rejected
        | BackendError::Immutable
        | BackendError::NamespaceMissing => AuditResult::Refused,
        BackendError::Unavailable { .. }
        | BackendError::NotSerialised
        | BackendError::Terminating { .. }
        | BackendError::Misbehaved
        | BackendError::Unreadable => AuditResult::Unavailable,
        BackendError::OutcomeUnknown => AuditResult::Unknown,
    }
}
