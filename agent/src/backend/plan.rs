//! What a write does to the slots of one scope, worked out from what is there now: pure, and the same for every backend.
//!
//! A backend reads, plans, and stores the plan's changes in one step of its own, or not at all; where somebody else was
//! faster, it reads and plans again.

use std::collections::HashMap;

use super::{BackendError, Guard, Put};
use crate::id::{Checksum, Fingerprinter, Location, Scope, Slot, SubKey};
use crate::secret::SecretValue;
use crate::slots::{Catalogue, Generator, MapError, MapSlot, OnboardRequest, SlotChange, SlotError, SlotKind};

/// What a plan must keep to.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// Which slots there are.
    pub catalogue: &'a Catalogue,
    /// Makes the values that onboarding starts with.
    pub generator: &'a Generator,
    /// The largest slot, in bytes.
    pub slot_bytes_max: usize,
}

/// What is to be stored, and what the answer is about.
#[derive(Default)]
pub struct Plan {
    /// The new content of each slot that changes; none removes it.
    pub changes: Vec<(Slot, Option<SecretValue>)>,
    /// What the answer names, in its order: the fingerprint is made where the backend's key is known.
    pub named: Vec<(Location, SecretValue)>,
}

/// The content of a slot now, by its name.
pub type Read<'a> = &'a dyn Fn(&str) -> Result<Option<SecretValue>, BackendError>;

impl Plan {
    fn set(&mut self, rules: Rules<'_>, slot: &Slot, value: SecretValue) -> Result<(), BackendError> {
        if value.len() > rules.slot_bytes_max {
            return Err(BackendError::TooLarge);
        }
        self.changes.push((slot.clone(), Some(value)));
        Ok(())
    }

    fn remove(&mut self, slot: &Slot) {
        self.changes.push((slot.clone(), None));
    }

    fn name(&mut self, location: Location, value: &SecretValue) {
        self.named.push((location, value.duplicate()));
    }
}

/// Writes one secret. The first named is the secret, the second the place that took its old value.
///
/// # Errors
/// [`BackendError`]: the guard does not hold, or the value does not fit.
pub fn put(
    rules: Rules<'_>,
    fingerprinter: &Fingerprinter,
    location: &Location,
    put: &Put,
    read: Read<'_>,
) -> Result<Plan, BackendError> {
    let spec = rules.catalogue.slot(location.scope_kind(), location.slot()).map_err(|_| BackendError::Denied)?;
    let stored = read(location.slot())?;
    let mut plan = Plan::default();
    plan.name(location.clone(), &put.value);
    match location.sub_key() {
        Some(key) => {
            let key = SubKey::parse(key).map_err(|_| BackendError::InvalidValue)?;
            if spec.kind == SlotKind::Scalar || put.keep_previous.is_some() {
                return Err(BackendError::InvalidValue);
            }
            let mut map = read_map(stored.as_ref())?;
            check(fingerprinter, location, map.get(key.as_str()).as_ref(), &put.guard)?;
            map.set(&key, &put.value);
            plan.set(rules, &spec.name, map.to_value())?;
        }
        None => {
            if spec.kind == SlotKind::Map {
                MapSlot::accept(put.value.expose()).map_err(|_| BackendError::InvalidValue)?;
            }
            check(fingerprinter, location, stored.as_ref(), &put.guard)?;
            plan.set(rules, &spec.name, put.value.duplicate())?;
            if let (Some(slot), Some(old)) = (&put.keep_previous, stored) {
                let kept = location.sibling(slot);
                let spec = rules.catalogue.slot(kept.scope_kind(), kept.slot()).map_err(|_| BackendError::Denied)?;
                if spec.kind == SlotKind::Map {
                    return Err(BackendError::InvalidValue);
                }
                plan.name(kept, &old);
                plan.set(rules, &spec.name, old)?;
            }
        }
    }
    Ok(plan)
}

/// Writes entries of the map slot at `location`, beside those that are there. The named are the entries, in their order.
///
/// # Errors
/// [`BackendError`]: the slot is none that has entries, or would be too large.
pub fn put_entries(
    rules: Rules<'_>,
    location: &Location,
    entries: &[(SubKey, SecretValue)],
    read: Read<'_>,
) -> Result<Plan, BackendError> {
    let spec = rules.catalogue.slot(location.scope_kind(), location.slot()).map_err(|_| BackendError::Denied)?;
    if spec.kind == SlotKind::Scalar || location.sub_key().is_some() {
        return Err(BackendError::InvalidValue);
    }
    let mut map = read_map(read(location.slot())?.as_ref())?;
    let mut plan = Plan::default();
    for (key, value) in entries {
        plan.name(location.entry(key), value);
        map.set(key, value);
    }
    plan.set(rules, &spec.name, map.to_value())?;
    Ok(plan)
}

/// Deletes one secret; the last entry of a map slot takes the slot with it.
///
/// # Errors
/// [`BackendError`]: it is not there, or the guard does not hold.
pub fn delete(
    rules: Rules<'_>,
    fingerprinter: &Fingerprinter,
    location: &Location,
    guard: &Guard,
    read: Read<'_>,
) -> Result<Plan, BackendError> {
    let stored = read(location.slot())?.ok_or(BackendError::Absent)?;
    let slot = Slot::parse(location.slot()).map_err(|_| BackendError::InvalidValue)?;
    let mut plan = Plan::default();
    match location.sub_key() {
        None => {
            check(fingerprinter, location, Some(&stored), guard)?;
            plan.remove(&slot);
        }
        Some(key) => {
            let mut map = read_map(Some(&stored))?;
            let current = map.get(key).ok_or(BackendError::Absent)?;
            check(fingerprinter, location, Some(&current), guard)?;
            map.remove(key);
            if map.is_empty() { plan.remove(&slot) } else { plan.set(rules, &slot, map.to_value())? }
        }
    }
    Ok(plan)
}

/// Creates or updates the slots of a scope. Names the stored slots and the sub-keys of the request.
///
/// # Errors
/// [`BackendError`]: something does not fit, or cannot be merged with what is there.
pub fn onboard(
    rules: Rules<'_>,
    scope: &Scope,
    request: &OnboardRequest,
    read: Read<'_>,
) -> Result<Plan, BackendError> {
    let mut plan = Plan::default();
    for spec in rules.catalogue.slots(scope.kind()) {
        let stored = read(spec.name.as_str())?;
        let outcome = request.change(spec, stored.as_ref(), rules.generator).map_err(|error| match error {
            SlotError::Unreadable => BackendError::Unreadable,
            SlotError::NoRandomness => BackendError::Unavailable { retry_after: std::time::Duration::from_secs(1) },
        })?;
        let value = match outcome {
            SlotChange::Keep => stored,
            SlotChange::Set(value) => {
                plan.set(rules, &spec.name, value.duplicate())?;
                Some(value)
            }
            SlotChange::Remove => {
                plan.remove(&spec.name);
                None
            }
        };
        let Some(value) = value else { continue };
        plan.name(Location::of(scope, &spec.name, None), &value);
        let mut keys = request.named_sub_keys().filter(|(slot, _)| **slot == spec.name).map(|(_, key)| key).peekable();
        if keys.peek().is_none() {
            continue;
        }
        let map = read_map(Some(&value))?;
        for key in keys {
            let entry = map.get(key.as_str()).ok_or(BackendError::Unreadable)?;
            plan.name(Location::of(scope, &spec.name, Some(key)), &entry);
        }
    }
    Ok(plan)
}

/// The slots that the secrets of one call are in: a map is read once, however many of its entries are asked for.
#[derive(Default)]
pub struct Selection {
    maps: HashMap<String, MapSlot>,
}

impl Selection {
    /// One secret out of its slot, whose content `stored` answers: itself, or the entry with the literal key.
    ///
    /// # Errors
    /// Those of `stored`; [`BackendError::Absent`], or [`BackendError::Unreadable`] where the slot is no map.
    pub fn select(
        &mut self,
        location: &Location,
        stored: impl FnOnce() -> Result<SecretValue, BackendError>,
    ) -> Result<SecretValue, BackendError> {
        let Some(key) = location.sub_key() else { return stored() };
        if let Some(map) = self.maps.get(location.slot_text()) {
            return map.get(key).ok_or(BackendError::Absent);
        }
        let map = read_map(Some(&stored()?))?;
        let found = map.get(key);
        self.maps.insert(location.slot_text().to_owned(), map);
        found.ok_or(BackendError::Absent)
    }
}

fn check(
    fingerprinter: &Fingerprinter,
    location: &Location,
    current: Option<&SecretValue>,
    guard: &Guard,
) -> Result<(), BackendError> {
    let Guard::Matches(wanted) = guard else { return Ok(()) };
    let found: Option<Checksum> = current.map(|value| fingerprinter.checksum(location, value));
    if found.as_ref() == Some(wanted) { Ok(()) } else { Err(BackendError::ChecksumDiffers) }
}

fn read_map(stored: Option<&SecretValue>) -> Result<MapSlot, BackendError> {
    let read = stored.map(|value| MapSlot::read(value.expose())).transpose();
    read.map(Option::unwrap_or_default).map_err(|_: MapError| BackendError::Unreadable)
}
