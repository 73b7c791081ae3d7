//! The server's certificate and its authority, good or bad as a test wants it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::https::server_config;

/// What the server shows to who connects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Certificate {
    /// For its address, valid, by the authority of `ca_pem`.
    Good,
    /// Valid until the year 2001.
    Expired,
    /// For another name and another address.
    WrongName,
    /// By an authority that nobody was told of.
    UnknownAuthority,
}

type Authority = CertifiedIssuer<'static, KeyPair>;

pub(super) struct Certificates {
    /// Whom it is for.
    host: IpAddr,
    names: Vec<String>,
    held: Mutex<Held>,
}

struct Held {
    authority: Authority,
    shown: Certificate,
    config: Arc<rustls::ServerConfig>,
}

impl Certificates {
    pub(super) fn new(host: IpAddr, names: Vec<String>) -> Self {
        let authority = authority();
        let config = config(&authority, Certificate::Good, host, &names);
        Self { host, names, held: Mutex::new(Held { authority, shown: Certificate::Good, config }) }
    }

    pub(super) fn ca_pem(&self) -> String {
        self.held.lock().unwrap().authority.pem()
    }

    pub(super) fn config(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.held.lock().unwrap().config)
    }

    pub(super) fn show(&self, shown: Certificate) {
        let mut held = self.held.lock().unwrap();
        held.shown = shown;
        held.config = config(&held.authority, shown, self.host, &self.names);
    }

    /// Makes a new authority and a certificate by it.
    pub(super) fn rotate(&self) {
        let mut held = self.held.lock().unwrap();
        held.authority = authority();
        held.config = config(&held.authority, held.shown, self.host, &self.names);
    }
}

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "Authority of a double of Conjur");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A new configuration has no sessions to resume, so the next connection sees the certificate that it names.
fn config(authority: &Authority, shown: Certificate, host: IpAddr, names: &[String]) -> Arc<rustls::ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names).unwrap();
    params.subject_alt_names.push(SanType::IpAddress(host));
    params.distinguished_name.push(DnType::CommonName, "conjur.test");
    match shown {
        Certificate::Good | Certificate::UnknownAuthority => {}
        Certificate::Expired => {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        Certificate::WrongName => {
            let name = "elsewhere.test".try_into().unwrap();
            params.subject_alt_names =
                vec![SanType::DnsName(name), SanType::IpAddress(Ipv4Addr::new(192, 0, 2, 1).into())];
        }
    }
    let stranger = (shown == Certificate::UnknownAuthority).then(self::authority);
    let issuer = stranger.as_ref().unwrap_or(authority);
    let signed = params.signed_by(&key, issuer).unwrap();
    let chain = vec![CertificateDer::clone(signed.der())];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Arc::new(server_config(chain, key, &["http/1.1"]))
}
