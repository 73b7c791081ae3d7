//! Writes whose answer never came: they may still arrive, and hide what others have written since. So they are looked
//! for until they cannot come any more, and what they hide is put back.
//!
//! Only an agent that lives can do this; what the last request of one that was killed can do is told in SECURITY.md.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use super::mend;
use super::merge::{Gap, Step};
use crate::id::Location;
use crate::secret::SecretValue;

/// How long a request may take to arrive: Conjur drops one that is half-sent after 30 s, and queues whole ones.
const LOOK_FOR: Duration = Duration::from_mins(1);

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);

/// How long a lease is waited for.
const LEASE: Duration = Duration::from_secs(10);

/// Doubts at one time.
pub(super) const DOUBTS_MAX: usize = 16;

/// Looks for the write of `gap` in the background. Of a slot that holds one value nothing can be put together.
pub(super) fn watch(shared: &Arc<Shared>, location: &Location, gap: Gap) {
    if !shared.is_map(location) {
        return;
    }
    let Ok(place) = Arc::clone(&shared.doubts).try_acquire_owned() else {
        tracing::warn!("too many writes have gone without an answer; one more is not looked for");
        return;
    };
    let (within, location) = (Arc::clone(shared), location.whole_slot());
    shared.tasks.spawn(async move {
        let _place = place;
        let until = Instant::now() + LOOK_FOR;
        while Instant::now() < until {
            tokio::select! {
                () = within.stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            if mend::hides(&within, &location, &gap).await {
                return put_back(&within, &location, gap).await;
            }
        }
    });
}

async fn put_back(shared: &Shared, location: &Location, gap: Gap) {
    // Whether it stands or not was told to its caller as unknown: it stands, beside what it has hidden.
    let (gap, work) = (gap.standing(), |_: Option<&SecretValue>| Ok(Step::Keep));
    let put_back = match shared.leases.acquire(location.slot_text(), Instant::now() + LEASE).await {
        Ok(mut held) => {
            let outcome = mend::mend(shared, location, &work, &mut held, gap).await;
            held.release().await;
            outcome.is_ok()
        }
        Err(_) => false,
    };
    if put_back {
        tracing::info!("a write that came late had hidden others in its slot; they were put back");
    } else {
        tracing::warn!("a write that came late may hide others in its slot");
    }
}
