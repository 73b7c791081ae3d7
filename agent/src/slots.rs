//! Slots: which named secrets a scope may hold, what an onboarding request may say, and how a map slot is merged.
//!
//! Pure: every backend calls this from inside its own write, so that all of them mean the same by "merge".

mod catalogue;
mod generate;
mod map;
mod onboard;

#[cfg(test)]
mod tests;

pub use catalogue::{Catalogue, Initial, SlotKind, SlotSpec, UnknownSlot};
pub use generate::Generator;
pub use map::{MapError, MapSlot};
pub use onboard::{
    OnboardEntry, OnboardError, OnboardRefusal, OnboardRequest, OnboardedItem, SlotChange, SlotError, SlotInput,
    Strategy,
};
