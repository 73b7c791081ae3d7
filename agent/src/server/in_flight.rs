//! The bytes of requests and answers under way, which are bounded as a sum (N8).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use zeroize::Zeroizing;

/// The budget of one agent; clones share it.
#[derive(Clone, Debug)]
pub struct InFlight {
    left: Arc<AtomicUsize>,
}

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many bytes of requests and answers are under way")]
pub struct OverCapacity;

/// A part of the budget; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: InFlight,
    bytes: usize,
}

impl InFlight {
    /// A budget of `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(bytes)) }
    }

    /// Takes `bytes` out of the budget.
    ///
    /// # Errors
    /// [`OverCapacity`]; nothing was taken.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, OverCapacity> {
        self.left
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |left| left.checked_sub(bytes))
            .map(|_| Reservation { budget: self.clone(), bytes })
            .map_err(|_| OverCapacity)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

/// An answer that is wiped, and leaves the budget, once hyper has written it.
struct Owned {
    bytes: Zeroizing<Vec<u8>>,
    _reservation: Option<Reservation>,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The body of an answer that holds a secret.
///
/// hyper keeps it as it is until the kernel has taken it, because our stream takes vectored writes; a stream that does
/// not would make it copy the bytes.
#[must_use]
pub fn answer(bytes: Zeroizing<Vec<u8>>, reservation: Option<Reservation>) -> Bytes {
    Bytes::from_owner(Owned { bytes, _reservation: reservation })
}
