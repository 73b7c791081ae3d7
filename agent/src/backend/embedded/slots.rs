//! What a write does to scopes and slots: worked out first, then applied as a whole or not at all.

use redb::{ReadableTable as _, Table, WriteTransaction};

use super::{SCOPES, SLOTS, Store, unavailable};
use crate::backend::plan::{self, Plan};
use crate::backend::{BackendError, Guard, Put, Written};
use crate::id::{Checksum, Location, Scope, SubKey};
use crate::secret::SecretValue;
use crate::slots::{OnboardRequest, OnboardedItem};

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

    /// Reads slots of `scope` by name.
    fn reader<'b>(
        &'b self,
        store: &'b Store,
        scope: &'b Scope,
    ) -> impl Fn(&str) -> Result<Option<SecretValue>, BackendError> + 'b {
        let prefix =
            format!("{}:{}:{}:", scope.env(), scope.team().unwrap_or_default(), scope.app().unwrap_or_default());
        move |slot| self.read(store, &format!("{prefix}{slot}"))
    }

    fn read(&self, store: &Store, place: &str) -> Result<Option<SecretValue>, BackendError> {
        let record = self.slots.get(place).map_err(unavailable)?;
        record.map(|record| store.sealer.open(place, record.value())).transpose()
    }
}

impl Change {
    /// Seals what a plan stores.
    fn of(store: &Store, scope: &Scope, plan: &Plan) -> Result<Self, BackendError> {
        let mut change = Self::default();
        for (slot, value) in &plan.changes {
            let place = Location::of(scope, slot, None);
            let record = value.as_ref().map(|value| store.sealer.seal(place.as_str(), value)).transpose()?;
            change.slots.push((place.as_str().to_owned(), record));
        }
        Ok(change)
    }
}

pub(super) fn put(
    store: &Store,
    tables: &mut SlotTables<'_>,
    location: &Location,
    put: &Put,
) -> Result<(Change, Written), BackendError> {
    let scope = location.scope();
    tables.require_scope(&scope)?;
    let plan = plan::put(store.rules(), &store.fingerprinter, location, put, &tables.reader(store, &scope))?;
    let mut checksums = plan.named.iter().map(|(place, value)| store.fingerprinter.checksum(place, value));
    let written = Written { checksum: checksums.next().ok_or(BackendError::Misbehaved)?, previous: checksums.next() };
    Ok((Change::of(store, &scope, &plan)?, written))
}

pub(super) fn put_entries(
    store: &Store,
    tables: &mut SlotTables<'_>,
    location: &Location,
    entries: &[(SubKey, SecretValue)],
) -> Result<(Change, Vec<Checksum>), BackendError> {
    let scope = location.scope();
    tables.require_scope(&scope)?;
    let plan = plan::put_entries(store.rules(), location, entries, &tables.reader(store, &scope))?;
    let checksums = plan.named.iter().map(|(place, value)| store.fingerprinter.checksum(place, value)).collect();
    Ok((Change::of(store, &scope, &plan)?, checksums))
}

pub(super) fn delete(
    store: &Store,
    tables: &mut SlotTables<'_>,
    location: &Location,
    guard: &Guard,
) -> Result<(Change, ()), BackendError> {
    let scope = location.scope();
    tables.require_scope(&scope)?;
    let plan = plan::delete(store.rules(), &store.fingerprinter, location, guard, &tables.reader(store, &scope))?;
    Ok((Change::of(store, &scope, &plan)?, ()))
}

pub(super) fn onboard(
    store: &Store,
    tables: &mut SlotTables<'_>,
    scope: &Scope,
    request: &OnboardRequest,
) -> Result<(Change, Vec<OnboardedItem>), BackendError> {
    let plan = plan::onboard(store.rules(), scope, request, &tables.reader(store, scope))?;
    let mut change = Change::of(store, scope, &plan)?;
    for owner in scope.lineage() {
        if !tables.has_scope(&owner)? {
            change.new_scopes.push(owner.as_str().to_owned());
        }
    }
    Ok((change, OnboardedItem::list(&plan.named, &store.fingerprinter)))
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
        change.slots.push((key.value().to_owned(), None));
    }
    Ok((change, ()))
}
