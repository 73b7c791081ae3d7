//! What a write of ours has hidden, put together with it and written again, until nobody came between.

use std::cmp::Ordering;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::changes::together;
use super::merge::{Current, Gap, LEAST, Sent, Step, Tried, Work, check, set, time_for_a_write, version};
use super::{Shared, scope};
use crate::backend::BackendError;
use crate::conjur::{Metadata, Side};
use crate::id::Location;
use crate::jitter;
use crate::lease::Held;
use crate::secret::SecretValue;

/// How long what was hidden by our write may take to be put back.
const MEND: Duration = Duration::from_secs(30);

/// How many versions before the one that we began with are looked at: whoever wrote in between may have begun with one
/// of them.
const OLDER: u64 = 10;

/// Between two tries, times the tries there were.
const SOON: Duration = Duration::from_millis(3);
const AGAIN_TRIES: u32 = 20;

/// Versions that Conjur keeps.
const KEPT: u64 = 20;

/// Somebody wrote between what we read and what we wrote. Puts together what both meant, and writes it.
pub(super) async fn mend(
    shared: &Shared,
    location: &Location,
    work: Work<'_>,
    held: &mut Held,
    gap: Gap,
) -> Result<Option<SecretValue>, BackendError> {
    let until = Instant::now() + MEND;
    let (mut gap, mut tries) = (gap, 0_u32);
    while Instant::now() < until {
        match mend_once(shared, location, work, held, gap, until).await {
            Ok(Mended::Done(outcome)) => return outcome,
            Ok(Mended::Not(still)) | Err(still) => gap = still,
        }
        // At once at first: a writer who waits for nobody soon has more versions behind him than are kept.
        tokio::time::sleep(jitter::up_to(SOON * tries.min(AGAIN_TRIES))).await;
        tries += 1;
    }
    tracing::warn!("what another writer of the same slot wrote could not be put back in time");
    Err(BackendError::OutcomeUnknown)
}

/// The versions around the base of a gap, as far as they are kept: some from before it, and all since.
struct Around {
    older: Vec<SecretValue>,
    since: Vec<SecretValue>,
}

async fn around(shared: &Shared, location: &Location, gap: &Gap, metadata: &Metadata) -> Result<Around, BackendError> {
    let id = scope::variable(shared, location);
    let known = gap.base.metadata.latest();
    let first = known.saturating_sub(OLDER).max(metadata.latest().saturating_sub(KEPT)) + 1;
    let numbers = first..=metadata.latest();
    let versions = numbers.map(async |number| Ok::<_, BackendError>((number, version(shared, &id, number).await?)));
    let mut around = Around { older: Vec::new(), since: Vec::new() };
    if first == 1 && known > 0 {
        // Before the first version there was nothing.
        around.older.push(nothing());
    }
    for (number, version) in try_join_all(versions).await?.into_iter().filter_map(|(n, version)| Some((n, version?))) {
        match number.cmp(&known) {
            Ordering::Less => around.older.push(version),
            Ordering::Equal => {}
            Ordering::Greater => around.since.push(version),
        }
    }
    Ok(around)
}

fn nothing() -> SecretValue {
    SecretValue::new("{}".to_owned())
}

/// Whether the write of a gap has come after others, and hides them.
pub(super) async fn hides(shared: &Shared, location: &Location, gap: &Gap) -> bool {
    let metadata = shared.conjur.metadata(Side::Leader, &scope::variable(shared, location)).await;
    let Ok(Some(metadata)) = metadata else { return false };
    if !metadata.is_same_variable(&gap.base.metadata) {
        return false;
    }
    let Ok(around) = around(shared, location, gap, &metadata).await else { return false };
    let is_ours = |version: &SecretValue| version.expose() == gap.ours.expose();
    let last = around.since.iter().rposition(is_ours).unwrap_or_default();
    around.since.iter().take(last).any(|version| !is_ours(version))
}

enum Mended {
    /// Nothing is hidden any more; this is what becomes of our write.
    Done(Result<Option<SecretValue>, BackendError>),
    /// Somebody came between again.
    Not(Gap),
}

async fn mend_once(
    shared: &Shared,
    location: &Location,
    work: Work<'_>,
    held: &mut Held,
    gap: Gap,
    until: Instant,
) -> Result<Mended, Gap> {
    let id = scope::variable(shared, location);
    let Ok(metadata) = shared.conjur.metadata(Side::Leader, &id).await else { return Err(gap) };
    let Some(metadata) = metadata.filter(|metadata| metadata.is_same_variable(&gap.base.metadata)) else {
        // Deleted meanwhile, and both writes with it.
        return Ok(Mended::Done(Err(BackendError::OutcomeUnknown)));
    };
    let Ok(Around { older, since: mut between }) = around(shared, location, &gap, &metadata).await else {
        return Err(gap);
    };
    // The last one: a write that was sent twice may have come twice, and the second time have hidden more.
    let Some(position) = between.iter().rposition(|version| version.expose() == gap.ours.expose()) else {
        return Ok(Mended::Done(Err(BackendError::OutcomeUnknown)));
    };
    let after = between.split_off(position + 1);
    between.truncate(position);
    let latest = after.last().map_or_else(|| gap.ours.duplicate(), SecretValue::duplicate);
    let base = gap.base_text().unwrap_or_else(nothing);
    let mut all: Vec<SecretValue> = std::iter::once(base).chain(between).collect();
    let outcome = match gap.mended {
        // To do the work anew would be to do it without what was put together.
        Some(outcome) => {
            all.push(gap.ours.duplicate());
            outcome
        }
        None => {
            let Some(theirs) = together(&older, &all) else { return Err(gap) };
            match work(shared.content(location, theirs).as_ref()) {
                Ok(Step::Keep) => Ok(()),
                Ok(Step::Set(value)) => {
                    all.push(value);
                    Ok(())
                }
                Ok(Step::Clear) => {
                    all.push(nothing());
                    Ok(())
                }
                // Had they been first, ours would not have been written.
                Err(error) => Err(error),
            }
        }
    };
    all.extend(after);
    let Some(merged) = together(&older, &all) else { return Err(gap) };
    let done = |merged: SecretValue| {
        Mended::Done(outcome.and_then(|()| {
            let value = shared.content(location, merged);
            if shared.settings.single_writer { Err(BackendError::VersionGap) } else { Ok(value) }
        }))
    };
    if merged.expose() == latest.expose() {
        return Ok(done(merged));
    }
    if held.left() < LEAST && held.take_again(until).await.is_err() {
        return Err(gap);
    }
    let Some(within) = time_for_a_write(shared, held).await else { return Err(gap) };
    let sent = set(shared, location, &merged, within).await;
    let stored = match sent {
        Ok(Sent::Stored) => true,
        Ok(Sent::Unknown) => false,
        Ok(Sent::Nothing | Sent::Missing) | Err(_) => return Err(gap),
    };
    let base = Current { metadata, raw: Some(latest) };
    match check(shared, location, base, merged.duplicate(), stored).await {
        Ok(Tried::Holds(_)) => Ok(done(merged)),
        Ok(Tried::Gap(again)) => Ok(Mended::Not(Gap { mended: Some(outcome), ..again })),
        Ok(Tried::NotStored(_) | Tried::Unknown(_)) | Err(_) => Err(gap),
    }
}
