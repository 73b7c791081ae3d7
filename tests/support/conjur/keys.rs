//! The RSA keys that sign service account tokens in tests. They are made once per process and never stored.

use std::convert::Infallible;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::rand_core::{TryCryptoRng, TryRng};
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};

/// A signing key and what may be known of it.
pub(super) struct Signer {
    pair: RsaKeyPair,
    modulus: String,
    exponent: String,
}

impl Signer {
    /// The key of the cluster.
    pub(super) fn cluster() -> &'static Self {
        static KEY: OnceLock<Signer> = OnceLock::new();
        KEY.get_or_init(Self::new)
    }

    /// A key that nobody trusts.
    pub(super) fn stranger() -> &'static Self {
        static KEY: OnceLock<Signer> = OnceLock::new();
        KEY.get_or_init(Self::new)
    }

    fn new() -> Self {
        let private = rsa::PrivateKey::new(&mut Os, 2048).unwrap();
        Self {
            pair: RsaKeyPair::from_pkcs8(private.to_pkcs8_der().unwrap().as_bytes()).unwrap(),
            modulus: URL_SAFE_NO_PAD.encode(private.n_bytes()),
            exponent: URL_SAFE_NO_PAD.encode(private.e_bytes()),
        }
    }

    /// The public half, as it stands in a JWKS.
    pub(super) fn jwk(&self, id: &str) -> Value {
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": self.modulus, "e": self.exponent})
    }

    /// A signed JWT.
    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The system's source of randomness, as the crate of the key wants it.
struct Os;

impl TryRng for Os {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(getrandom::u32().unwrap())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(getrandom::u64().unwrap())
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Infallible> {
        getrandom::fill(into).unwrap();
        Ok(())
    }
}

impl TryCryptoRng for Os {}
