//! The stream under hyper: every byte in passes the scanner, every step is told to the table.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use super::framing::Framing;
use super::table::{Phase, State};

/// What no parser takes for part of a request head or of a body's framing: hyper answers 400 to it, in its turn.
const POISON: &[u8] = b"\0";

/// A connection for hyper.
pub(super) struct Wire {
    /// None only while this is dropped.
    stream: Option<UnixStream>,
    state: Arc<State>,
    framing: Framing,
    /// A malformed request was seen: hyper has got the poison, and nothing comes after it.
    ended: bool,
    answers: Arc<AtomicU64>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.state.leave_stream(stream);
        }
    }
}

impl Wire {
    pub(super) fn new(stream: UnixStream, state: Arc<State>, head_bytes: usize, answers: Arc<AtomicU64>) -> Self {
        Self { stream: Some(stream), state, framing: Framing::new(head_bytes), ended: false, answers }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut UnixStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Where the connection stands after bytes came in or went out.
    fn settle(&self) {
        self.state.enter(if self.state.is_streaming() {
            Phase::Stream
        } else if self.framing.heads() > self.answers.load(Ordering::Relaxed) {
            Phase::Request
        } else if self.framing.in_head() {
            Phase::Head
        } else {
            Phase::Idle
        });
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // A byte of room for the poison is a byte of room for what it replaces.
        if this.ended || buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(this.stream()?.poll_read(cx, buffer))?;
        let bytes = buffer.filled().get(before..).unwrap_or_default();
        if bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if let Err(malformed) = this.framing.push(bytes) {
            this.ended = true;
            buffer.set_filled(before + malformed.plain);
            buffer.put_slice(POISON);
        }
        this.settle();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().stream()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().stream()?.poll_write_vectored(cx, slices)
    }

    /// hyper keeps an answer's bytes as they are where this is so; it would copy them into a buffer of its own
    /// otherwise, and keep them there.
    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes when everything that it holds is written: the reader has taken the answer.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.settle();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream()?.poll_shutdown(cx)
    }
}
