//! Permits: values that only authorisation can make. No permit, no call: the compiler checks N3.

use super::Subject;
use crate::id::{Location, Scope};

/// `subject` may resolve the secret at `location`.
pub struct ReadPermit {
    location: Location,
    subject: Subject,
}

impl ReadPermit {
    pub(super) fn new(location: Location, subject: Subject) -> Self {
        Self { location, subject }
    }

    /// The one secret that this permit is for.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Who asked.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The permit to read the whole map slot, for a backend that stores the slot as one value: the right is decided
    /// by scope, so whoever may read an entry may read its slot.
    #[must_use]
    pub fn for_whole_slot(&self) -> Self {
        Self { location: self.location.whole_slot(), subject: self.subject.clone() }
    }

    /// The same permit for a second holder (a background refresh outlives the request that it was made for).
    #[must_use]
    pub fn share(&self) -> Self {
        Self { location: self.location.clone(), subject: self.subject.clone() }
    }
}

/// `subject` may put, rotate or delete the secret at `location`.
pub struct WritePermit {
    location: Location,
    subject: Subject,
}

impl WritePermit {
    pub(super) fn new(location: Location, subject: Subject) -> Self {
        Self { location, subject }
    }

    /// The one secret that this permit is for.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Who asked.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The same permit for the task that carries the write out and outlives whoever waits for it.
    #[must_use]
    pub(crate) fn share(&self) -> Self {
        Self { location: self.location.clone(), subject: self.subject.clone() }
    }
}

/// `subject` may create, update or delete `scope` and the slots in it.
pub struct OnboardPermit {
    scope: Scope,
    subject: Subject,
}

impl OnboardPermit {
    pub(super) fn new(scope: Scope, subject: Subject) -> Self {
        Self { scope, subject }
    }

    /// The one scope that this permit is for.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Who asked.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The same permit for the task that carries the write out and outlives whoever waits for it.
    #[must_use]
    pub(crate) fn share(&self) -> Self {
        Self { scope: self.scope.clone(), subject: self.subject.clone() }
    }
}
