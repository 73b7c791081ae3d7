//! A scope in Conjur: what its variables are called, and what is known of them now.

use futures_util::future::try_join_all;

use super::Shared;
use crate::backend::BackendError;
use crate::conjur::policy::{self, LoadInto, PolicyLoad};
use crate::conjur::{Metadata, Side};
use crate::id::{Location, Scope, ScopeKind, Slot};

/// The variable that holds the slot of `location`.
pub(super) fn variable(shared: &Shared, location: &Location) -> String {
    policy::variable_id(&shared.settings.root, &location.scope(), location.slot())
}

/// The slots that a kind of scope may hold.
pub(super) fn slots(shared: &Shared, kind: ScopeKind) -> Vec<Slot> {
    shared.catalogue.slots(kind).iter().map(|spec| spec.name.clone()).collect()
}

/// What the leader tells of each slot of a scope, in the order of the catalogue.
pub(super) async fn look(shared: &Shared, scope: &Scope) -> Result<Vec<(Slot, Option<Metadata>)>, BackendError> {
    let asked = slots(shared, scope.kind()).into_iter().map(async |slot| {
        let id = policy::variable_id(&shared.settings.root, scope, slot.as_str());
        shared.conjur.metadata(Side::Leader, &id).await.map(|metadata| (slot, metadata))
    });
    try_join_all(asked).await.map_err(BackendError::from)
}

/// Whether any of its variables is there.
pub(super) async fn exists(shared: &Shared, scope: &Scope) -> Result<bool, BackendError> {
    Ok(look(shared, scope).await?.iter().any(|(_, metadata)| metadata.is_some()))
}

/// Whether each slot has its variable, and both groups their privileges on it.
pub(super) fn is_whole(shared: &Shared, scope: &Scope, slots: &[(Slot, Option<Metadata>)]) -> bool {
    let groups = policy::groups(&shared.settings.root, scope);
    let whole = |metadata: &Metadata| {
        let permits = |(id, privileges): &(String, &[&str])| {
            metadata.permits(&format!("{}:group:{id}", shared.conjur.account()), privileges)
        };
        groups.iter().all(permits)
    };
    slots.iter().all(|(_, metadata)| metadata.as_ref().is_some_and(whole))
}

/// The text that makes a scope, or mends it.
pub(super) fn text(shared: &Shared, scope: &Scope, into: LoadInto) -> PolicyLoad {
    policy::onboard(&shared.settings.root, scope, &|kind| slots(shared, kind), into)
}
