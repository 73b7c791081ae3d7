//! A write that is worked out from the current value: under a lease, and checked by the versions that Conjur counts.
//!
//! A value that was worked out from version n must have become version n+1. If it has not, somebody wrote in between,
//! and our write has hidden theirs: what both wrote is put together and written again, until nobody came between. That
//! goes on after the caller has been told that the outcome is unknown.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{Shared, doubts, mend, reads, scope, writes};
use crate::backend::BackendError;
use crate::conjur::{ConjurError, Metadata, SetOutcome, Side};
use crate::id::Location;
use crate::jitter;
use crate::lease::Held;
use crate::secret::SecretValue;

/// What is to become of a slot.
pub(super) enum Step {
    /// It stays as it is.
    Keep,
    /// It holds this.
    Set(SecretValue),
    /// It holds nothing; only of a map, which is then written without entries.
    Clear,
}

/// Works out what a slot holding this is to hold.
pub(super) type Work<'a> = &'a (dyn Fn(Option<&SecretValue>) -> Result<Step, BackendError> + Send + Sync);

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(30);

/// With less time than this, by the deadline or by the lease, nothing is sent.
pub(super) const LEAST: Duration = Duration::from_millis(300);

/// A slot as it is at the leader.
pub(super) struct Current {
    pub(super) metadata: Metadata,
    /// As it is stored.
    pub(super) raw: Option<SecretValue>,
}

/// What became of one try.
pub(super) enum Tried {
    /// The slot holds this, and nobody came between.
    Holds(Option<SecretValue>),
    /// Nothing was stored; what is said if that stays so, where it is not that others were faster.
    NotStored(Option<BackendError>),
    /// Nobody knows.
    Unknown(Gap),
    /// It is stored, and not as the next version.
    Gap(Gap),
}

/// Others wrote, or may have written, between `base` and `ours`.
pub(super) struct Gap {
    pub(super) base: Current,
    pub(super) ours: SecretValue,
    /// What became of the caller's own change, once `ours` is more than that: what was put together before and is
    /// hidden again.
    pub(super) mended: Option<Result<(), BackendError>>,
}

impl Gap {
    fn new(base: Current, ours: SecretValue) -> Self {
        Self { base, ours, mended: None }
    }

    /// The same, with nothing left to be worked out.
    pub(super) fn standing(self) -> Self {
        Self { mended: Some(Ok(())), ..self }
    }

    /// What `ours` was worked out from.
    pub(super) fn base_text(&self) -> Option<SecretValue> {
        self.base.raw.as_ref().map(SecretValue::duplicate)
    }
}

/// Does `work` on the slot of `location`. What the slot holds then.
pub(super) async fn change(
    shared: &Arc<Shared>,
    location: &Location,
    work: Work<'_>,
    deadline: Instant,
) -> Result<Option<SecretValue>, BackendError> {
    let mut unknown = false;
    let mut why = BackendError::Contention;
    loop {
        let mut held = match shared.leases.acquire(location.slot_text(), deadline).await {
            Ok(held) => held,
            Err(_) if unknown => return Err(BackendError::OutcomeUnknown),
            Err(error) => return Err(refused(error)),
        };
        let tried = attempt(shared, location, work, &mut held, deadline).await;
        let settled = match tried {
            Ok(Tried::Holds(value)) => Some(Ok(value)),
            Ok(Tried::Gap(gap)) => Some(mend::mend(shared, location, work, &mut held, gap).await),
            Ok(Tried::NotStored(error)) => {
                why = error.unwrap_or(why);
                None
            }
            Ok(Tried::Unknown(gap)) => {
                unknown = true;
                doubts::watch(shared, location, gap);
                None
            }
            Err(error) => Some(Err(if unknown { BackendError::OutcomeUnknown } else { error })),
        };
        held.release().await;
        if let Some(settled) = settled {
            return settled;
        }
        let pause = jitter::around(AGAIN);
        if Instant::now() + pause + LEAST >= deadline {
            return Err(if unknown { BackendError::OutcomeUnknown } else { why });
        }
        tokio::time::sleep(pause).await;
    }
}

fn refused(error: crate::lease::LeaseError) -> BackendError {
    tracing::warn!(error = &error as &dyn std::error::Error, "a lease for a merge cannot be had");
    error.into()
}

async fn attempt(
    shared: &Shared,
    location: &Location,
    work: Work<'_>,
    held: &mut Held,
    deadline: Instant,
) -> Result<Tried, BackendError> {
    let Some(current) = look(shared, location).await? else {
        return Ok(Tried::NotStored(None));
    };
    let Some(ours) = wanted(shared, location, &current, work)? else {
        return Ok(Tried::Holds(current.raw.and_then(|raw| shared.content(location, raw))));
    };
    let within = match time_for_a_write(shared, held).await {
        Some(within) => within.min(deadline.saturating_duration_since(Instant::now())),
        None => return Ok(Tried::NotStored(None)),
    };
    if within < LEAST {
        return Ok(Tried::NotStored(None));
    }
    let sent = set(shared, location, &ours, within).await?;
    match sent {
        Sent::Nothing => return Ok(Tried::NotStored(Some(writes::UNAVAILABLE))),
        Sent::Missing => return Err(BackendError::ScopeMissing),
        Sent::Stored | Sent::Unknown => {}
    }
    // The lease may be over by now, and the answer late: what the versions say counts, whatever the lease says.
    check(shared, location, current, ours, matches!(sent, Sent::Stored)).await
}

/// How long a write may take: less than what is left of the lease.
pub(super) async fn time_for_a_write(shared: &Shared, held: &mut Held) -> Option<Duration> {
    if held.left() < shared.settings.call {
        held.renew().await.ok()?;
    }
    Some(shared.settings.call.min(held.left()))
}

/// The slot's variable and value; none where there is no value of the version that was looked up any more. A variable
/// that is missing is an error.
async fn look(shared: &Shared, location: &Location) -> Result<Option<Current>, BackendError> {
    let id = scope::variable(shared, location);
    let metadata = shared.conjur.metadata(Side::Leader, &id).await?.ok_or(BackendError::ScopeMissing)?;
    if metadata.latest() == 0 {
        return Ok(Some(Current { metadata, raw: None }));
    }
    let raw = version(shared, &id, metadata.latest()).await?;
    Ok(raw.map(|raw| Current { metadata, raw: Some(raw) }))
}

pub(super) async fn version(shared: &Shared, id: &str, number: u64) -> Result<Option<SecretValue>, BackendError> {
    // Whatever others have put there is to be read, up to what an agent takes into memory at all.
    let limit = shared.settings.slot_bytes_max.max(2 << 20);
    let Some(bytes) = shared.conjur.value(Side::Leader, id, Some(number), limit).await? else { return Ok(None) };
    reads::text(&bytes).map(Some)
}

/// What is to be stored, if anything is.
fn wanted(
    shared: &Shared,
    location: &Location,
    current: &Current,
    work: Work<'_>,
) -> Result<Option<SecretValue>, BackendError> {
    let now = current.raw.as_ref().and_then(|raw| shared.content(location, raw.duplicate()));
    let wanted = match work(now.as_ref())? {
        Step::Keep => return Ok(None),
        Step::Set(value) => value,
        Step::Clear if now.is_none() => return Ok(None),
        Step::Clear => SecretValue::new("{}".to_owned()),
    };
    if wanted.len() > shared.settings.slot_bytes_max {
        return Err(BackendError::TooLarge);
    }
    let same = current.raw.as_ref().is_some_and(|raw| raw.expose() == wanted.expose());
    Ok((!same).then_some(wanted))
}

/// What became of a request that sets a value.
pub(super) enum Sent {
    /// Conjur says that it is stored.
    Stored,
    /// Nothing was stored, and it may be sent again.
    Nothing,
    /// There is no such variable.
    Missing,
    /// Nobody knows.
    Unknown,
}

pub(super) async fn set(
    shared: &Shared,
    location: &Location,
    value: &SecretValue,
    within: Duration,
) -> Result<Sent, BackendError> {
    let bytes = Bytes::from_owner(Zeroizing::new(value.expose().as_bytes().to_vec()));
    match shared.conjur.set(&scope::variable(shared, location), bytes, within).await {
        Ok(SetOutcome::Stored) => Ok(Sent::Stored),
        Ok(SetOutcome::Missing) => Ok(Sent::Missing),
        Ok(SetOutcome::Refused) => Err(BackendError::Misbehaved),
        // Two writes of one variable at one time: the other one is stored.
        Err(ConjurError::Failed) => Ok(Sent::Nothing),
        Err(error) if error.may_have_arrived() => Ok(Sent::Unknown),
        Err(error) => Err(error.into()),
    }
}

/// Whether `ours`, worked out from `base`, is the next version.
pub(super) async fn check(
    shared: &Shared,
    location: &Location,
    base: Current,
    ours: SecretValue,
    stored: bool,
) -> Result<Tried, BackendError> {
    let id = scope::variable(shared, location);
    let known = base.metadata.latest();
    let looked = async {
        let metadata = shared.conjur.metadata(Side::Leader, &id).await?;
        let latest = metadata.filter(|now| now.is_same_variable(&base.metadata)).map(|now| now.latest());
        // One version more, and ours is stored: then it is ours.
        let numbers = latest.map(|latest| if stored && latest == known + 1 { 0..0 } else { known + 1..latest + 1 });
        let since = try_join_all(numbers.unwrap_or(0..0).map(|number| version(shared, &id, number))).await?;
        Ok((latest, since))
    };
    let (latest, since) = match looked.await {
        Ok(looked) => looked,
        Err(BackendError::Unreadable) if stored => return Ok(Tried::Gap(Gap::new(base, ours))),
        Err(_) => return Ok(Tried::Unknown(Gap::new(base, ours))),
    };
    let Some(latest) = latest else {
        return if stored { Err(BackendError::OutcomeUnknown) } else { Ok(Tried::Unknown(Gap::new(base, ours))) };
    };
    if latest <= known {
        return Ok(if stored { Tried::NotStored(None) } else { Tried::Unknown(Gap::new(base, ours)) });
    }
    // Somebody else may have written the very same, and a third between that and our write: seen twice, it is not only
    // the next version.
    let is_ours = |version: &Option<SecretValue>| version.as_ref().is_some_and(|it| it.expose() == ours.expose());
    let next = since.first().is_none_or(is_ours) && !since.iter().skip(1).any(is_ours);
    if next {
        return Ok(Tried::Holds(shared.content(location, ours)));
    }
    // Not there, it may still come.
    let there = stored || since.iter().any(is_ours);
    Ok(if there { Tried::Gap(Gap::new(base, ours)) } else { Tried::Unknown(Gap::new(base, ours)) })
}
