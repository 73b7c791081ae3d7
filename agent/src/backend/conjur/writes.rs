//! Writes of one secret.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::merge::{self, Sent, Step};
use super::onboard::{self, restore};
use super::{Shared, reads, scope};
use crate::backend::plan::{self, Plan};
use crate::backend::{BackendError, Guard, Put, Written};
use crate::conjur::Side;
use crate::id::{Checksum, Fingerprinter, Location, SubKey};
use crate::jitter;
use crate::secret::SecretValue;

/// Between two tries of a plain write.
const AGAIN: Duration = Duration::from_millis(50);

/// With less time than this nothing is sent.
const LEAST: Duration = Duration::from_millis(300);

/// Conjur kept failing.
pub(super) const UNAVAILABLE: BackendError = BackendError::Unavailable { retry_after: Duration::from_secs(1) };

const FINGERPRINTER: Fingerprinter = Fingerprinter::Sha256;

pub(super) async fn put(shared: &Arc<Shared>, location: &Location, put: &Put) -> Result<Written, BackendError> {
    let deadline = Instant::now() + shared.settings.write;
    let written = put_once(shared, location, put, deadline).await;
    if written == Err(BackendError::ScopeMissing) && restored(shared, location, deadline).await? {
        return put_once(shared, location, put, deadline).await;
    }
    written
}

/// Makes the variable of an allowed slot that has none, in a scope that is there: it was made by hand, or deleted by
/// somebody who stopped half-way. Whether there is one now.
async fn restored(shared: &Arc<Shared>, location: &Location, deadline: Instant) -> Result<bool, BackendError> {
    if Instant::now() + LEAST >= deadline || !scope::exists(shared, &location.scope()).await? {
        return Ok(false);
    }
    restore(shared, &location.scope(), deadline).await?;
    Ok(true)
}

pub(super) async fn put_entries(
    shared: &Arc<Shared>,
    location: &Location,
    entries: &[(SubKey, SecretValue)],
) -> Result<Vec<Checksum>, BackendError> {
    let deadline = Instant::now() + shared.settings.write;
    let work = |current: Option<&SecretValue>| {
        let read = |_: &str| Ok(current.map(SecretValue::duplicate));
        plan::put_entries(shared.rules(), location, entries, &read).map(planned)
    };
    // Before anything is asked of Conjur: what can have no entries, or not these.
    let plan = plan::put_entries(shared.rules(), location, entries, &|_| Ok(None))?;
    let changed = merge::change(shared, location, &work, deadline).await;
    if let Err(BackendError::ScopeMissing) = changed
        && restored(shared, location, deadline).await?
    {
        merge::change(shared, location, &work, deadline).await?;
    } else {
        changed?;
    }
    Ok(plan.named.iter().map(|(location, value)| FINGERPRINTER.checksum(location, value)).collect())
}

async fn put_once(
    shared: &Arc<Shared>,
    location: &Location,
    put: &Put,
    deadline: Instant,
) -> Result<Written, BackendError> {
    let written = |previous| Written { checksum: FINGERPRINTER.checksum(location, &put.value), previous };
    if put.keep_previous.is_some() {
        return rotate(shared, location, put, deadline).await.map(written);
    }
    if put.guard == Guard::None && location.sub_key().is_none() && !shared.is_map(location) {
        // Nothing depends on what was there before: the last of several writers wins, as with any other value.
        plan::put(shared.rules(), &FINGERPRINTER, location, put, &|_| Ok(None))?;
        store(shared, location, &put.value, deadline).await?;
        return Ok(written(None));
    }
    let work = |current: Option<&SecretValue>| {
        let read = |_: &str| Ok(current.map(SecretValue::duplicate));
        plan::put(shared.rules(), &FINGERPRINTER, location, put, &read).map(planned)
    };
    merge::change(shared, location, &work, deadline).await?;
    Ok(written(None))
}

/// What a plan for one slot makes of it.
fn planned(plan: Plan) -> Step {
    match plan.changes.into_iter().next() {
        None => Step::Keep,
        Some((_, Some(value))) => Step::Set(value),
        Some((_, None)) => Step::Clear,
    }
}

/// The old value goes first, so that it is in both places for a moment and in none at no time. Answers with its
/// fingerprint where it now lives.
async fn rotate(
    shared: &Arc<Shared>,
    location: &Location,
    put: &Put,
    deadline: Instant,
) -> Result<Option<Checksum>, BackendError> {
    let Some(slot) = &put.keep_previous else { return Ok(None) };
    let kept = location.sibling(slot);
    loop {
        let old = reads::current(shared, location).await?;
        // Checked before anything is written; the same check is made again in the write.
        let read = |name: &str| Ok(old.as_ref().filter(|_| name == location.slot()).map(SecretValue::duplicate));
        plan::put(shared.rules(), &FINGERPRINTER, location, put, &read)?;
        if let Some(old) = &old {
            shared.ahead.note_write(&kept);
            store(shared, &kept, old, deadline).await?;
        }
        let moved = AtomicBool::new(false);
        let work = |current: Option<&SecretValue>| {
            if current.map(SecretValue::expose) == old.as_ref().map(SecretValue::expose) {
                return Ok(Step::Set(put.value.duplicate()));
            }
            moved.store(true, Ordering::Relaxed);
            Err(BackendError::Contention)
        };
        match merge::change(shared, location, &work, deadline).await {
            Err(BackendError::Contention) if moved.load(Ordering::Relaxed) && Instant::now() < deadline => {}
            outcome => {
                outcome?;
                return Ok(old.map(|old| FINGERPRINTER.checksum(&kept, &old)));
            }
        }
    }
}

/// Sets a slot that holds one value. Sending it twice is sending it once.
pub(super) async fn store(
    shared: &Shared,
    location: &Location,
    value: &SecretValue,
    deadline: Instant,
) -> Result<(), BackendError> {
    let turn = shared.turns.acquire(location.slot_text(), deadline).await?;
    let mut unknown = false;
    // What is said when the time is over.
    let mut why = BackendError::Contention;
    let outcome = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left < LEAST {
            break Err(if unknown { BackendError::OutcomeUnknown } else { why });
        }
        match merge::set(shared, location, value, shared.settings.call.min(left)).await {
            Ok(Sent::Stored) => break Ok(()),
            Ok(Sent::Missing) => break Err(BackendError::ScopeMissing),
            // Another writer, or a Conjur that cannot store anything: the first would have been over by then.
            Ok(Sent::Nothing) => why = UNAVAILABLE,
            Ok(Sent::Unknown) => {
                let now = reads::single(shared, Side::Leader, &scope::variable(shared, location)).await;
                match now {
                    Ok(Some(now)) if *now == *value.expose().as_bytes() => break Ok(()),
                    _ => unknown = true,
                }
            }
            Err(error) => break Err(if unknown { BackendError::OutcomeUnknown } else { error }),
        }
        tokio::time::sleep(jitter::around(AGAIN)).await;
    };
    turn.release().await;
    outcome
}

pub(super) async fn delete(shared: &Arc<Shared>, location: &Location, guard: &Guard) -> Result<(), BackendError> {
    let deadline = Instant::now() + shared.settings.write;
    if location.sub_key().is_some() {
        let work = |current: Option<&SecretValue>| {
            let read = |_: &str| Ok(current.map(SecretValue::duplicate));
            plan::delete(shared.rules(), &FINGERPRINTER, location, guard, &read).map(planned)
        };
        return match merge::change(shared, location, &work, deadline).await {
            Err(BackendError::ScopeMissing) if scope::exists(shared, &location.scope()).await? => {
                Err(BackendError::Absent)
            }
            changed => changed.map(drop),
        };
    }
    onboard::empty(shared, location, guard).await
}
