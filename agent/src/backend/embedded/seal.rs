//! Sealing: a record opens only under the key, and only at the place it was written for.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::key::MasterKey;
use crate::backend::BackendError;
use crate::secret::SecretValue;

/// Random nonces of this length do not repeat in the life of a key (XChaCha20-Poly1305,
/// draft-irtf-cfrg-xchacha §2.3): there is no counter to lose in a crash.
const NONCE_BYTES: usize = 24;

/// Seals and opens records.
pub(super) struct Sealer(XChaCha20Poly1305);

impl Sealer {
    pub(super) fn new(key: &MasterKey) -> Self {
        Self(XChaCha20Poly1305::new((&*key.derive("cloakroom embedded 1: records")).into()))
    }

    /// The record for `value` at `place`: nonce, then ciphertext and tag. The place is authenticated, not stored, so
    /// that a record moved to another place does not open.
    pub(super) fn seal(&self, place: &str, value: &SecretValue) -> Result<Vec<u8>, BackendError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(super::unavailable)?;
        let payload = Payload { msg: value.expose().as_bytes(), aad: place.as_bytes() };
        let sealed = self.0.encrypt(XNonce::from_slice(&nonce), payload).map_err(|_| BackendError::TooLarge)?;
        let mut record = Vec::with_capacity(NONCE_BYTES + sealed.len());
        record.extend_from_slice(&nonce);
        record.extend_from_slice(&sealed);
        Ok(record)
    }

    /// The value of a record.
    pub(super) fn open(&self, place: &str, record: &[u8]) -> Result<SecretValue, BackendError> {
        let (nonce, sealed) = record.split_at_checked(NONCE_BYTES).ok_or(BackendError::Unreadable)?;
        let payload = Payload { msg: sealed, aad: place.as_bytes() };
        let opened = self.0.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| BackendError::Unreadable)?;
        SecretValue::from_bytes(opened).map_err(|_| BackendError::Unreadable)
    }
}
