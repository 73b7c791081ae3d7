//! The certificate that handshakes get: swapped as a whole, while connections go on with the one they began with.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Validity;

/// What is served now; nothing until there is something.
#[derive(Debug, Default)]
pub struct Serving(RwLock<Option<Current>>);

#[derive(Clone, Debug)]
struct Current {
    key: Arc<CertifiedKey>,
    validity: Validity,
}

impl Serving {
    /// Serves `key` from now on. Whether that is a change.
    pub fn serve(&self, key: Arc<CertifiedKey>, validity: Validity) -> bool {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = current.as_ref().is_none_or(|current| current.key.cert != key.cert);
        if changed {
            *current = Some(Current { key, validity });
        }
        changed
    }

    /// When what is served is good.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        self.current().map(|current| current.validity)
    }

    /// What is served.
    #[must_use]
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.current()?.key.cert.first().cloned()
    }

    fn current(&self) -> Option<Current> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Serving {
    // Whatever name the client asks for: it is the client who checks that the certificate is for it.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current().map(|current| current.key)
    }
}
