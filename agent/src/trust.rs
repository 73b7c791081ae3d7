//! Which authorities a connection trusts: bundles of certificates, and TLS that believes in nothing else.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The authorities in a PEM text; none where it holds no certificate that can be trusted, or is broken.
#[must_use]
pub(crate) fn bundle(pem: &[u8]) -> Option<RootCertStore> {
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(certificates);
    (added > 0).then_some(store)
}

/// The authorities of this system; none where it has no bundle, as in an image from scratch.
#[must_use]
pub(crate) fn system() -> Option<RootCertStore> {
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    (added > 0).then_some(store)
}

/// TLS 1.2 or 1.3 that trusts `authorities`, and shows no certificate of its own.
///
/// # Errors
/// The library's own, which it only has for a provider without cipher suites.
pub(crate) fn client(authorities: impl Into<Arc<RootCertStore>>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(authorities).with_no_client_auth())
}
