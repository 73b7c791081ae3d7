//! One connection from its first byte to its last.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::body::RequestBody;
use super::outgoing::AnswerBody;
use super::refusal;
use super::table::{BodyState, Phase, State};
use super::wire::Wire;
use super::{Handler, Shared};

/// How long, and how many bytes, a refused sender may go on sending. A Unix socket that is closed with unread bytes in
/// it resets the connection, and the answer that says why would be lost.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 8 * 1024 * 1024;

/// Serves until the peer leaves, the connection is told to close, or the sweeper ends it.
pub(super) async fn serve<H: Handler>(
    shared: &Arc<Shared<H>>,
    caller: Arc<H::Caller>,
    stream: UnixStream,
    state: &Arc<State>,
) {
    let answers = Arc::new(AtomicU64::new(0));
    let wire = Wire::new(stream, Arc::clone(state), shared.settings.header_bytes, Arc::clone(&answers));
    let service = service_fn(|request| {
        let (shared, caller, state) = (Arc::clone(shared), Arc::clone(&caller), Arc::clone(state));
        let answers = Arc::clone(&answers);
        async move {
            let response = answer(&shared, &caller, &state, request).await;
            answers.fetch_add(1, Ordering::Relaxed);
            state.enter(Phase::Answer);
            Ok::<_, Infallible>(response)
        }
    });
    let served = http1::Builder::new()
        // The sweeper does this without a timer for each request.
        .header_read_timeout(None)
        .max_buf_size(shared.settings.header_bytes.max(8 * 1024))
        // While a request is worked on, hyper would read to see whether the caller has left; nothing would come of it.
        .half_close(true)
        .serve_connection(TokioIo::new(wire), service)
        .await;
    // hyper has told the peer that nothing more will come, and let the stream go.
    if let Some(stream) = state.take_stream() {
        if served.is_err() || state.body() != BodyState::Read {
            linger(&stream).await;
        }
        state.forget();
    }
}

async fn answer<H: Handler>(
    shared: &Shared<H>,
    caller: &Arc<H::Caller>,
    state: &Arc<State>,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let mut closing = request.headers().contains_key(header::TRANSFER_ENCODING);
    let mut response = if let Err(refusal) = refusal::check(&request, shared.settings.header_fields) {
        closing = true;
        shared.handler.refuse(refusal)
    } else {
        let request = request.map(|incoming| {
            let settings = &shared.settings;
            let in_flight = shared.in_flight.clone();
            RequestBody::new(incoming, settings.body_bytes, settings.body_timeout, in_flight, Arc::clone(state))
        });
        caught(shared.handler.handle(caller, request)).await.unwrap_or_else(|Panicked| shared.handler.panicked())
    };
    // A drain ends a stream, and its connection with it.
    closing |= response.body_mut().begin(state);
    if closing || state.draining() || state.body() == BodyState::Refused {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

struct Panicked;

/// Ends a panic at the request that it belongs to. What the request shares with others is behind locks that are cleared
/// where they are poisoned, so nothing half-done is seen.
async fn caught<F: Future>(work: F) -> Result<F::Output, Panicked> {
    let mut work = pin!(work);
    poll_fn(|context| match std::panic::catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(_payload) => Poll::Ready(Err(Panicked)),
    })
    .await
}

/// Reads and forgets what a refused sender still sends, until it stops.
async fn linger(stream: &UnixStream) {
    let rest = async {
        let mut buffer = vec![0_u8; 16 * 1024];
        let mut total = 0;
        while total < LINGER_BYTES && stream.readable().await.is_ok() {
            match stream.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => total += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    // Whoever goes on longer loses the answer: that is its own doing.
    drop(tokio::time::timeout(LINGER, rest).await);
}
