//! Connections for calls: one call at a time on each, and kept for the next one.
//!
//! The library's own client does the same for any number of servers: it looks the server up, writes its name and moves
//! the request once more for each call, which is a tenth of the processor time of a get.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::Executor as _;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::Instant;
use tower_service::Service as _;

use super::CallError;

/// How long a connection without a call is kept: less than the API server keeps it, so that a call does not meet one
/// that is being closed. And how many such are kept.
const IDLE: Duration = Duration::from_mins(1);
const IDLE_MAX: usize = 4;

/// How much of an answer that nobody wants is read for the sake of its connection, and for how long.
const REST_BYTES_MAX: usize = 64 * 1024;
const REST: Duration = Duration::from_secs(1);

/// Connections to one server, which come up when they are needed.
pub(super) struct Pool {
    connector: HttpsConnector<HttpConnector>,
    server: Uri,
    /// The one that was used last is the last.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

/// A connection whose answer is being read. Dropped, it is closed.
pub(super) struct Busy(SendRequest<Full<Bytes>>);

impl Pool {
    pub(super) fn new(connector: HttpsConnector<HttpConnector>, server: Uri) -> Self {
        Self { connector, server, idle: Mutex::default() }
    }

    /// Sends `request`, which names a path and the host. Dropping what this returns closes the connection.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Busy), CallError> {
        while let Some(mut sender) = self.take() {
            // It has yet to see that its last answer has ended, or that the server has closed it.
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, Busy(sender))),
                // The server closed it while it lay idle: nothing of the request was sent.
                Err(mut error) => request = error.take_message().ok_or(CallError::Lost)?,
            }
        }
        let mut sender = Box::pin(self.connect()).await?;
        let response = sender.send_request(request).await.map_err(|_| CallError::Lost)?;
        Ok((response, Busy(sender)))
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn keep(&self, Busy(sender): Busy) {
        let mut idle = self.lock();
        if idle.len() < IDLE_MAX && !sender.is_closed() {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }

    /// Keeps a connection whose answer nobody wants, once the rest of it is there, which nobody waits for.
    pub(super) fn finish(self: &Arc<Self>, answer: Response<Incoming>, connection: Busy) {
        let this = Arc::clone(self);
        TokioExecutor::new().execute(async move {
            let rest = Limited::new(answer.into_body(), REST_BYTES_MAX).collect();
            if tokio::time::timeout(REST, rest).await.is_ok_and(|rest| rest.is_ok()) {
                this.keep(connection);
            }
        });
    }

    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.lock();
        while let Some(Idle { sender, since }) = idle.pop() {
            if since.elapsed() >= IDLE {
                // So have those that lie under it.
                idle.clear();
            } else if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, CallError> {
        let stream = self.connector.clone().call(self.server.clone()).await.map_err(|_| CallError::Unreachable)?;
        let (sender, connection) = http1::handshake(stream).await.map_err(|_| CallError::Unreachable)?;
        // Ends with the sender, and no drain waits for it; what goes wrong is told to whoever waits for an answer.
        TokioExecutor::new().execute(connection);
        Ok(sender)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        // A list of connections: whatever a panic left of it is still one.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
