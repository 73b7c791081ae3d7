//! What a write does to scopes and slots: worked out first, then applied as a whole or not at all.

use redb::{ReadableTable as _, Table, WriteTransaction};

use super::{SCOPES, SLOTS, Store, unavailable};
use crate::backend::{BackendError, Guard, Put, Written};
use crate::id::{Checksum, Location, Scope, SubKey};
use crate::secret::SecretValue;
use crate::slots::{MapError, MapSlot, OnboardRequest, OnboardedItem, SlotChange, SlotError, SlotKind};

/// The tables of one write.
pub(super) struct SlotTables<'a> {
    scopes: Table<'a, &'static str, ()>,
    slots: Table<'a, &'static str, &'static [u8]>,
}

/// What one job changes. A job that fails has none, so it leaves nothing in the commit that it shares with others.
#[derive(Default)]
pub(super) struct Change {
    new_scopes: Vec<String>,
    gone_scope: Option<String>,
    /// Sealed records; none removes.
    slots: Vec<(String, Option<Vec<u8>>)>,
}

impl<'a> SlotTables<'a> {
    pub(super) fn open(transaction: &'a WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self { scopes: transaction.open_table(SCOPES)?, slots: transaction.open_table(SLOTS)? })
    }

    /// Carries a change out.
    pub(super) fn apply(&mut self, change: &Change) -> Result<(), redb::Error> {
        for scope in &change.new_scopes {
            self.scopes.insert(scope.as_str(), ())?;
        }
        if let Some(scope) = &change.gone_scope {
            self.scopes.remove(scope.as_str())?;
        }
        for (slot, record) in &change.slots {
            match record {
                Some(record) => drop(self.slots.insert(slot.as_str(), record.as_slice())?),
                None => drop(self.slots.remove(slot.as_str())?),
            }
        }
        Ok(())
    }

    fn has_scope(&self, scope: &Scope) -> Result<bool, BackendError> {
        Ok(self.scopes.get(scope.as_str()).map_err(unavailable)?.is_some())
    }

    fn require_scope(&self, scope: &Scope) -> Result<(), BackendError> {
        if self.has_scope(scope)? { Ok(()) } else { Err(BackendError::ScopeMissing) }
    }

    fn read(&self, store: &Store, place: &str) -> Result<Option<SecretValue>, BackendError> {
        let record = self.slots.get(place).map_err(unavailable)?;
        record.map(|record| store.sealer.open(place, record.value())).transpose()
    }
}

impl Change {
    fn set(&mut self, store: &Store, place: &str, value: &SecretValue) -> Result<(), BackendError> {
        if value.len() > store.settings.slot_bytes_max {
            return Err(BackendError::TooLarge);
        }
        self.slots.push((place.to_owned(), Some(store.sealer.seal(place, value)?)));
        Ok(())
    }

    fn remove(&mut self, place: &str) {
        self.slots.push((place.to_owned(), None));
    }
}

fn check(store: &Store, location: &Location, current: Option<&SecretValue>, guard: &Guard) -> Result<(), BackendError> {
    match guard {
        Guard::None => Ok(()),
        Guard::Matches(wanted) => {
            let found = current.map(|value| store.fingerprinter.checksum(location, value));
            if found.as_ref() == Some(wanted) { Ok(()) } else { Err(BackendError::ChecksumDiffers) }
        }
    }
}

fn read_map(stored: Option<&SecretValue>) -> Result<MapSlot, BackendError> {
    let read = stored.map(|value| MapSlot::read(value.expose())).transpose();
    read.map(Option::unwrap_or_default).map_err(|_: MapError| BackendError::Unreadable)
}

pub(super) fn put(
    store: &Store,
    tables: &mut SlotTables<'_>,
    location: &Location,
    put: &Put,
) -> Result<(Change, Written), BackendError> {
    tables.require_scope(&location.scope())?;
    let spec = store.catalogue.slot(location.scope_kind(), location.slot()).map_err(|_| BackendError::Denied)?;
    let place = location.slot_text();
    let stored = tables.read(store, place)?;
    let mut change = Change::default();
    let mut previous = None;
    match location.sub_key() {
        Some(key) => {
            let key = SubKey::parse(key).map_err(|_| BackendError::InvalidValue)?;
            if spec.kind == SlotKind::Scalar || put.keep_previous.is_some() {
                return Err(BackendError::InvalidValue);
            }
            let mut map = read_map(stored.as_ref())?;
            check(store, location, map.get(key.as_str()).as_ref(), &put.guard)?;
            map.set(&key, &put.value);
            change.set(store, place, &map.to_value())?;
        }
        None => {
            if spec.kind == SlotKind::Map {
                MapSlot::accept(put.value.expose()).map_err(|_| BackendError::InvalidValue)?;
            }
            check(store, location, stored.as_ref(), &put.guard)?;
            change.set(store, place, &put.value)?;
            if let (Some(slot), Some(old)) = (&put.keep_previous, &stored) {
                let kept = location.sibling(slot);
                previous = Some(keep(store, &mut change, &kept, old)?);
            }
        }
    }
    Ok((change, Written { checksum: store.fingerprinter.checksum(location, &put.value), previous }))
}

fn keep(store: &Store, change: &mut Change, kept: &Location, old: &SecretValue) -> Result<Checksum, BackendError> {
    let spec = store.catalogue.slot(kept.scope_kind(), kept.slot()).map_err(|_| BackendError::Denied)?;
    if spec.kind == SlotKind::Map {
        return Err(BackendError::InvalidValue);
    }
    change.set(store, kept.slot_text(), old)?;
    Ok(store.fingerprinter.checksum(kept, old))
}

pub(super) fn delete(
    store: &Store,
    tables: &mut SlotTables<'_>,
    location: &Location,
    guard: &Guard,
) -> Result<(Change, ()), BackendError> {
    tables.require_scope(&location.scope())?;
    let place = location.slot_text();
    let stored = tables.read(store, place)?.ok_or(BackendError::Absent)?;
    let mut change = Change::default();
    match location.sub_key() {
        None => {
            check(store, location, Some(&stored), guard)?;
            change.remove(place);
        }
        Some(key) => {
            let mut map = read_map(Some(&stored))?;
            let current = map.get(key).ok_or(BackendError::Absent)?;
            check(store, location, Some(&current), guard)?;
            map.remove(key);
            if map.is_empty() { change.remove(place) } else { change.set(store, place, &map.to_value())? }
        }
    }
    Ok((change, ()))
}

pub(super) fn onboard(
    store: &Store,
    tables: &mut SlotTables<'_>,
    scope: &Scope,
    request: &OnboardRequest,
) -> Result<(Change, Vec<OnboardedItem>), BackendError> {
    let mut change = Change::default();
    for owner in lineage(scope)? {
        if !tables.has_scope(&owner)? {
            change.new_scopes.push(owner.as_str().to_owned());
        }
    }
    let mut items = Vec::new();
    for spec in store.catalogue.slots(scope.kind()) {
        let location = Location::of(scope, &spec.name, None);
        let stored = tables.read(store, location.slot_text())?;
        let outcome = request.change(spec, stored.as_ref(), &store.generator).map_err(|error| match error {
            SlotError::Unreadable => BackendError::Unreadable,
            SlotError::NoRandomness => unavailable(error),
        })?;
        let value = match outcome {
            SlotChange::Keep => stored,
            SlotChange::Set(value) => {
                change.set(store, location.slot_text(), &value)?;
                Some(value)
            }
            SlotChange::Remove => {
                change.remove(location.slot_text());
                None
            }
        };
        let Some(value) = value else { continue };
        let checksum = store.fingerprinter.checksum(&location, &value);
        items.push(OnboardedItem { slot: spec.name.clone(), sub_key: None, checksum });
        let named: Vec<&SubKey> =
            request.named_sub_keys().filter(|(slot, _)| **slot == spec.name).map(|(_, key)| key).collect();
        if named.is_empty() {
            continue;
        }
        let map = read_map(Some(&value))?;
        for key in named {
            let entry = map.get(key.as_str()).ok_or(BackendError::Unreadable)?;
            let place = Location::of(scope, &spec.name, Some(key));
            let checksum = store.fingerprinter.checksum(&place, &entry);
            items.push(OnboardedItem { slot: spec.name.clone(), sub_key: Some(key.clone()), checksum });
        }
    }
    Ok((change, items))
}

/// The scope and those above it: a missing parent becomes an empty scope.
fn lineage(scope: &Scope) -> Result<Vec<Scope>, BackendError> {
    let (team, app) = (scope.team().unwrap_or_default(), scope.app().unwrap_or_default());
    let mut scopes = vec![Scope::new(scope.env(), "", "")];
    if !team.is_empty() {
        scopes.push(Scope::new(scope.env(), team, ""));
    }
    if !app.is_empty() {
        scopes.push(Scope::new(scope.env(), team, app));
    }
    scopes.into_iter().collect::<Result<_, _>>().map_err(|_| BackendError::InvalidValue)
}

pub(super) fn offboard(tables: &mut SlotTables<'_>, scope: &Scope) -> Result<(Change, ()), BackendError> {
    tables.require_scope(scope)?;
    let prefix = format!("{}:{}:{}:", scope.env(), scope.team().unwrap_or_default(), scope.app().unwrap_or_default());
    let mut change = Change { gone_scope: Some(scope.as_str().to_owned()), ..Change::default() };
    for entry in tables.slots.range(prefix.as_str()..).map_err(unavailable)? {
        let (key, _) = entry.map_err(unavailable)?;
        if !key.value().starts_with(&prefix) {
            break;
        }
        change.remove(key.value());
    }
    Ok((change, ()))
}
