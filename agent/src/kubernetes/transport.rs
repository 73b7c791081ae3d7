//! Connections to the API server: TLS against the cluster's CA, made anew when the CA changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use http_body_util::Full;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use rustls::pki_types::{DnsName, ServerName};

use super::Address;
use super::credentials::{Credentials, CredentialsError};
use super::pool::Pool;
use crate::trust;

/// The name that every API server's certificate carries, whatever its address.
const SERVER_NAME: &str = "kubernetes.default.svc";

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(3);

/// A silent connection is asked whether it lives, and given up if it does not say so.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(5);

/// How long a connection without a watch is kept.
const IDLE: Duration = Duration::from_mins(1);

/// Watches on one connection. API servers allow 100 streams on one (`--http2-max-streams-per-connection`); a watch
/// above that would wait for another to end.
const WATCHES_PER_CONNECTION: usize = 96;

/// One connection for watches, and its replacement when it breaks.
pub(super) type Connection = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The connections of one agent.
pub(super) struct Transport {
    authority: Authority,
    host: HeaderValue,
    state: Mutex<State>,
}

struct State {
    ca_generation: u64,
    calls: Arc<Pool>,
    to_watch: HttpsConnector<HttpConnector>,
    watches: Vec<WatchConnection>,
}

struct WatchConnection {
    connection: Connection,
    places: Arc<()>,
}

/// A watch's place on its connection; dropping it gives the place back.
pub(super) struct Place(#[expect(dead_code, reason = "its count is what counts")] Arc<()>);

impl Transport {
    pub(super) fn new(address: &Address, credentials: &Credentials) -> Result<Self, CredentialsError> {
        let host = if address.host.contains(':') { format!("[{}]", address.host) } else { address.host.clone() };
        let authority = Authority::try_from(format!("{host}:{}", address.port))
            .unwrap_or_else(|_| Authority::from_static(SERVER_NAME));
        // RFC 9110 §7.2: without the port that the scheme has anyway.
        let host = if authority.port_u16() == Some(443) { authority.host() } else { authority.as_str() };
        let host = HeaderValue::from_str(host).unwrap_or_else(|_| HeaderValue::from_static(SERVER_NAME));
        let state = Mutex::new(State::new(credentials, &authority)?);
        Ok(Self { authority, host, state })
    }

    /// Makes a request for a path one to this server.
    pub(super) fn address(&self, request: &mut http::request::Parts) {
        let path = std::mem::take(&mut request.uri).into_parts().path_and_query;
        request.uri = uri(&self.authority, path);
    }

    /// The value of `Host`. Whoever does not set it has it written anew for every call.
    pub(super) fn host(&self) -> HeaderValue {
        self.host.clone()
    }

    /// The connections for calls.
    pub(super) fn for_call(&self, credentials: &Credentials) -> Arc<Pool> {
        Arc::clone(&self.current(credentials).calls)
    }

    /// A connection with a place for one more watch.
    pub(super) fn for_watch(&self, credentials: &Credentials) -> (Connection, Place) {
        let mut state = self.current(credentials);
        // The last connection without a watch is closed by its pool; here it only leaves the list.
        state.watches.retain(|watch| Arc::strong_count(&watch.places) > 1);
        let free = |watch: &&WatchConnection| Arc::strong_count(&watch.places) <= WATCHES_PER_CONNECTION;
        if let Some(watch) = state.watches.iter().find(free) {
            return (watch.connection.clone(), Place(Arc::clone(&watch.places)));
        }
        let (connection, places) = (for_watches(state.to_watch.clone()), Arc::new(()));
        state.watches.push(WatchConnection { connection: connection.clone(), places: Arc::clone(&places) });
        (connection, Place(places))
    }

    fn current(&self, credentials: &Credentials) -> std::sync::MutexGuard<'_, State> {
        // Replaced as a whole: whatever a panic left is a state that was once true.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.ca_generation != credentials.ca_generation()
            && let Ok(new) = State::new(credentials, &self.authority)
        {
            *state = new;
        }
        state
    }
}

impl State {
    fn new(credentials: &Credentials, authority: &Authority) -> Result<Self, CredentialsError> {
        let (bundle, ca_generation) = credentials.bundle();
        let tls = trust::client(bundle).map_err(CredentialsError::Tls)?;
        let name =
            DnsName::try_from_str(SERVER_NAME).map_err(|_| CredentialsError::Tls(rustls::Error::EncryptError))?;
        let name = ServerName::DnsName(name);
        let connector = || {
            HttpsConnectorBuilder::new()
                .with_tls_config(tls.clone())
                .https_only()
                .with_server_name_resolver(FixedServerNameResolver::new(name.clone()))
        };
        Ok(Self {
            ca_generation,
            // HTTP/1.1: a call has its connection to itself, which takes a fifth less processor time than a stream of
            // HTTP/2, and one that hangs is closed by its own deadline.
            calls: Arc::new(Pool::new(connector().enable_http1().wrap_connector(tcp()), uri(authority, None))),
            to_watch: connector().enable_http2().wrap_connector(tcp()),
            watches: Vec::new(),
        })
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_nodelay(true);
    tcp
}

fn uri(authority: &Authority, path: Option<PathAndQuery>) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Uri::from_parts(parts).unwrap_or_default()
}

/// HTTP/2: many watches share one connection, and a ping finds out that it is dead.
fn for_watches(connector: HttpsConnector<HttpConnector>) -> Connection {
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_ANSWER)
        .http2_keep_alive_while_idle(false)
        .build(connector)
}
