//! HTTPS for admission: accepts, shakes hands and counts connections, each on its own, so that a slow one waits alone.

mod connection;
mod places;
pub mod webhook;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::certificate::serving::Serving;
use places::Places;
use webhook::Webhook;

/// How long `accept` is left alone when it fails, which is when descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that are taken at the end because they came before it; more than a listener's queue holds by default.
const LATE_MAX: usize = 4096;

/// How long connections may take to end once they have been asked to: longer than any review.
const DRAIN: Duration = Duration::from_secs(10);

/// TLS with whatever `serving` holds when a client says hello.
///
/// # Errors
/// The TLS library's.
pub fn tls(serving: Arc<Serving>, provider: Arc<CryptoProvider>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // API servers keep their connections and resume no sessions: what would be kept for that is only memory.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Serves until `stop`, then lets every review that has begun end. From `draining` on, which comes earlier, no connection
/// of HTTP/1.1 is used for a second review.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    webhook: Arc<Webhook>,
    draining: CancellationToken,
    stop: CancellationToken,
) {
    let (acceptor, places, connections) = (TlsAcceptor::from(tls), Places::default(), TaskTracker::new());
    let begin = |stream: TcpStream, peer: SocketAddr| {
        // No answer to one too many: a peer that opens so many does not read it.
        let Some(place) = places.take(peer.ip()) else { return };
        let (acceptor, webhook) = (acceptor.clone(), Arc::clone(&webhook));
        let (draining, stop) = (draining.clone(), stop.clone());
        connections.spawn(async move {
            connection::serve(stream, acceptor, webhook, draining, stop).await;
            drop(place);
        });
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => begin(stream, peer),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Whoever was let in by the kernel before has its request on the way.
    for _ in 0..LATE_MAX {
        let Ok(Ok((stream, peer))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await else { break };
        begin(stream, peer);
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "the drain's deadline passed: the rest is cut off");
    }
}
