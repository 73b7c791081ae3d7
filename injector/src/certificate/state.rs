//! What the replicas share: authorities, the leaf that is served and the one that is served next.
//!
//! What is read is believed only after every part of it has been checked against the others: the Secret may have been
//! edited, restored from a backup, or half of it replaced.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::Validity;

/// Far more than three authorities and two leaves.
const TEXT_BYTES_MAX: usize = 128 * 1024;

/// A private key as PEM. Has no `Debug`, and is wiped when it is dropped.
#[derive(Clone)]
pub struct Key(Zeroizing<String>);

impl Key {
    /// Takes the text over.
    #[must_use]
    pub fn new(pem: String) -> Self {
        Self(Zeroizing::new(pem))
    }

    pub(super) fn pem(&self) -> &str {
        &self.0
    }
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// An authority.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authority {
    /// Its certificate, as PEM.
    pub certificate: String,
    /// Its key, for as long as it issues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// When its last leaf ends, in seconds since the epoch.
    pub leaves_until: i64,
}

/// A certificate to serve with, and its key.
#[derive(Clone, Serialize, Deserialize)]
pub struct Leaf {
    /// The certificate, as PEM.
    pub certificate: String,
    /// Its key.
    pub key: Key,
}

/// The whole state; the authority that issues stands last.
#[derive(Clone, Serialize, Deserialize)]
pub struct State {
    /// Whom the API server is told to trust.
    pub authorities: Vec<Authority>,
    /// What every replica serves.
    pub leaf: Leaf,
    /// What is served once its authority is known everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Leaf>,
}

/// Why a state cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is none.
    #[error("there is none")]
    Absent,
    /// It is not what we write.
    #[error("it cannot be read")]
    Unreadable,
    /// What stands as an authority is none.
    #[error("a certificate in it is no authority")]
    NotAnAuthority,
    /// A certificate and its key do not belong together.
    #[error("a key in it belongs to another certificate")]
    KeyMismatch,
    /// The leaf comes from none of the authorities, or is not for our names.
    #[error("its leaf is not from its authorities, or not for this service")]
    Stranger,
    /// Nothing in it is good now.
    #[error("its certificates are not valid now")]
    Expired,
}

/// A state whose parts fit together.
pub struct Checked {
    /// The state.
    pub state: State,
    /// Its leaf.
    pub leaf: Servable,
    /// Its next leaf.
    pub next: Option<Servable>,
    /// Its authorities, in the same order.
    pub authorities: Vec<Known>,
}

/// A leaf that can be served.
#[derive(Clone)]
pub struct Servable {
    /// For the TLS library.
    pub key: Arc<CertifiedKey>,
    /// When it is good: not longer than its authority.
    pub validity: Validity,
    /// Which authority it is from.
    pub authority: Digest,
}

/// An authority that is one.
pub struct Known {
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// When it is good.
    pub validity: Validity,
    /// Tells it from others.
    pub digest: Digest,
    /// Whether we have its key.
    pub issues: bool,
}

/// SHA-256 of a certificate.
pub type Digest = [u8; 32];

impl State {
    /// Reads the text.
    ///
    /// # Errors
    /// [`Fault::Unreadable`].
    pub fn parse(text: &[u8]) -> Result<Self, Fault> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Fault::Unreadable);
        }
        serde_json::from_slice(text).map_err(|_| Fault::Unreadable)
    }

    /// The text. Wiped when it is dropped.
    #[must_use]
    pub fn text(&self) -> Zeroizing<Vec<u8>> {
        // Strings and a number: there is nothing in it that cannot be written.
        Zeroizing::new(serde_json::to_vec(self).unwrap_or_default())
    }

    /// All authorities, as the API server takes them.
    #[must_use]
    pub fn bundle(&self) -> String {
        self.authorities.iter().flat_map(|authority| [authority.certificate.trim(), "\n"]).collect()
    }

    /// The state without the right to issue: what is left of one that somebody took away or damaged. Its leaf goes on
    /// being served and a new authority takes over from it, so that deleting the Secret rotates everything.
    #[must_use]
    pub fn retired(mut self) -> Self {
        for authority in &mut self.authorities {
            authority.key = None;
        }
        self
    }

    /// Checks every part against the others, for a service with these names.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn check(self, names: &[String], provider: &Arc<CryptoProvider>) -> Result<Checked, Fault> {
        let authorities: Vec<Known> = self.authorities.iter().map(know).collect::<Result<_, _>>()?;
        let leaf = servable(&self.leaf, &authorities, names, provider)?;
        let next = self.next.as_ref().map(|next| servable(next, &authorities, names, provider)).transpose()?;
        Ok(Checked { state: self, leaf, next, authorities })
    }
}

fn know(authority: &Authority) -> Result<Known, Fault> {
    let certificate =
        CertificateDer::from_pem_slice(authority.certificate.as_bytes()).map_err(|_| Fault::Unreadable)?;
    let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| Fault::Unreadable)?;
    if !parsed.is_ca() {
        return Err(Fault::NotAnAuthority);
    }
    if let Some(key) = &authority.key {
        let key = rcgen::KeyPair::from_pem(key.pem()).map_err(|_| Fault::Unreadable)?;
        if rcgen::PublicKeyData::subject_public_key_info(&key) != parsed.public_key().raw {
            return Err(Fault::KeyMismatch);
        }
    }
    let (validity, digest) = (validity(&parsed), Sha256::digest(&certificate).into());
    Ok(Known { validity, digest, issues: authority.key.is_some(), certificate })
}

fn servable(
    leaf: &Leaf,
    authorities: &[Known],
    names: &[String],
    provider: &Arc<CryptoProvider>,
) -> Result<Servable, Fault> {
    let certificate = CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).map_err(|_| Fault::Unreadable)?;
    let key = PrivateKeyDer::from_pem_slice(leaf.key.pem().as_bytes()).map_err(|_| Fault::Unreadable)?;
    let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| Fault::Unreadable)?;
    let own = validity(&parsed);
    let issuer = authorities.iter().find(|authority| is_from(&certificate, own, authority, names, provider));
    let issuer = issuer.ok_or(Fault::Stranger)?;
    let key = CertifiedKey::from_der(vec![certificate.clone()], key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => Fault::KeyMismatch,
        _ => Fault::Unreadable,
    })?;
    let validity = Validity { from: own.from.max(issuer.validity.from), until: own.until.min(issuer.validity.until) };
    Ok(Servable { key: Arc::new(key), validity, authority: issuer.digest })
}

/// Whether a client that trusts `authority` alone would accept the leaf under each of our names. Asked about a moment
/// at which the leaf is good: whether it is good now is a question of its own.
fn is_from(
    leaf: &CertificateDer<'_>,
    validity: Validity,
    authority: &Known,
    names: &[String],
    provider: &Arc<CryptoProvider>,
) -> bool {
    let mut roots = RootCertStore::empty();
    if roots.add(authority.certificate.clone()).is_err() {
        return false;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    let Ok(verifier) = verifier else { return false };
    let seconds = u64::try_from(validity.until.saturating_sub(1)).unwrap_or_default();
    let moment = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    names.iter().all(|name| {
        let Ok(name) = ServerName::try_from(name.as_str()) else { return false };
        verifier.verify_server_cert(leaf, &[], &name, &[], moment).is_ok()
    })
}

pub(super) fn validity(certificate: &X509Certificate<'_>) -> Validity {
    let validity = certificate.validity();
    Validity { from: validity.not_before.timestamp(), until: validity.not_after.timestamp() }
}
