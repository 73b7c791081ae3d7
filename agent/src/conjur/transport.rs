//! Connections to Conjur: TLS against the operator's authorities, made anew when their file changes.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::RootCertStore;

use super::stranger::Stranger;
use crate::clock::{Clock, Moment};
use crate::trust;

/// How old what was read of the file may be.
const FRESH: Duration = Duration::from_secs(5);

/// Far more than a bundle has.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(3);

/// How long a connection without a request is kept: less than the 80 s after which Conjur closes it.
const IDLE: Duration = Duration::from_mins(1);

/// How long the same trouble with TLS is not told again.
const TOLD: Duration = Duration::from_mins(1);

/// Whom TLS trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorities {
    /// The certificates of a file, read again when it changes.
    File(PathBuf),
    /// These, as PEM.
    Pem(String),
    /// The system's.
    System,
}

/// Why there can be no connection at all.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The file of authorities cannot be read.
    #[error("backend.conjur.caFile: cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: std::io::Error,
    },
    /// It holds none.
    #[error("backend.conjur.caFile: {} holds no certificate that can be trusted", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// There are none on this system.
    #[error("this system has no authorities of its own; give backend.conjur.caFile or backend.conjur.caPem")]
    NoSystem,
    /// The TLS library refuses.
    #[error("preparing TLS for Conjur")]
    Tls(#[source] rustls::Error),
    /// The HTTP library refuses.
    #[error("preparing HTTP for Conjur")]
    Http(#[source] reqwest::Error),
}

/// The connections of one agent.
pub(super) struct Transport {
    authorities: Authorities,
    clock: Clock,
    state: Mutex<State>,
    told: Mutex<Option<(Stranger, Moment)>>,
}

struct State {
    client: reqwest::Client,
    bytes: Vec<u8>,
    read: Moment,
}

impl Transport {
    /// Without TLS nobody need be trusted.
    pub(super) fn new(authorities: Authorities, by_tls: bool) -> Result<Self, TransportError> {
        let clock = Clock::Boot;
        let (client, bytes) = match &authorities {
            Authorities::File(path) => {
                let bytes = read(path)?;
                (client(parse(path, &bytes)?)?, bytes)
            }
            Authorities::Pem(pem) => {
                let store = trust::bundle(pem.as_bytes()).ok_or(TransportError::NoSystem)?;
                (client(store)?, Vec::new())
            }
            Authorities::System => {
                let system = if by_tls { trust::system() } else { Some(RootCertStore::empty()) };
                (client(system.ok_or(TransportError::NoSystem)?)?, Vec::new())
            }
        };
        let state = Mutex::new(State { client, bytes, read: clock.now() });
        Ok(Self { authorities, clock, state, told: Mutex::new(None) })
    }

    /// Connections that trust what is to be trusted now.
    pub(super) fn client(&self) -> reqwest::Client {
        let mut state = self.lock();
        if let Authorities::File(path) = &self.authorities
            && self.clock.now().since(state.read) >= FRESH
        {
            state.read = self.clock.now();
            reload(path, &mut state);
        }
        state.client.clone()
    }

    /// Says in the log what TLS has against whoever answers, if that is why there is no connection.
    pub(super) fn tell_why(&self, error: &reqwest::Error) {
        let Some(stranger) = Stranger::of(error) else { return };
        let now = self.clock.now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|(last, at)| last != stranger || now.since(at) >= TOLD) {
            *told = Some((stranger, now));
            tracing::warn!(reason = %stranger, "TLS does not accept whoever answers at Conjur's address");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Fields are replaced as wholes: whatever a panic left is a state that was once true.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What cannot be read, or is half-written, leaves the last good authorities in use.
fn reload(path: &Path, state: &mut State) {
    let Ok(bytes) = read(path) else { return };
    if bytes == state.bytes {
        return;
    }
    match parse(path, &bytes).and_then(client) {
        Ok(client) => {
            (state.client, state.bytes) = (client, bytes);
            tracing::info!("the authorities for Conjur have changed");
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last good authorities stay in use");
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TransportError> {
    let mut bytes = Vec::with_capacity(8 * 1024);
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|source| TransportError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<RootCertStore, TransportError> {
    trust::bundle(bytes).ok_or_else(|| TransportError::NoCertificate { path: path.to_owned() })
}

/// HTTP/1.1, which is all that Conjur speaks. No redirect is followed and no proxy asked, whatever the environment says:
/// credentials go to the configured address and nowhere else (N10). Nothing is decompressed.
fn client(authorities: RootCertStore) -> Result<reqwest::Client, TransportError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(trust::client(authorities).map_err(TransportError::Tls)?)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(super::CALLS_MAX)
        .user_agent(concat!("cloakroom/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(TransportError::Http)
}
