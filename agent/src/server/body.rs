//! Request bodies: read once, whole, within a size, a time and the agent's budget.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, Sleep};
use zeroize::Zeroizing;

use super::in_flight::{InFlight, Reservation};
use super::table::{BodyState, State};

/// Room for a body whose length was not announced.
const FIRST_BYTES: usize = 16 * 1024;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Longer than the limit.
    #[error("the body is longer than the limit")]
    TooLarge,
    /// Not complete within its time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The framing broke, or the connection ended within it.
    #[error("the body is incomplete or its framing is broken")]
    Malformed,
    /// The budget for all requests is used up.
    #[error("too many bytes of requests and answers are under way")]
    OverCapacity,
}

/// The body of one request, not read yet.
pub struct RequestBody {
    incoming: Incoming,
    limit: usize,
    deadline: Deadline,
    in_flight: InFlight,
    state: Arc<State>,
}

/// A moment that costs a timer only where somebody has to wait for it.
struct Deadline {
    at: Instant,
    timer: Option<std::pin::Pin<Box<Sleep>>>,
}

/// A body that was read; wiped when dropped.
pub struct BodyBytes {
    bytes: Zeroizing<Vec<u8>>,
    _reservation: Option<Reservation>,
}

impl Deref for BodyBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl RequestBody {
    pub(super) fn new(
        incoming: Incoming,
        limit: usize,
        within: Duration,
        in_flight: InFlight,
        state: Arc<State>,
    ) -> Self {
        state.set_body(if incoming.is_end_stream() { BodyState::Read } else { BodyState::Unread });
        Self { incoming, limit, deadline: Deadline { at: Instant::now() + within, timer: None }, in_flight, state }
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// [`BodyError`]; what was read is gone, and the connection will close.
    pub async fn read(mut self) -> Result<BodyBytes, BodyError> {
        let result = self.read_all().await;
        self.state.set_body(if result.is_ok() { BodyState::Read } else { BodyState::Refused });
        result
    }

    async fn read_all(&mut self) -> Result<BodyBytes, BodyError> {
        if self.incoming.is_end_stream() {
            return Ok(BodyBytes { bytes: Zeroizing::new(Vec::new()), _reservation: None });
        }
        // Announced lengths are refused before a byte of them is read.
        let announced = self.incoming.size_hint().exact();
        if announced.is_some_and(|length| length > self.limit as u64) {
            return Err(BodyError::TooLarge);
        }
        let first = announced.map_or(FIRST_BYTES, |length| usize::try_from(length).unwrap_or(usize::MAX));
        let mut body = BodyBytes::with_room(first.min(self.limit), &self.in_flight)?;
        while let Some(frame) = self.deadline.within(self.incoming.frame()).await? {
            let Ok(data) = frame.map_err(|_| BodyError::Malformed)?.into_data() else { continue };
            if body.bytes.len() + data.len() > self.limit {
                return Err(BodyError::TooLarge);
            }
            body.push(&data, self.limit, &self.in_flight)?;
        }
        Ok(body)
    }
}

impl BodyBytes {
    fn with_room(bytes: usize, in_flight: &InFlight) -> Result<Self, BodyError> {
        let reservation = in_flight.reserve(bytes).map_err(|_| BodyError::OverCapacity)?;
        Ok(Self { bytes: Zeroizing::new(Vec::with_capacity(bytes)), _reservation: Some(reservation) })
    }

    /// Grows by moving into a new buffer and wiping the old one, which a vector that grows by itself would not.
    fn push(&mut self, data: &[u8], limit: usize, in_flight: &InFlight) -> Result<(), BodyError> {
        let needed = self.bytes.len() + data.len();
        if needed > self.bytes.capacity() {
            let mut larger = Self::with_room(needed.saturating_mul(2).min(limit), in_flight)?;
            larger.bytes.extend_from_slice(&self.bytes);
            *self = larger;
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

impl Deadline {
    async fn within<T>(&mut self, work: impl Future<Output = T>) -> Result<T, BodyError> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|context| {
            if let std::task::Poll::Ready(done) = work.as_mut().poll(context) {
                return std::task::Poll::Ready(Ok(done));
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.at)));
            timer.as_mut().poll(context).map(|()| Err(BodyError::TooSlow))
        })
        .await
    }
}
