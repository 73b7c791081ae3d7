//! HTTP/1.1 on the API's socket: limits, framing, drain. Knows what a request is and nothing of what it asks.
//!
//! hyper parses and writes. Around it stand a scanner that refuses what could be read in two ways, a table that knows
//! how long each connection has waited for what, and one sweeper instead of a timer for each request.

mod body;
mod connection;
pub mod framing;
mod in_flight;
mod outgoing;
mod refusal;
mod table;
mod wire;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::listener::BoundSocket;
use crate::peer::Peer;

pub use body::{BodyBytes, BodyError, RequestBody};
pub use in_flight::{InFlight, OverCapacity, Reservation, answer};
pub use outgoing::{AnswerBody, Events};
pub use refusal::Refusal;
pub use table::ServerMetrics;
use table::{Room, Table};

/// How often deadlines of connections are looked at: the most by which one is missed.
const SWEEP: Duration = Duration::from_millis(250);

/// How long `accept` is left alone when it fails, which is when descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits of the server.
#[derive(Clone, Copy, Debug)]
pub struct ServerSettings {
    /// Connections at one time.
    pub connections: usize,
    /// Bytes of a request head.
    pub header_bytes: usize,
    /// Fields of a request head.
    pub header_fields: usize,
    /// From the first byte of a head to its end, and from the connection to the end of its first head.
    pub header_timeout: Duration,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// From the end of the head to the end of the body.
    pub body_timeout: Duration,
    /// From the start of an answer until its reader has taken it.
    pub answer_timeout: Duration,
    /// From the signal until what is in flight must have ended.
    pub drain_timeout: Duration,
}

/// What the server serves.
pub trait Handler: Send + Sync + 'static {
    /// Who is on a connection, settled once.
    type Caller: Send + Sync + 'static;

    /// Whether this peer may connect at all.
    fn admit(&self, peer: Peer) -> Option<Self::Caller>;

    /// Answers one request.
    fn handle(
        &self,
        caller: &Arc<Self::Caller>,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<AnswerBody>> + Send;

    /// The answer to a request that the server does not hand on.
    fn refuse(&self, refusal: Refusal) -> Response<AnswerBody>;

    /// The answer where [`Handler::handle`] panicked.
    fn panicked(&self) -> Response<AnswerBody>;
}

/// What every connection of one server shares.
struct Shared<H> {
    handler: Arc<H>,
    settings: ServerSettings,
    table: Table,
    in_flight: InFlight,
}

/// Serves until `stop`, then lets what is in flight end within the drain's deadline.
///
/// # Errors
/// None at present; a socket that cannot accept is left alone for a moment and tried again.
pub async fn serve<H: Handler>(
    socket: BoundSocket,
    settings: ServerSettings,
    handler: Arc<H>,
    in_flight: InFlight,
    tasks: TaskTracker,
    stop: CancellationToken,
    metrics: ServerMetrics,
) -> std::io::Result<()> {
    let table = metrics.table;
    table.set_capacity(settings.connections);
    let shared = Arc::new(Shared { handler, settings, table, in_flight });
    let connections = TaskTracker::new();
    let sweeping = tasks.spawn(sweep(Arc::clone(&shared)));
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = next(&socket, &shared.table) => match accepted {
                Ok(stream) => admit(&shared, stream, &connections),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // Unlinks the socket: who connects from now on is refused by the kernel.
    drop(socket);
    drain(&shared, &connections).await;
    sweeping.abort();
    Ok(())
}

/// The next connection and the room for it; whoever comes after it waits in the kernel's backlog.
async fn next(socket: &BoundSocket, table: &Table) -> std::io::Result<UnixStream> {
    let stream = socket.accept().await?;
    table.room().await;
    Ok(stream)
}

/// Looks after deadlines; without connections there is nothing to do, and an idle agent does not wake up.
async fn sweep<H: Handler>(shared: Arc<Shared<H>>) {
    loop {
        shared.table.occupied().await;
        tokio::time::sleep(SWEEP).await;
        shared.table.sweep(&shared.settings);
    }
}

fn admit<H: Handler>(shared: &Arc<Shared<H>>, stream: UnixStream, connections: &TaskTracker) {
    // A peer that has gone already, or that may not connect, gets no answer: there is nobody to give one to.
    let Ok(peer) = Peer::of(&stream) else { return };
    let Some(caller) = shared.handler.admit(peer) else { return };
    let Room { state, guard } = shared.table.add(stream.as_raw_fd());
    let shared = Arc::clone(shared);
    connections.spawn(async move {
        connection::serve(&shared, Arc::new(caller), stream, &state).await;
        drop(guard);
    });
}

async fn drain<H>(shared: &Shared<H>, connections: &TaskTracker) {
    shared.table.drain();
    connections.close();
    if tokio::time::timeout(shared.settings.drain_timeout, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "the drain's deadline passed: the rest is cut off");
        shared.table.cut_off();
        connections.wait().await;
    }
}
