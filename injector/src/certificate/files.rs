//! Certificates that somebody else makes: a mounted `tls.crt` and `tls.key`, looked at every few seconds.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::serving::Serving;
use super::{Validity, state};

/// How often the files are looked at. Polled: the kubelet swaps a link, and a watch on a swapped link is easily lost.
const POLL: Duration = Duration::from_secs(5);

/// Far more than a chain and a key have.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why the pair on the disk is not served.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("{} holds no PEM of the kind that its name says", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
    },
    /// The files do not belong together, as while one of them has been replaced and the other has not.
    #[error("the key belongs to another certificate")]
    Mismatch,
    /// It is not good now.
    #[error("the certificate is not valid now")]
    Expired,
}

/// The pair of one directory.
pub struct Pair {
    directory: PathBuf,
    provider: Arc<CryptoProvider>,
    last: Option<Zeroizing<Vec<u8>>>,
}

impl Pair {
    /// `tls.crt` and `tls.key` in `directory`.
    #[must_use]
    pub fn new(directory: PathBuf, provider: Arc<CryptoProvider>) -> Self {
        Self { directory, provider, last: None }
    }

    /// Keeps `serving` at what is on the disk until `stop`; what is half-written leaves the last good pair in use.
    pub async fn keep(mut self, serving: Arc<Serving>, stop: CancellationToken) {
        loop {
            let now = jiff::Timestamp::now().as_second();
            match self.look(&serving, now) {
                Ok(true) => tracing::info!("serving a new certificate"),
                Ok(false) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the certificate on the disk is not served; the last good one stays in use");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Looks once. Whether what is served has changed; what was told to be wrong is not told again until it changes.
    ///
    /// # Errors
    /// [`PairError`].
    pub fn look(&mut self, serving: &Serving, now: i64) -> Result<bool, PairError> {
        let (certificate, key) = (self.directory.join("tls.crt"), self.directory.join("tls.key"));
        let (chain, private) = (read(&certificate)?, read(&key)?);
        let both = Zeroizing::new([&**chain, &**private].concat());
        if self.last.as_deref() == Some(&*both) {
            return Ok(false);
        }
        self.last = Some(both);
        let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&chain).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(PairError::Pem { path: certificate })?;
        let private = PrivateKeyDer::from_pem_slice(&private).map_err(|_| PairError::Pem { path: key })?;
        let validity = chain.first().and_then(validity).ok_or(PairError::Mismatch)?;
        if !validity.lasts(now) {
            return Err(PairError::Expired);
        }
        let pair = CertifiedKey::from_der(chain, private, &self.provider).map_err(|_| PairError::Mismatch)?;
        Ok(serving.serve(Arc::new(pair), validity))
    }
}

fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    X509Certificate::from_der(certificate).ok().map(|(_, parsed)| state::validity(&parsed))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, PairError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 * 1024));
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|source| PairError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}
