//! The admin listener: liveness, readiness and metrics, apart from the API and without anything secret.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::listener::{self, BoundSocket, ListenError, ListenSettings};

/// Probes and scrapers are few; more connections than this wait.
const CONNECTIONS: usize = 16;

/// The longest that one connection may live: a scraper reconnects.
const CONNECTION_LIFE: Duration = Duration::from_mins(1);

/// Where the admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// An address and port.
    Tcp(SocketAddr),
    /// A socket, bound like the API's.
    Unix(PathBuf),
}

impl AdminAddress {
    /// Reads `HOST:PORT`, with an IP address as host, or `unix:/PATH`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("unix:") {
            Some(path) => path.starts_with('/').then(|| Self::Unix(path.into())),
            None => text.parse().ok().map(Self::Tcp),
        }
    }
}

/// Why it does not listen.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The port.
    #[error("cannot listen on {address}; choose another port, or \"\" to turn the admin listener off")]
    Bind {
        /// As configured.
        address: SocketAddr,
        /// The kernel's reason.
        #[source]
        source: std::io::Error,
    },
    /// The socket.
    #[error("cannot bind the socket")]
    Socket(#[source] ListenError),
}

/// A bound admin listener.
pub enum AdminListener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix.
    Unix(BoundSocket),
}

/// What the answers are made from.
pub struct AdminState {
    /// All families.
    pub registry: Registry,
    /// Cancelled once the agent is draining: it lives, but it is not ready.
    pub draining: CancellationToken,
    /// Whether everything that readiness needs has happened.
    pub ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// What `/status` answers with, as JSON; none where that is elsewhere, as the agent's is on its socket.
    pub status: Option<Box<dyn Fn() -> String + Send + Sync>>,
}

impl AdminListener {
    /// Binds.
    ///
    /// # Errors
    /// [`AdminError`] names the key and the way out.
    pub async fn bind(address: &AdminAddress) -> Result<Self, AdminError> {
        match address {
            AdminAddress::Tcp(address) => TcpListener::bind(address)
                .await
                .map(Self::Tcp)
                .map_err(|source| AdminError::Bind { address: *address, source }),
            AdminAddress::Unix(socket) => listener::bind(&ListenSettings { socket: socket.clone(), group: None })
                .map(Self::Unix)
                .map_err(AdminError::Socket),
        }
    }

    /// Serves until `stop`.
    pub async fn serve(self, state: Arc<AdminState>, tasks: TaskTracker, stop: CancellationToken) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let state = Arc::clone(&state);
            let stopping = stop.clone();
            tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.accept() => match accepted {
                    Ok(stream) => {
                        tasks.spawn(async move {
                            let connection = serve_connection(stream, state);
                            tokio::select! {
                                () = stopping.cancelled() => {}
                                _ = tokio::time::timeout(CONNECTION_LIFE, connection) => {}
                            }
                            drop(permit);
                        });
                    }
                    // Out of descriptors, most likely: neither spin nor stop.
                    Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
                },
            }
        }
    }

    async fn accept(&self) -> std::io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => Ok(Box::new(listener.accept().await?.0)),
            Self::Unix(socket) => Ok(Box::new(socket.accept().await?)),
        }
    }
}

/// A connection of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn serve_connection(stream: Box<dyn Stream>, state: Arc<AdminState>) {
    let service = service_fn(move |request| {
        let response = answer(&request, &state);
        async move { Ok::<_, Infallible>(response) }
    });
    // A broken probe connection is the prober's business: there is nobody to tell.
    let _closed = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(2))
        .max_buf_size(8 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn answer(request: &Request<Incoming>, state: &AdminState) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD only\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/readyz" if state.draining.is_cancelled() => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/readyz" if !(state.ready)() => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        "/livez" | "/readyz" => text(StatusCode::OK, "ok\n"),
        "/metrics" => metrics(state),
        path => match &state.status {
            Some(status) if path == "/status" => json(status()),
            _ => text(StatusCode::NOT_FOUND, "/livez, /readyz or /metrics\n"),
        },
    }
}

fn metrics(state: &AdminState) -> Response<Full<Bytes>> {
    let mut body = String::new();
    if encode(&mut body, &state.registry).is_err() {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be encoded\n");
    }
    let mut response = Response::new(Full::new(Bytes::from(body)));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
    );
    response
}

fn json(body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
