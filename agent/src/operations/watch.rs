//! Watching: one secret's current id at once, then one for each change, for as long as it may be read.
//!
//! The pair of records is that of the first answer. Permission is asked for again every second and before each read, so
//! that a right that was taken away ends the watch within the time in which it ends reads, and a second.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Context, OperationError, Operations, Refusal};
use crate::access::{AccessError, Right, Target};
use crate::audit::Operation;
use crate::backend::BackendError;
use crate::cache::{Follower, Served};
use crate::id::{Checksum, Location, SecretId};
use crate::identity::Caller;

/// How often permission is asked for again.
const RECHECK: Duration = Duration::from_secs(1);

/// How soon a secret is looked at again at the earliest, when nothing was heard of it.
const LOOK_MIN: Duration = Duration::from_secs(1);

/// How soon where there is no time to live to go by: the cache is off, or the secret is not there.
const LOOK: Duration = Duration::from_secs(5);

/// How long nothing is told where nothing changes.
const SILENCE: Duration = Duration::from_secs(15);

/// Looks in a row during which somebody wrote; after them, what was seen is told even so.
const LOOKS_MAX: usize = 5;

/// Who is on the connection now.
pub type WhoIsThere = Box<dyn Fn() -> Arc<Caller> + Send + Sync>;

/// What has become of the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is there, in this state.
    Is(SecretId),
    /// It is not there any more.
    Gone(Location),
    /// Nothing, for a while: told so that a reader that has gone is noticed.
    Nothing,
}

/// What a look has found.
enum Look {
    /// The secret's fingerprint; none where it is not there.
    Found(Option<Checksum>),
    /// The backend cannot say now.
    Unknown,
    /// It may not be looked at any more.
    Over,
}

/// One watch.
pub struct Watch {
    operations: Arc<Operations>,
    context: Context,
    who: WhoIsThere,
    location: Location,
    follower: Follower,
    /// What was told last.
    told: Option<Checksum>,
    /// Up to which generation of the slot everything was told.
    known: u64,
    look_at: Instant,
    recheck_at: Instant,
    to_tell: VecDeque<Change>,
}

impl Operations {
    /// Begins to watch the secret of `id`. `who` is asked again and again whether it is still the same caller.
    ///
    /// # Errors
    /// [`OperationError`], as of a read.
    pub async fn watch(
        self: &Arc<Self>,
        context: &Context,
        id: SecretId,
        who: WhoIsThere,
    ) -> Result<Watch, OperationError> {
        let location = id.location().clone();
        let served = self.read(context, Operation::Watch, id, false).await?;
        // The first answer is on record. What follows it begins with a look of its own, so that nothing is missed that
        // came between.
        let permit = match self.may_read(context, location).await {
            Ok(permit) => permit,
            Err(refused) => return Err(OperationError::Access(refused.error)),
        };
        let follower = self.cache.follow(&permit);
        let location = permit.location().clone();
        let first = SecretId::new(location.clone(), served.entry.checksum().clone());
        let known = follower.generation().wrapping_sub(1);
        Ok(Watch {
            operations: Arc::clone(self),
            context: context.clone(),
            who,
            location,
            follower,
            told: Some(first.checksum().clone()),
            known,
            look_at: Instant::now(),
            recheck_at: Instant::now() + RECHECK,
            to_tell: VecDeque::from([Change::Is(first)]),
        })
    }
}

impl Watch {
    /// The next change. Not to be given up half-way: what was being looked at would be forgotten. None when the watch has ended: the right was taken away, or its holder was too slow.
    pub async fn next(&mut self) -> Option<Change> {
        let silence = Instant::now() + SILENCE;
        loop {
            // Also before what waits to be told: its reader may have been away.
            if Instant::now() >= self.recheck_at {
                self.recheck().await?;
                self.recheck_at = Instant::now() + RECHECK;
            }
            if let Some(change) = self.to_tell.pop_front() {
                return Some(change);
            }
            tokio::select! {
                () = self.follower.stirred() => {}
                () = tokio::time::sleep_until(self.look_at) => {}
                () = tokio::time::sleep_until(self.recheck_at) => continue,
                () = tokio::time::sleep_until(silence) => return Some(Change::Nothing),
            }
            self.catch_up().await?;
        }
    }

    /// Takes in what was told of own writes, and looks where that is not all.
    async fn catch_up(&mut self) -> Option<()> {
        for _ in 0..LOOKS_MAX {
            let missed = self.follower.take();
            if missed.overrun {
                return None;
            }
            for news in missed.news {
                // What was written before the last look began was seen by it.
                if news.generation > self.known {
                    self.known = news.generation;
                    self.tell(news.checksum);
                }
            }
            let generation = self.follower.generation();
            if generation == self.known && !missed.differs && Instant::now() < self.look_at {
                return Some(());
            }
            let found = match self.look().await {
                Look::Found(found) => found,
                Look::Unknown => return Some(()),
                Look::Over => return None,
            };
            // Somebody wrote meanwhile: what was seen may be older than what is told of that write.
            let now = self.follower.generation();
            if now == generation {
                self.known = generation;
                self.tell(found);
                return Some(());
            }
        }
        // They write all the time. What is there now is not older than what was told.
        let generation = self.follower.generation();
        match self.look().await {
            Look::Found(found) => {
                self.known = generation.max(self.known);
                drop(self.follower.take());
                self.look_at = Instant::now() + LOOK_MIN;
                self.tell(found);
                Some(())
            }
            Look::Unknown => Some(()),
            Look::Over => None,
        }
    }

    fn tell(&mut self, checksum: Option<Checksum>) {
        if self.told == checksum {
            return;
        }
        self.told.clone_from(&checksum);
        self.to_tell.push_back(match checksum {
            Some(checksum) => Change::Is(SecretId::new(self.location.clone(), checksum)),
            None => Change::Gone(self.location.clone()),
        });
    }

    async fn look(&mut self) -> Look {
        let context = Context { caller: (self.who)(), ..self.context.clone() };
        let permit = match self.operations.may_read(&context, self.location.clone()).await {
            Ok(permit) => permit,
            Err(refused) => {
                self.end(refused.error).await;
                return Look::Over;
            }
        };
        let now = Instant::now();
        match self.operations.cache.get(permit, Checksum::default()).await {
            Ok(served) => {
                self.look_at = now + pause(&served);
                Look::Found(Some(served.entry.checksum().clone()))
            }
            Err(BackendError::Absent | BackendError::ScopeMissing) => {
                self.look_at = now + LOOK;
                Look::Found(None)
            }
            Err(BackendError::Denied) => Look::Over,
            Err(_) => {
                self.look_at = now + LOOK_MIN;
                Look::Unknown
            }
        }
    }

    /// Ends the watch of who may not read any more.
    async fn recheck(&mut self) -> Option<()> {
        let caller = (self.who)();
        let access = &self.operations.access;
        let target = Target::from(&self.location);
        let held = match (caller.subject(), self.context.caller.subject()) {
            (Ok(now), Ok(before)) if now == before => access.holds(now, Right::SecretsRead, target).await,
            (Err(error), _) | (_, Err(error)) => Err(error),
            // Somebody else: whoever began it does not hold the connection any more.
            (Ok(_), Ok(_)) => Err(AccessError::NotAuthenticated),
        };
        if held == Ok(true) {
            return Some(());
        }
        self.end(held.err().unwrap_or(AccessError::Denied)).await;
        None
    }

    async fn end(&self, error: AccessError) {
        let secrets = [&self.location];
        let target = Refusal::Secrets(&secrets);
        // Whether or not it can be recorded, nothing more is told.
        let _refused = self.operations.record_refusal(&self.context, Operation::Watch, target, error).await;
    }
}

/// When to look again.
fn pause(served: &Served) -> Duration {
    if served.stored { served.ttl_left.max(LOOK_MIN) } else { LOOK }
}
