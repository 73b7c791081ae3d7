//! The API server as this agent speaks to it: one address, our own token, a deadline and a size for everything.
//!
//! Requests and their answers are built and read here, because an answer may hold secrets: it is read into memory that
//! is wiped, and what is wrong with it is told without its text.

mod call;
mod credentials;
mod pool;
pub mod review;
mod stream;
mod transport;
mod version;

use std::path::Path;
use std::sync::Arc;

pub use call::{Answer, CallError};
pub use credentials::CredentialsError;
pub use stream::Lines;
pub use version::{MINOR_MIN, TooOld};

use credentials::Credentials;
use transport::Transport;

/// Calls under way at one time; watches do not count.
const CALLS_MAX: usize = 64;

/// Where the API server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host or IP address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Address {
    /// What the kubelet tells every container: `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`.
    ///
    /// Where a tenant could change them (a Service named `kubernetes` in the pod's namespace does), the connection
    /// fails: the certificate must be the cluster's own for `kubernetes.default.svc`.
    #[must_use]
    pub fn from_environment(host: Option<&str>, port: Option<&str>) -> Self {
        match (host, port.and_then(|port| port.parse().ok())) {
            (Some(host), Some(port)) if !host.is_empty() => Self { host: host.to_owned(), port },
            _ => Self { host: "kubernetes.default.svc".to_owned(), port: 443 },
        }
    }
}

/// The API server of this cluster; clones share connections and credentials.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

struct Inner {
    credentials: Credentials,
    transport: Transport,
    calls: tokio::sync::Semaphore,
}

impl ApiServer {
    /// Reads `token` and `ca.crt` in `directory`; connects when it is first needed.
    ///
    /// # Errors
    /// [`CredentialsError`]: a file is missing or is not what its name says.
    pub fn new(address: &Address, directory: &Path) -> Result<Self, CredentialsError> {
        let credentials = Credentials::load(directory)?;
        let transport = Transport::new(address, &credentials)?;
        Ok(Self { inner: Arc::new(Inner { credentials, transport, calls: tokio::sync::Semaphore::new(CALLS_MAX) }) })
    }

    /// The number of the token that is in use: it grows each time the kubelet has rotated it.
    #[must_use]
    pub fn token_generation(&self) -> u64 {
        self.inner.credentials.generation()
    }

    /// Reads the files again if they have not been read for ten seconds.
    pub fn look_at_token(&self) {
        self.inner.credentials.authorization();
    }

    /// When the token ends, by its own word; none where it does not say so.
    #[must_use]
    pub fn token_expiry(&self) -> Option<jiff::Timestamp> {
        self.inner.credentials.expiry()
    }
}
