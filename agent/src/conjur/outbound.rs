//! A request's body that notes when it is taken: before that nothing can have been done with it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// The bytes, until somebody has a connection to write them to.
pub(super) struct Outbound {
    bytes: Bytes,
    taken: Arc<AtomicBool>,
}

impl Outbound {
    /// Sets `taken` as soon as the body is asked for, which is after the connection is there.
    pub(super) fn new(bytes: Bytes, taken: Arc<AtomicBool>) -> Self {
        Self { bytes, taken }
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.taken.store(true, Ordering::Relaxed);
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}
