//! One connection: a handshake with a deadline, requests by HTTP/1.1 or 2, and an end when it is idle or we drain.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::webhook::Webhook;

/// From the connection to the end of its handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// From the first byte of a head to its end, and how long HTTP/1.1 may wait for the next one.
const HEAD: Duration = Duration::from_secs(30);

/// How long a connection without a request is kept. Go's client gives one up after 90 s.
const IDLE: Duration = Duration::from_mins(2);

/// Requests at one time on one connection.
const STREAMS: u32 = 250;

/// Of one stream and of one connection: a review is larger than a frame and smaller than this.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// A silent connection is asked whether it lives, and given up if it does not say so.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// How long after our end has come a connection without a request is still given time for its first one: whoever made
/// it a moment ago has one on the way, and would hear of it as a broken connection.
const FIRST: Duration = Duration::from_millis(500);

/// How long a socket stays open after the last word on it. A client whose request crosses that word then reads it, and
/// knows that the connection had ended before; on a socket that is gone its write would fail, and it would report that.
const LINGER: Duration = Duration::from_secs(1);

/// What a connection is doing.
#[derive(Default)]
struct Work {
    open: AtomicUsize,
    begun: AtomicU64,
}

pub(super) async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    webhook: Arc<Webhook>,
    draining: CancellationToken,
    stop: CancellationToken,
) {
    // Small answers must not wait for each other (Nagle); one that cannot be set is only slower.
    drop(stream.set_nodelay(true));
    let Ok((stream, socket)) = kept_open(stream) else { return };
    let shaken = tokio::select! {
        biased;
        shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)) => shaken,
        () = late(&stop) => return,
    };
    // Somebody who does not trust us, does not speak TLS or does not speak at all: there is nobody to tell.
    let Ok(Ok(stream)) = shaken else { return };
    let work = Arc::new(Work::default());
    let service = service_fn({
        let work = Arc::clone(&work);
        move |request: Request<Incoming>| {
            let (webhook, work, draining) = (Arc::clone(&webhook), Arc::clone(&work), draining.clone());
            async move {
                let _open = Open::new(&work);
                let is_kept_alive = request.version() != Version::HTTP_2;
                let mut response = webhook.answer(request).await;
                // API servers speak HTTP/1.1 to webhooks, and send no review again whose connection was closed as they
                // wrote it. So the last answer on each says that it is the last one, for as long as we are still there.
                if is_kept_alive && draining.is_cancelled() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(16 * 1024)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _closed = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = idle(&work) => {}
    }
    if stop.is_cancelled() {
        tokio::select! {
            _closed = connection.as_mut() => return,
            () = first(&work) => {}
        }
    }
    // HTTP/2 is told GOAWAY, HTTP/1.1 `Connection: close`: what has begun ends, and nothing new comes.
    connection.as_mut().graceful_shutdown();
    let _closed = connection.await;
    tokio::time::sleep(LINGER).await;
    drop(socket);
}

/// The stream, and its socket once more, which is open for as long as that is kept.
fn kept_open(stream: TcpStream) -> std::io::Result<(TcpStream, std::net::TcpStream)> {
    let stream = stream.into_std()?;
    let socket = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, socket))
}

/// Returns some time after our end has come.
async fn late(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(FIRST).await;
}

/// Returns once there was a request, or none came in time.
async fn first(work: &Work) {
    const LOOK: Duration = Duration::from_millis(10);
    let until = tokio::time::Instant::now() + FIRST;
    while work.begun.load(Ordering::Relaxed) == 0 && tokio::time::Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
}

/// Returns once no request has been open for the idle time.
async fn idle(work: &Work) {
    let mut seen = 0;
    loop {
        tokio::time::sleep(IDLE).await;
        let begun = work.begun.load(Ordering::Relaxed);
        if begun == seen && work.open.load(Ordering::Relaxed) == 0 {
            return;
        }
        seen = begun;
    }
}

/// A request while it is answered.
struct Open<'a>(&'a Work);

impl<'a> Open<'a> {
    fn new(work: &'a Work) -> Self {
        work.open.fetch_add(1, Ordering::Relaxed);
        work.begun.fetch_add(1, Ordering::Relaxed);
        Self(work)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
