//! Why TLS takes whoever answers at Conjur's address for a stranger, in sentences of ours.

use std::error::Error;

use rustls::CertificateError;

use super::cause;

/// What is wrong with it. A closed set: nothing in it comes from the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stranger {
    /// Its time is over.
    #[error("its certificate has expired")]
    Expired,
    /// Its time has not come; as often our clock is wrong.
    #[error("its certificate is not valid yet, or this node's clock is wrong")]
    NotYet,
    /// It is somebody else's.
    #[error("its certificate is for another name than that in the address")]
    OtherName,
    /// Whoever signed it is not trusted.
    #[error("its certificate is by no authority in backend.conjur.caFile or backend.conjur.caPem")]
    UnknownAuthority,
    /// It was taken back.
    #[error("its certificate has been revoked")]
    Revoked,
    /// It cannot be what it is used for.
    #[error("its certificate cannot be used for a server, or cannot be read")]
    Unfit,
    /// TLS itself.
    #[error("it does not speak TLS 1.2 or 1.3 as we do")]
    NoTls,
}

impl Stranger {
    /// Looks for the reason among the sources of `error`.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        cause::find::<rustls::Error>(error).map(Self::from)
    }
}

impl From<&rustls::Error> for Stranger {
    fn from(error: &rustls::Error) -> Self {
        let rustls::Error::InvalidCertificate(error) = error else { return Self::NoTls };
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYet,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::OtherName,
            // An authority made anew under its old name has another key: then it is the signature that does not fit.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownAuthority,
            CertificateError::Revoked => Self::Revoked,
            _ => Self::Unfit,
        }
    }
}
