//! Credentials: what is sent to log in, read from its file each time, because the kubelet and people rotate files.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::requests::encode;

/// Far more than a token or a key has.
const FILE_BYTES_MAX: u64 = 1 << 16;

/// How to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authn {
    /// `authn-jwt`, with a service-account token.
    Jwt {
        /// The service.
        service_id: String,
        /// The host, where the service does not read it from the token: `host/…`.
        host_id: Option<String>,
        /// The token.
        token_file: PathBuf,
    },
    /// `authn`, with an API key.
    ApiKey {
        /// Who: `host/…`, or a user's name.
        login: String,
        /// The key.
        file: PathBuf,
    },
}

/// Why there is nothing to log in with.
#[derive(Debug, thiserror::Error)]
pub enum AuthnError {
    /// The file cannot be read.
    #[error("cannot read the credential for Conjur in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing in it.
    #[error("the credential for Conjur in {} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// A login as it is sent.
pub(super) struct Login {
    pub(super) path: String,
    pub(super) body: Zeroizing<Vec<u8>>,
    pub(super) content_type: &'static str,
}

impl Authn {
    pub(super) fn login(&self, account: &str) -> Result<Login, AuthnError> {
        let account = encode(account);
        match self {
            Self::Jwt { service_id, host_id, token_file } => {
                let token = read(token_file)?;
                let host = host_id.as_deref().map(|host| format!("/{}", encode(host))).unwrap_or_default();
                let mut body = Zeroizing::new(Vec::with_capacity(token.len() + 4));
                body.extend_from_slice(b"jwt=");
                body.extend_from_slice(&token);
                Ok(Login {
                    path: format!("/authn-jwt/{}/{account}{host}/authenticate", encode(service_id)),
                    body,
                    content_type: "application/x-www-form-urlencoded",
                })
            }
            Self::ApiKey { login, file } => Ok(Login {
                path: format!("/authn/{account}/{}/authenticate", encode(login)),
                body: read(file)?,
                content_type: "text/plain",
            }),
        }
    }

    /// The file that the credential is in.
    #[must_use]
    pub fn file(&self) -> &Path {
        match self {
            Self::Jwt { token_file: file, .. } | Self::ApiKey { file, .. } => file,
        }
    }
}

/// Without the newline at its end: to Conjur it would be part of the key.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, AuthnError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 * 1024));
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|source| AuthnError::Read { path: path.to_owned(), source })?;
    let trimmed = Zeroizing::new(bytes.trim_ascii().to_vec());
    if trimmed.is_empty() { Err(AuthnError::Empty { path: path.to_owned() }) } else { Ok(trimmed) }
}
