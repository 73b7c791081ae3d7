//! Access tokens: made at a login, signed, and checked on everything else.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, URL_SAFE};
use ring::hmac;
use serde_json::{Value, json};

use super::answer::{Object, text};

/// Signs and knows the tokens of one server.
pub(super) struct Tokens {
    key: hmac::Key,
    protected: String,
    /// Headers whose signature was found good: tens of thousands of requests come with the same few.
    known: Mutex<HashMap<String, Claims>>,
}

/// What a good token says.
#[derive(Clone)]
pub(super) struct Claims {
    pub(super) subject: String,
    pub(super) issued: u64,
    expires: u64,
}

/// So many good tokens are remembered before it begins anew.
const KNOWN: usize = 4096;

/// Forgiving, as the server is: the last bits may be anything, padding may be missing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

impl Tokens {
    pub(super) fn new() -> Self {
        let mut random = [0; 64];
        getrandom::fill(&mut random).unwrap();
        let id: String = random[..32].iter().map(|byte| format!("{byte:02x}")).collect();
        let header = text(&Object(vec![("alg", json!("conjur.org/slosilo/v2")), ("kid", json!(id))]));
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &random[32..]),
            protected: URL_SAFE.encode(header),
            known: Mutex::default(),
        }
    }

    /// The JSON of a new token.
    pub(super) fn issue(&self, subject: &str, now: Duration, ttl: Duration) -> String {
        let expires = now.as_secs() + ttl.as_secs();
        let payload = Object(vec![("iat", json!(now.as_secs())), ("sub", json!(subject)), ("exp", json!(expires))]);
        let payload = URL_SAFE.encode(text(&payload));
        let signature = self.sign(&payload);
        text(&Object(vec![
            ("protected", json!(self.protected)),
            ("payload", json!(payload)),
            ("signature", json!(signature)),
        ]))
    }

    /// As long as the real one, which is an RSA signature with its salt.
    fn sign(&self, payload: &str) -> String {
        let mut bytes = Vec::with_capacity(288);
        for block in 0..9_u8 {
            bytes.extend(hmac::sign(&self.key, format!("{block}.{}.{payload}", self.protected).as_bytes()).as_ref());
        }
        URL_SAFE.encode(bytes)
    }

    /// Checks the header of a request, and says what the server says if it is not good.
    pub(super) fn check(&self, header: Option<&str>, now: Duration) -> Result<Claims, &'static str> {
        let Some(header) = header else { return Err("Authorization missing") };
        let known = self.known.lock().unwrap().get(header).cloned();
        let claims = match known {
            Some(claims) => claims,
            None => {
                let claims = self.read(header)?;
                let mut known = self.known.lock().unwrap();
                if known.len() >= KNOWN {
                    known.clear();
                }
                known.insert(header.to_owned(), claims.clone());
                claims
            }
        };
        if now >= Duration::from_secs(claims.expires) { Err("Unauthorized: Invalid token") } else { Ok(claims) }
    }

    /// What a header says whose signature holds.
    fn read(&self, header: &str) -> Result<Claims, &'static str> {
        let Some(token) = inside(header) else { return Err("Authorization missing") };
        let token: Value = serde_json::from_slice(&lenient(token)).map_err(|_| "Malformed authorization token")?;
        let invalid = "Unauthorized: Invalid token";
        let part = |name: &str| token.get(name).and_then(Value::as_str).ok_or(invalid);
        let (protected, payload, signature) = (part("protected")?, part("payload")?, part("signature")?);
        if protected != self.protected || signature != self.sign(payload) {
            return Err(invalid);
        }
        let payload = URL_SAFE.decode(payload).map_err(|_| invalid)?;
        let payload: Value = serde_json::from_slice(&payload).map_err(|_| invalid)?;
        let number = |name: &str| payload.get(name).and_then(Value::as_u64).ok_or(invalid);
        let subject = payload.get("sub").and_then(Value::as_str).ok_or(invalid)?.to_owned();
        let (issued, expires) = (number("iat")?, number("exp")?);
        Ok(Claims { subject, issued, expires })
    }

    /// Whose token this says it is, whether it is good or not: for the log.
    pub(super) fn subject(&self, header: Option<&str>) -> Option<String> {
        let header = header?;
        if let Some(claims) = self.known.lock().unwrap().get(header) {
            return Some(claims.subject.clone());
        }
        let token: Value = serde_json::from_slice(&lenient(inside(header)?)).ok()?;
        let payload = URL_SAFE.decode(token.get("payload")?.as_str()?).ok()?;
        let payload: Value = serde_json::from_slice(&payload).ok()?;
        payload.get("sub")?.as_str().map(ToOwned::to_owned)
    }
}

/// What stands between the quotes.
fn inside(header: &str) -> Option<&str> {
    let rest = header.strip_prefix("Token token=\"")?;
    rest.rfind('"').map(|end| &rest[..end])
}

fn lenient(token: &str) -> Vec<u8> {
    let known = |letter: &u8| letter.is_ascii_alphanumeric() || matches!(letter, b'+' | b'/');
    let mut letters: Vec<u8> = token.bytes().take_while(|letter| *letter != b'=').filter(known).collect();
    if letters.len() % 4 == 1 {
        letters.pop();
    }
    LENIENT.decode(letters).unwrap_or_default()
}

/// A token as it goes into the header.
pub(super) fn encode(token: &str) -> String {
    STANDARD.encode(token)
}

/// A new API key of the length and letters that the server gives out.
pub(super) fn api_key() -> String {
    let mut random = [0; 52];
    getrandom::fill(&mut random).unwrap();
    let letters = b"0123456789abcdefghijklmnopqrstuvwxyz";
    random.iter().map(|byte| char::from(letters[usize::from(*byte) % letters.len()])).collect()
}
