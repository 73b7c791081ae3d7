//! The way to a Lease: look, take it if it is nobody's, and otherwise look again, until the time is over.

use std::time::Duration;

use tokio::time::Instant;

use super::object::Lease;
use super::slots::{Row, Taken};
use super::store::{Outcome, Store};
use super::turn::Turn;
use super::{CALL, LeaseError, USED};
use crate::jitter;

/// What is left at least of a Lease that is taken or passed on within the agent: time for one call of a backend. An answer
/// that comes as late as it may leaves as much.
const LEFT_MIN: Duration = USED.saturating_sub(CALL);

/// For how long an agent that had the Lease for its share leaves it alone: longer than it takes one who waits to look
/// again and to take it.
const REST: Duration = Duration::from_millis(40);

/// With less time left nothing is sent: there would be none to use the Lease in, and an answer that is not waited for may
/// take it all the same.
const LEAST: Duration = Duration::from_millis(200);

/// How long to wait before looking what became of a write that nobody knows of; doubled each time.
const AGAIN: Duration = Duration::from_millis(100);

/// One way to a Lease.
struct Attempt {
    began: Instant,
    deadline: Instant,
    unsure: u32,
    /// Why the API server did not answer last.
    trouble: Option<LeaseError>,
}

impl Attempt {
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Where there is no time left for the Lease after `time`, says why it has been in vain.
    fn check(&self, time: Duration) -> Result<(), LeaseError> {
        if time + LEAST < self.left() {
            return Ok(());
        }
        Err(self.trouble.clone().unwrap_or(LeaseError::Contention))
    }

    async fn pause(&self, time: Duration) -> Result<(), LeaseError> {
        self.check(time)?;
        tokio::time::sleep(time).await;
        Ok(())
    }

    /// What is no answer is waited out; what is one ends the attempt.
    async fn rest(&mut self, error: LeaseError) -> Result<(), LeaseError> {
        let LeaseError::Unavailable { retry_after } = error else { return Err(error) };
        self.trouble = Some(error);
        self.pause(retry_after + jitter::up_to(retry_after / 2)).await
    }
}

/// Takes the Lease for the one who has the turn.
pub(super) async fn take(store: &Store, turn: &mut Turn, deadline: Instant) -> Result<(), LeaseError> {
    let mut attempt = Attempt { began: Instant::now(), deadline, unsure: 0, trouble: None };
    if turn.state().taken.is_some() && turn.left() >= LEFT_MIN {
        let now = turn.now();
        let state = turn.state();
        state.row = Some(Row::count(state.row, now));
        return Ok(());
    }
    let mut known = begin(turn, &attempt).await?;
    loop {
        attempt.check(Duration::ZERO)?;
        let lease = match known.take() {
            Some(lease) => Some(lease),
            None => match store.get(turn.key(), attempt.left()).await {
                Ok(lease) => lease,
                Err(error) => {
                    attempt.rest(error).await?;
                    continue;
                }
            },
        };
        attempt.trouble = None;
        if let Some(lease) = &lease {
            let now = turn.now();
            let state = turn.state();
            let unchanged = state.observe(lease, now);
            // What is ours is of a section that has ended or has come to nothing: the turn is here. It is taken anew
            // rather than believed, because from when it counts is not known any more.
            if !lease.holder.is_empty() && !store.is_ours(lease) && unchanged < lease.lasts {
                // Whatever we have sent was about a state that is past.
                state.unsure = false;
                state.row = None;
                state.pace.held(now);
                let next = state.pace.next(attempt.began.elapsed(), unchanged);
                attempt.pause(next.min(lease.lasts.saturating_sub(unchanged))).await?;
                continue;
            }
        }
        send(store, turn, &mut attempt, lease.as_ref()).await?;
        if turn.state().taken.is_some() {
            if turn.left() >= LEFT_MIN {
                return Ok(());
            }
            // This agent or its machine slept on the way. It is still ours, if nobody has been faster.
            known = used_up(turn);
        }
    }
}

/// Waits for as long as others come first. What is known of the Lease afterwards without asking.
async fn begin(turn: &mut Turn, attempt: &Attempt) -> Result<Option<Lease>, LeaseError> {
    let now = turn.now();
    let state = turn.state();
    let free = state.free.take();
    if state.taken.is_some() {
        return Ok(used_up(turn));
    }
    let rested = state.row.map_or(REST, |row| now.since(row.ended));
    let rest = match state.row {
        Some(row) if rested < REST && !row.may_go_on(now) => REST.saturating_sub(rested),
        _ => Duration::ZERO,
    };
    if rested >= REST || !rest.is_zero() {
        state.row = None;
    }
    let pause = rest.max(state.pace.first(now));
    if pause.is_zero() {
        return Ok(free);
    }
    attempt.pause(pause).await?;
    Ok(None)
}

/// A Lease of ours of which too little is left, to be taken anew.
fn used_up(turn: &mut Turn) -> Option<Lease> {
    let state = turn.state();
    // If that comes to nothing, it is still to be given back.
    state.unsure |= state.taken.is_some();
    state.taken.take().map(|taken| taken.lease)
}

/// Asks for the Lease once.
async fn send(store: &Store, turn: &mut Turn, attempt: &mut Attempt, base: Option<&Lease>) -> Result<(), LeaseError> {
    let since = turn.now();
    // Before anything is sent: this may be dropped at any time.
    let before = std::mem::replace(&mut turn.state().unsure, true);
    let outcome = store.take(turn.key(), base, attempt.left()).await;
    let now = turn.now();
    let state = turn.state();
    match outcome {
        Ok(Outcome::Done(lease)) => {
            state.unsure = false;
            state.taken = Some(Taken { lease, since });
            state.row = Some(Row::count(state.row, since));
            state.pace.success(attempt.began.elapsed());
            Ok(())
        }
        Ok(Outcome::Conflict) => {
            state.unsure = before;
            state.pace.conflict(now);
            let next = state.pace.next(attempt.began.elapsed(), Duration::ZERO);
            attempt.pause(next).await
        }
        Ok(Outcome::Unsure) => {
            attempt.trouble = Some(LeaseError::Unavailable { retry_after: Duration::from_secs(1) });
            let pause = AGAIN * 2_u32.saturating_pow(attempt.unsure.min(5));
            attempt.unsure += 1;
            attempt.pause(jitter::around(pause)).await
        }
        Err(error) => {
            state.unsure = before;
            attempt.rest(error).await
        }
    }
}

/// Begins the time of a Lease that is ours anew.
pub(super) async fn renew(turn: &mut Turn) -> Result<(), LeaseError> {
    for _ in 0..2 {
        let since = turn.now();
        let Some(base) = turn.state().taken.as_ref().map(|taken| taken.lease.clone()) else {
            return if turn.store().is_some() { Err(LeaseError::Contention) } else { Ok(()) };
        };
        let Some(store) = turn.store() else { return Ok(()) };
        match store.take(turn.key(), Some(&base), CALL).await? {
            Outcome::Done(lease) => {
                turn.state().taken = Some(Taken { lease, since });
                return Ok(());
            }
            // It was touched, or our own write has arrived after all; or it is somebody else's.
            Outcome::Conflict | Outcome::Unsure => {
                let found = store.get(turn.key(), CALL).await?.filter(|lease| store.is_ours(lease));
                let state = turn.state();
                match (found, &mut state.taken) {
                    (Some(lease), Some(taken)) => taken.lease = lease,
                    _ => {
                        state.taken = None;
                        return Err(LeaseError::Contention);
                    }
                }
            }
        }
    }
    Err(LeaseError::Unavailable { retry_after: Duration::from_secs(1) })
}
