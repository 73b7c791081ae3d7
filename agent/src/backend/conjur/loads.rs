//! Policy loads of one request: into the narrowest branch that takes them, again after a conflict, and not for ever.

use std::time::Duration;

use tokio::time::Instant;

use super::{Shared, writes};
use crate::backend::BackendError;
use crate::conjur::policy::{LoadInto, PolicyLoad};
use crate::conjur::{ConjurError, Loaded};
use crate::jitter;

/// Between a load that has failed and a look at what came of it; doubled each time.
const AGAIN: Duration = Duration::from_millis(200);

/// Loads that may fail before the caller hears of it.
const FAILURES_MAX: u32 = 3;

/// The loads of one request.
pub(super) struct Loads<'a> {
    shared: &'a Shared,
    deadline: Instant,
    failures: u32,
}

impl<'a> Loads<'a> {
    pub(super) fn new(shared: &'a Shared, deadline: Instant) -> Self {
        Self { shared, deadline, failures: 0 }
    }

    /// Loads a text into the narrowest branch that takes it. Where that was; none where it has to be looked at what is
    /// there now before anything is sent again.
    pub(super) async fn up(
        &mut self,
        text: &(dyn Fn(LoadInto) -> PolicyLoad + Sync),
        removes: bool,
    ) -> Result<Option<LoadInto>, BackendError> {
        let mut tried: Vec<String> = Vec::new();
        for into in LoadInto::LADDER {
            let load = text(into);
            if tried.contains(&load.branch) {
                continue;
            }
            match self.at(&load, removes).await {
                Ok(Loaded::Done) => return Ok(Some(into)),
                Ok(Loaded::Conflict(_)) => return Ok(None),
                // Missing, or not for us: a wider branch may do. Refused: it names what is only made from a wider one.
                Ok(Loaded::BranchMissing | Loaded::Refused) | Err(BackendError::Denied) => tried.push(load.branch),
                Err(error) => return Err(error),
            }
        }
        Err(BackendError::LoadRefused)
    }

    /// Loads a text where it says. A conflict has been waited for: by then somebody else's load has come first, or
    /// nobody knows what came of ours.
    pub(super) async fn at(&mut self, load: &PolicyLoad, removes: bool) -> Result<Loaded, BackendError> {
        if Instant::now() >= self.deadline {
            return Err(writes::UNAVAILABLE);
        }
        match self.shared.conjur.load(load, removes).await {
            Ok(Loaded::Conflict(after)) => {
                // A little later than we are told, and not all at once.
                self.pause(after + jitter::up_to(AGAIN), BackendError::Contention).await
            }
            // 500: it has failed, or another load has had its way. The rest: nobody knows.
            Err(error) if error == ConjurError::Failed || error.may_have_arrived() => {
                self.failures += 1;
                let late = match error {
                    ConjurError::Failed => BackendError::from(error),
                    _ => BackendError::OutcomeUnknown,
                };
                if self.failures >= FAILURES_MAX {
                    return Err(late);
                }
                self.pause(jitter::around(AGAIN * 2_u32.pow(self.failures)), late).await
            }
            Ok(loaded) => Ok(loaded),
            Err(error) => Err(error.into()),
        }
    }

    async fn pause(&self, time: Duration, late: BackendError) -> Result<Loaded, BackendError> {
        if Instant::now() + time >= self.deadline {
            return Err(late);
        }
        tokio::time::sleep(time).await;
        Ok(Loaded::Conflict(time))
    }
}
