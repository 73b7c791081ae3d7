//! Scopes: made by one small load into the narrowest branch that takes it, mended by the same, and taken apart.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::loads::Loads;
use super::merge::{self, Step};
use super::{Shared, reads, scope, writes};
use crate::backend::plan;
use crate::backend::{BackendError, Guard};
use crate::conjur::policy::{self, LoadInto};
use crate::conjur::{Loaded, Metadata, Side};
use crate::id::{Fingerprinter, Location, Scope, Slot};
use crate::secret::SecretValue;
use crate::slots::{OnboardRequest, OnboardedItem, SlotChange, SlotError, SlotKind, SlotSpec};

const FINGERPRINTER: Fingerprinter = Fingerprinter::Sha256;

pub(super) async fn onboard(
    shared: &Arc<Shared>,
    scope: &Scope,
    request: &OnboardRequest,
) -> Result<Vec<OnboardedItem>, BackendError> {
    let deadline = Instant::now() + shared.settings.onboard;
    make(shared, scope, deadline).await?;
    let mut stored: Vec<(Slot, Option<SecretValue>)> = Vec::new();
    for spec in shared.catalogue.slots(scope.kind()) {
        stored.push((spec.name.clone(), settle(shared, scope, spec, request, deadline).await?));
    }
    let read = |name: &str| {
        let slot = stored.iter().find(|(slot, _)| slot.as_str() == name);
        Ok(slot.and_then(|(_, value)| value.as_ref()).map(SecretValue::duplicate))
    };
    let plan = plan::onboard(shared.rules(), scope, request, &read)?;
    Ok(OnboardedItem::list(&plan.named, &FINGERPRINTER))
}

/// Brings one slot to what the request says. What it holds then.
async fn settle(
    shared: &Arc<Shared>,
    scope: &Scope,
    spec: &SlotSpec,
    request: &OnboardRequest,
    deadline: Instant,
) -> Result<Option<SecretValue>, BackendError> {
    let location = Location::of(scope, &spec.name, None);
    let work = |current: Option<&SecretValue>| {
        let change = request.change(spec, current, &shared.generator).map_err(|error| match error {
            SlotError::Unreadable => BackendError::Unreadable,
            SlotError::NoRandomness => BackendError::Unavailable { retry_after: Duration::from_secs(1) },
        })?;
        Ok(match change {
            SlotChange::Keep => Step::Keep,
            SlotChange::Set(value) => Step::Set(value),
            SlotChange::Remove => Step::Clear,
        })
    };
    // A look without a lease first: most onboarding finds everything as it should be.
    let now = reads::current(shared, &location).await?;
    let given = request.names(&spec.name) && spec.kind == SlotKind::Scalar;
    match work(now.as_ref())? {
        Step::Keep => return Ok(now),
        Step::Clear if now.is_none() => return Ok(None),
        Step::Set(value) if now.as_ref().is_some_and(|now| now.expose() == value.expose()) => return Ok(now),
        Step::Set(value) if value.len() > shared.settings.slot_bytes_max => return Err(BackendError::TooLarge),
        Step::Set(value) if given => {
            writes::store(shared, &location, &value, deadline).await?;
            return Ok(Some(value));
        }
        Step::Set(_) | Step::Clear => {}
    }
    merge::change(shared, &location, &work, deadline).await
}

/// Makes the scope where it is not whole, and sees to it that we can write there.
async fn make(shared: &Shared, scope: &Scope, deadline: Instant) -> Result<(), BackendError> {
    let mut loads = Loads::new(shared, deadline);
    let into = loop {
        let slots = scope::look(shared, scope).await?;
        if scope::is_whole(shared, scope, &slots) {
            return Ok(());
        }
        match loads.up(&|into| scope::text(shared, scope, into), false).await {
            Ok(Some(into)) => break into,
            Ok(None) => {}
            // Nothing is missing but the groups, which whoever made the scope has not wanted or will add.
            Err(BackendError::LoadRefused) if is_seen(&slots) => {
                tracing::warn!("a scope has no groups in Conjur, and the agent may not add them");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    };
    join(shared, scope, &mut loads, into).await
}

/// Sees to it that we see what was just made. It is hidden from whoever owns nothing around it and is in no group; and
/// whoever may make a scope may also join it.
async fn join(shared: &Shared, scope: &Scope, loads: &mut Loads<'_>, into: LoadInto) -> Result<(), BackendError> {
    if is_seen(&scope::look(shared, scope).await?) {
        return Ok(());
    }
    let username = shared.conjur.whoami(Side::Leader).await?;
    let load = policy::join_writers(&shared.settings.root, scope, &username, into);
    while let Loaded::Conflict(_) = loads.at(&load, false).await? {}
    if is_seen(&scope::look(shared, scope).await?) { Ok(()) } else { Err(BackendError::Denied) }
}

fn is_seen(slots: &[(Slot, Option<Metadata>)]) -> bool {
    slots.iter().all(|(_, metadata)| metadata.is_some())
}

/// Makes variables anew that are missing in a scope that exists, and sees to it that we can write there.
pub(super) async fn restore(shared: &Shared, scope: &Scope, deadline: Instant) -> Result<(), BackendError> {
    let mut loads = Loads::new(shared, deadline);
    match fill(shared, scope, &mut loads).await? {
        Some(into) => join(shared, scope, &mut loads, into).await,
        None => Ok(()),
    }
}

/// Makes variables anew that are missing, whether we see them then or not. Where they were loaded into; none where none
/// was missing.
async fn fill(shared: &Shared, scope: &Scope, loads: &mut Loads<'_>) -> Result<Option<LoadInto>, BackendError> {
    loop {
        if is_seen(&scope::look(shared, scope).await?) {
            return Ok(None);
        }
        if let Some(into) = loads.up(&|into| scope::text(shared, scope, into), false).await? {
            return Ok(Some(into));
        }
    }
}

/// Takes the value of one slot away: its variable goes, and comes back without a value.
pub(super) async fn empty(shared: &Arc<Shared>, location: &Location, guard: &Guard) -> Result<(), BackendError> {
    let deadline = Instant::now() + shared.settings.onboard;
    let (scope, slot) = (location.scope(), slot_of(location)?);
    let held = shared.leases.acquire(location.slot_text(), Instant::now() + shared.settings.write).await?;
    let outcome = async {
        let id = scope::variable(shared, location);
        let Some(metadata) = shared.conjur.metadata(Side::Leader, &id).await? else {
            let exists = scope::exists(shared, &scope).await?;
            return Err(if exists { BackendError::Absent } else { BackendError::ScopeMissing });
        };
        let now = reads::current(shared, location).await?;
        let read = |_: &str| Ok(now.as_ref().map(SecretValue::duplicate));
        plan::delete(shared.rules(), &FINGERPRINTER, location, guard, &read)?;
        let mut loads = Loads::new(shared, deadline);
        let text = |into| policy::delete_slots(&shared.settings.root, &scope, std::slice::from_ref(&slot), into);
        while loads.up(&text, true).await?.is_none() {
            let now = shared.conjur.metadata(Side::Leader, &id).await?;
            if now.is_none_or(|now| !now.is_same_variable(&metadata)) {
                break;
            }
        }
        fill(shared, &scope, &mut loads).await.map(drop)
    };
    let outcome = outcome.await;
    held.release().await;
    match outcome {
        // Who may write and load nothing can still leave a map without entries.
        Err(BackendError::LoadRefused) if shared.is_map(location) => {
            let clear = |_: Option<&SecretValue>| Ok(Step::Clear);
            merge::change(shared, location, &clear, deadline).await.map(drop)
        }
        outcome => outcome,
    }
}

fn slot_of(location: &Location) -> Result<Slot, BackendError> {
    Slot::parse(location.slot()).map_err(|_| BackendError::InvalidValue)
}

/// Deletes the variables of a scope, and of an application also its groups. Its branch goes with them where we own it,
/// and so see everything in it, and nothing else is there. The branches of teams and environments stay with their
/// groups: what is below them may be hidden from us, and would go too.
pub(super) async fn offboard(shared: &Shared, scope: &Scope) -> Result<(), BackendError> {
    let mut loads = Loads::new(shared, Instant::now() + shared.settings.onboard);
    let mut sent = false;
    loop {
        let slots = scope::look(shared, scope).await?.into_iter();
        let slots: Vec<Slot> = slots.filter_map(|(slot, metadata)| metadata.map(|_| slot)).collect();
        if slots.is_empty() {
            return if sent { Ok(()) } else { Err(BackendError::ScopeMissing) };
        }
        let (root, whole) = (&shared.settings.root, is_alone(shared, scope).await?);
        let text = |into| match scope.app() {
            Some(_) if whole => policy::delete_branch(root, scope, into),
            Some(_) => policy::delete_records(root, scope, &slots, into),
            None => policy::delete_slots(root, scope, &slots, into),
        };
        loads.up(&text, true).await?;
        sent = true;
    }
}

/// Whether an application's branch is ours, and holds nothing but what we have put there.
async fn is_alone(shared: &Shared, scope: &Scope) -> Result<bool, BackendError> {
    let branch = policy::scope_branch(&shared.settings.root, scope);
    if scope.app().is_none() || !shared.conjur.owns(&branch).await? {
        return Ok(false);
    }
    let known: Vec<String> = scope::slots(shared, scope.kind()).iter().map(|slot| slot.as_str().to_owned()).collect();
    let inside = shared.conjur.names_inside(&branch).await?;
    Ok(inside.iter().all(|name| known.contains(name) || name == "readers" || name == "writers"))
}
