//! Token and CA of the API server, from files that the kubelet keeps fresh.
//!
//! They are read again at least every ten seconds and after every 401. A file that is missing or half-written for a
//! moment, as it is while the kubelet swaps the volume, leaves the last good one in use.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use jiff::Timestamp;
use rustls::RootCertStore;
use zeroize::Zeroizing;

use crate::clock::{Clock, Moment};
use crate::trust;

/// How old what was read may be.
const FRESH: Duration = Duration::from_secs(10);

/// Far more than a token or a bundle has.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why the API server cannot be spoken to at all.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("identity.tokenDir: cannot read {}; the pod needs a projected service-account token there", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: std::io::Error,
    },
    /// The token is no token.
    #[error("identity.tokenDir: {} holds no token", path.display())]
    Token {
        /// The file.
        path: PathBuf,
    },
    /// The bundle holds no certificate.
    #[error("identity.tokenDir: {} holds no certificate that can be trusted", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
    },
    /// The TLS library refused the bundle.
    #[error("preparing TLS for the API server")]
    Tls(#[source] rustls::Error),
}

/// What the files said when they were last readable.
pub(super) struct Credentials {
    token_file: PathBuf,
    ca_file: PathBuf,
    clock: Clock,
    state: Mutex<State>,
    /// Grows with each new token.
    generation: AtomicU64,
    /// Grows with each new bundle.
    ca_generation: AtomicU64,
}

struct State {
    token: Token,
    bundle: Arc<RootCertStore>,
    bundle_bytes: Vec<u8>,
    read: Moment,
}

struct Token {
    text: Zeroizing<Vec<u8>>,
    header: HeaderValue,
    expiry: Option<Timestamp>,
}

impl Credentials {
    pub(super) fn load(directory: &Path) -> Result<Self, CredentialsError> {
        let (token_file, ca_file) = (directory.join("token"), directory.join("ca.crt"));
        let clock = Clock::Boot;
        let token = read_token(&token_file)?;
        let bundle_bytes = read(&ca_file)?.to_vec();
        let bundle = Arc::new(parse_bundle(&ca_file, &bundle_bytes)?);
        let state = Mutex::new(State { token, bundle, bundle_bytes, read: clock.now() });
        Ok(Self { token_file, ca_file, clock, state, generation: AtomicU64::new(1), ca_generation: AtomicU64::new(1) })
    }

    /// The value of `Authorization`, and the number of the token in it.
    pub(super) fn authorization(&self) -> (HeaderValue, u64) {
        let mut state = self.lock();
        if self.clock.now().since(state.read) >= FRESH {
            self.reload(&mut state);
        }
        (state.token.header.clone(), self.generation())
    }

    /// Reads the files now. Whether there is a newer token than number `used`.
    pub(super) fn renew(&self, used: u64) -> bool {
        let mut state = self.lock();
        if self.generation() == used {
            self.reload(&mut state);
        }
        self.generation() != used
    }

    /// The bundle, and its number.
    pub(super) fn bundle(&self) -> (Arc<RootCertStore>, u64) {
        let state = self.lock();
        (Arc::clone(&state.bundle), self.ca_generation())
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn ca_generation(&self) -> u64 {
        self.ca_generation.load(Ordering::Acquire)
    }

    pub(super) fn expiry(&self) -> Option<Timestamp> {
        self.lock().token.expiry
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Fields are replaced as wholes: whatever a panic left is a state that was once true.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reload(&self, state: &mut State) {
        state.read = self.clock.now();
        match read_token(&self.token_file) {
            Ok(token) if *token.text != *state.token.text => {
                state.token = token;
                self.generation.fetch_add(1, Ordering::AcqRel);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the last good token stays in use"),
        }
        let Ok(bytes) = read(&self.ca_file) else { return };
        if *bytes == state.bundle_bytes {
            return;
        }
        match parse_bundle(&self.ca_file, &bytes) {
            Ok(bundle) => {
                state.bundle = Arc::new(bundle);
                state.bundle_bytes = bytes.to_vec();
                self.ca_generation.fetch_add(1, Ordering::AcqRel);
                tracing::info!("the CA bundle of the API server has changed");
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the last good CA bundle stays in use");
            }
        }
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialsError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 * 1024));
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|source| CredentialsError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}

fn read_token(path: &Path) -> Result<Token, CredentialsError> {
    let bytes = read(path)?;
    let text = bytes.trim_ascii();
    let mut header = Zeroizing::new(Vec::with_capacity(text.len() + 7));
    header.extend_from_slice(b"Bearer ");
    header.extend_from_slice(text);
    let mut header = HeaderValue::from_bytes(&header)
        .ok()
        .filter(|_| !text.is_empty())
        .ok_or_else(|| CredentialsError::Token { path: path.to_owned() })?;
    header.set_sensitive(true);
    Ok(Token { expiry: expiry(text), text: Zeroizing::new(text.to_vec()), header })
}

/// The claim `exp` of our own token (RFC 7519 §4.1.4). It decides nothing: it is shown as a metric.
fn expiry(token: &[u8]) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct Claims {
        exp: i64,
    }
    let payload = token.split(|byte| *byte == b'.').nth(1)?;
    let payload = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload).ok()?);
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    Timestamp::from_second(claims.exp).ok()
}

fn parse_bundle(path: &Path, bytes: &[u8]) -> Result<RootCertStore, CredentialsError> {
    trust::bundle(bytes).ok_or_else(|| CredentialsError::Bundle { path: path.to_owned() })
}
