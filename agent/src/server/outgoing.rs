//! Bodies of answers: whole, or a stream of events that goes on until one of its ends has had enough.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::table::{Phase, State};

/// Pieces of a stream, each as it is to be sent.
pub type Events = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// What an answer carries.
pub enum AnswerBody {
    /// All of it.
    Whole(Full<Bytes>),
    /// One piece after the other.
    Events(EventBody),
}

/// A stream on its connection. It ends by itself, with the drain, and when nobody is at the other end any more; a reader
/// that does not take a piece in its time is cut off as with every answer.
pub struct EventBody {
    events: Events,
    state: Option<Arc<State>>,
}

impl AnswerBody {
    /// A stream.
    #[must_use]
    pub fn events(events: Events) -> Self {
        Self::Events(EventBody { events, state: None })
    }

    /// Ties a stream to its connection. Whether it is one.
    pub(super) fn begin(&mut self, state: &Arc<State>) -> bool {
        let Self::Events(body) = self else { return false };
        state.set_streaming(true);
        body.state = Some(Arc::clone(state));
        true
    }
}

impl From<Bytes> for AnswerBody {
    fn from(whole: Bytes) -> Self {
        Self::Whole(Full::new(whole))
    }
}

impl Default for AnswerBody {
    fn default() -> Self {
        Self::Whole(Full::default())
    }
}

impl Drop for EventBody {
    fn drop(&mut self) {
        if let Some(state) = &self.state {
            state.set_streaming(false);
        }
    }
}

impl EventBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(state) = &self.state
            && state.has_ended(cx.waker())
        {
            return Poll::Ready(None);
        }
        let next = ready!(self.events.as_mut().poll_next(cx));
        if let Some(state) = &self.state {
            // From here on it is the reader's turn, until everything is flushed.
            state.enter(Phase::Answer);
        }
        Poll::Ready(next)
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx),
            Self::Events(body) => body.poll(cx).map(|next| next.map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Events(_) => SizeHint::default(),
        }
    }
}
