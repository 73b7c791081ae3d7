//! Fingerprints: the last segment of a secretId, opaque to callers, equal for equal values of one secret.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{IdError, Location, grammar};
use crate::secret::SecretValue;

/// A checksum as it stands in an id; empty means that the caller does not state one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Checksum(Box<str>);

impl Checksum {
    /// Checks the grammar; the empty text is the empty checksum.
    ///
    /// # Errors
    /// [`IdError::Checksum`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if grammar::is_checksum(text) { Ok(Self(text.into())) } else { Err(IdError::Checksum) }
    }

    /// Whether the caller stated none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn from_digest(digest: &[u8]) -> Self {
        const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        let nibbles = digest.iter().take(6).flat_map(|byte| [byte >> 4, byte & 0xf]);
        let mut text = String::with_capacity(12);
        text.extend(nibbles.filter_map(|nibble| HEX.get(usize::from(nibble))));
        Self(text.into())
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a value becomes a checksum: the first 6 bytes, in hex.
pub enum Fingerprinter {
    /// `SHA-256(value)`: the reference's Conjur scheme. Anyone can test a guess of a short value against it.
    Sha256,
    /// `HMAC-SHA-256(key, location, NUL, value)`: only who holds the key can test a guess. A location holds no NUL,
    /// so the pair is read in one way only.
    Keyed(Zeroizing<Vec<u8>>),
}

impl Fingerprinter {
    /// The checksum of `value` at `location`.
    ///
    /// # Panics
    /// Never: HMAC takes keys of every length (RFC 2104 §2).
    #[must_use]
    pub fn checksum(&self, location: &Location, value: &SecretValue) -> Checksum {
        match self {
            Self::Sha256 => Checksum::from_digest(&Sha256::digest(value.expose())),
            Self::Keyed(key) => {
                let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC must take a key of any length");
                mac.update(location.as_str().as_bytes());
                mac.update(&[0]);
                mac.update(value.expose().as_bytes());
                Checksum::from_digest(&mac.finalize().into_bytes())
            }
        }
    }
}
