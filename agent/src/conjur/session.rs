//! The one login of an agent: shared by all requests, renewed before it ends, and asked for at most once a second.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;

use super::call::ConjurError;
use super::token::AccessToken;
use crate::clock::{Clock, Moment};
use crate::jitter;

/// Part of a token's life after which it is renewed while it is still good.
const REFRESH_AT: f64 = 0.85;

/// Part of a token's life after which nothing is sent with it any more: there is no leeway at the other end.
const USABLE: f64 = 0.98;

/// Between two logins, whatever became of the first.
const APART: Duration = Duration::from_secs(1);

/// A token and its number, which tells it from the one before.
#[derive(Clone)]
pub(super) struct Ticket {
    pub(super) header: HeaderValue,
    pub(super) number: u64,
}

/// What there is to send a request with.
pub(super) enum Standing {
    /// A token.
    Good(Ticket),
    /// One that is near its end.
    Aging(Ticket),
    /// None.
    Out,
}

/// Whether it is time to log in.
pub(super) enum Turn {
    /// Somebody else has.
    Done(Ticket),
    /// Not now: a login has failed a moment ago, and this came of it.
    NotNow(ConjurError),
    /// After this time: a login was made a moment ago.
    Soon(Duration),
    /// Yes.
    Now,
}

#[derive(Default)]
pub(super) struct Session {
    clock: Clock,
    state: Mutex<State>,
    /// Held while logging in.
    pub(super) logging_in: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    token: Option<Held>,
    number: u64,
    last: Option<(Moment, Option<ConjurError>)>,
}

struct Held {
    header: HeaderValue,
    refresh_at: Moment,
    ends: Moment,
    expiry: Option<Timestamp>,
}

impl Session {
    pub(super) fn standing(&self) -> Standing {
        let (state, now) = (self.lock(), self.clock.now());
        match &state.token {
            Some(token) if now < token.refresh_at => Standing::Good(token.ticket(state.number)),
            Some(token) if now < token.ends => Standing::Aging(token.ticket(state.number)),
            _ => Standing::Out,
        }
    }

    /// Whether to log in, for somebody who holds `logging_in` and for whom token `number` does not do.
    pub(super) fn turn(&self, number: u64) -> Turn {
        let (state, now) = (self.lock(), self.clock.now());
        if state.number != number
            && let Some(token) = state.token.as_ref().filter(|token| now < token.ends)
        {
            return Turn::Done(token.ticket(state.number));
        }
        match &state.last {
            Some((at, error)) if now.since(*at) < APART => match error {
                Some(error) => Turn::NotNow(*error),
                None => Turn::Soon(APART.saturating_sub(now.since(*at))),
            },
            _ => Turn::Now,
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// A login that was asked for at `began` has brought this.
    pub(super) fn learn(
        &self,
        began: Moment,
        outcome: Result<AccessToken, ConjurError>,
    ) -> Result<Ticket, ConjurError> {
        let mut state = self.lock();
        let token = match outcome {
            Ok(token) => token,
            Err(error) => {
                state.last = Some((self.clock.now(), Some(error)));
                return Err(error);
            }
        };
        // Agents that began together do not go on together.
        let early = jitter::up_to(token.life.mul_f64(0.05));
        let held = Held {
            header: token.header,
            refresh_at: began + token.life.mul_f64(REFRESH_AT).saturating_sub(early),
            ends: began + token.life.mul_f64(USABLE),
            expiry: token.expiry,
        };
        state.number += 1;
        state.last = Some((self.clock.now(), None));
        let ticket = held.ticket(state.number);
        state.token = Some(held);
        Ok(ticket)
    }

    pub(super) fn number(&self) -> u64 {
        self.lock().number
    }

    pub(super) fn expiry(&self) -> Option<Timestamp> {
        self.lock().token.as_ref().and_then(|token| token.expiry)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Fields are replaced as wholes: whatever a panic left is a state that was once true.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn ticket(&self, number: u64) -> Ticket {
        Ticket { header: self.header.clone(), number }
    }
}
