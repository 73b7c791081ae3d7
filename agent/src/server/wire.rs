//! The stream under hyper: every byte in passes the scanner, every step is told to the table.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::net::UnixStream;

use super::framing::Framing;
use super::table::{Phase, State};

/// Most bytes that are read at once; a head or a small body is far shorter, and a larger body comes in pieces.
const READ_BYTES: usize = 8 * 1024;

/// What no parser takes for part of a request head or of a body's framing: hyper answers 400 to it, in its turn.
const POISON: &[u8] = b"\0";

/// A connection for hyper.
pub(super) struct Wire {
    state: Arc<State>,
    framing: Framing,
    /// A malformed request was seen: hyper has got the poison, and nothing comes after it.
    ended: bool,
    answers: Arc<std::sync::atomic::AtomicU64>,
}

impl Wire {
    pub(super) fn new(state: Arc<State>, head_bytes: usize, answers: Arc<std::sync::atomic::AtomicU64>) -> Self {
        Self { state, framing: Framing::new(head_bytes), ended: false, answers }
    }

    fn stream(&self) -> &UnixStream {
        &self.state.stream
    }

    /// Where the connection stands after bytes came in or went out.
    fn settle(&self) {
        let answered = self.answers.load(std::sync::atomic::Ordering::Relaxed);
        self.state.enter(if self.framing.heads() > answered {
            Phase::Request
        } else if self.framing.in_head() {
            Phase::Head
        } else {
            Phase::Idle
        });
    }
}

impl Read for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ended || cursor.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // Our own buffer first: hyper's is not initialised, and to initialise it would cost what this copy costs.
        let mut buffer = [0_u8; READ_BYTES];
        let room = cursor.remaining().min(READ_BYTES);
        let room = buffer.get_mut(..room).unwrap_or_default();
        let count = loop {
            ready!(this.stream().poll_read_ready(cx))?;
            match this.stream().try_read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => break other?,
            }
        };
        let bytes = room.get(..count).unwrap_or_default();
        match this.framing.push(bytes) {
            Ok(()) => cursor.put_slice(bytes),
            Err(malformed) => {
                this.ended = true;
                cursor.put_slice(bytes.get(..malformed.plain).unwrap_or_default());
                cursor.put_slice(POISON);
            }
        }
        if !bytes.is_empty() {
            this.settle();
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.stream().try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.stream().poll_write_ready(cx))?,
                other => return Poll::Ready(other),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.stream().try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.stream().poll_write_ready(cx))?,
                other => return Poll::Ready(other),
            }
        }
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

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.close_writing();
        Poll::Ready(Ok(()))
    }
}
