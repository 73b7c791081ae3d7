//! The catalogue: the slots of each kind of scope, as configured.

use crate::id::{Location, ScopeKind, Slot};

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotKind {
    /// One text.
    Scalar,
    /// A flat JSON object of strings, whose entries are addressed by sub-key.
    Map,
}

/// What onboarding puts into a slot that is absent and not named by the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Initial {
    /// Nothing.
    Nothing,
    /// A generated value; never generated again.
    Generated,
    /// The word `NOT_USED`, which the control plane reads as "no rotation in progress".
    NotUsed,
}

/// One slot of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSpec {
    /// Its name.
    pub name: Slot,
    /// Scalar or map.
    pub kind: SlotKind,
    /// What onboarding starts it with.
    pub initial: Initial,
}

/// A slot that the catalogue does not list for this kind of scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the slot is not allowed in this scope")]
pub struct UnknownSlot;

/// The slots of each kind of scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    /// Slots of an environment.
    pub environment: Vec<SlotSpec>,
    /// Slots of a team.
    pub team: Vec<SlotSpec>,
    /// Slots of an application.
    pub application: Vec<SlotSpec>,
}

impl Default for Catalogue {
    /// The slots of the control plane.
    fn default() -> Self {
        let slot = |name: &str, kind, initial| SlotSpec {
            name: Slot::parse(name).expect("a built-in slot name must pass the grammar"),
            kind,
            initial,
        };
        Self {
            environment: vec![slot("zones", SlotKind::Map, Initial::Nothing)],
            team: vec![
                slot("clientSecret", SlotKind::Scalar, Initial::Generated),
                slot("teamToken", SlotKind::Scalar, Initial::Generated),
            ],
            application: vec![
                slot("clientSecret", SlotKind::Scalar, Initial::Generated),
                slot("rotatedClientSecret", SlotKind::Scalar, Initial::NotUsed),
                slot("externalSecrets", SlotKind::Map, Initial::Nothing),
            ],
        }
    }
}

impl Catalogue {
    /// The slots of one kind of scope, in the order in which onboarding lists them.
    #[must_use]
    pub fn slots(&self, scope: ScopeKind) -> &[SlotSpec] {
        match scope {
            ScopeKind::Environment => &self.environment,
            ScopeKind::Team => &self.team,
            ScopeKind::Application => &self.application,
        }
    }

    /// The slot's entry.
    ///
    /// # Errors
    /// [`UnknownSlot`]: it may be read where the backend holds it, but never written.
    pub fn slot(&self, scope: ScopeKind, name: &str) -> Result<&SlotSpec, UnknownSlot> {
        self.slots(scope).iter().find(|spec| spec.name.as_str() == name).ok_or(UnknownSlot)
    }

    /// Whether the location names an entry of something that has none: a sub-key under a scalar slot.
    #[must_use]
    pub fn is_sub_key_of_scalar(&self, location: &Location) -> bool {
        location.sub_key().is_some()
            && self.slot(location.scope_kind(), location.slot()).is_ok_and(|spec| spec.kind == SlotKind::Scalar)
    }
}
