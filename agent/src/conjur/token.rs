//! Conjur's access token: a JSON object that is sent back base64-encoded, and how long it is good for.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::{STANDARD as STANDARD_ALPHABET, URL_SAFE as URL_SAFE_ALPHABET};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use http::HeaderValue;
use jiff::Timestamp;
use zeroize::Zeroizing;

/// How long a token is good for that does not say so (conjur-api-go does the same).
const DEFAULT_LIFE: Duration = Duration::from_mins(5);

/// The shortest life that is believed: less would be a login for each request.
const LIFE_MIN: Duration = Duration::from_secs(2);

const PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
/// Servers differ in alphabet and padding of the token's parts.
const EITHER: [GeneralPurpose; 2] =
    [GeneralPurpose::new(&STANDARD_ALPHABET, PADDING), GeneralPurpose::new(&URL_SAFE_ALPHABET, PADDING)];

/// A token as it is sent, and its own word on how long.
pub struct AccessToken {
    /// The value of `Authorization`.
    pub header: HeaderValue,
    /// From its making to its end, by the server's clock alone: ours may differ.
    pub life: Duration,
    /// Its end on the server's clock, to be shown.
    pub expiry: Option<Timestamp>,
}

/// Why a login's answer is no token. It says nothing of what was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no access token of Conjur")]
pub struct TokenError;

#[derive(serde::Deserialize)]
struct Token<'a> {
    #[serde(borrow)]
    protected: Cow<'a, str>,
    #[serde(borrow)]
    payload: Cow<'a, str>,
    #[serde(borrow)]
    signature: Cow<'a, str>,
}

#[derive(serde::Deserialize)]
struct Claims {
    iat: Option<i64>,
    exp: Option<i64>,
}

impl AccessToken {
    /// Reads the body of a login's answer.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn parse(body: &[u8]) -> Result<Self, TokenError> {
        let token: Token<'_> = serde_json::from_slice(body).map_err(|_| TokenError)?;
        if [&token.protected, &token.payload, &token.signature].iter().any(|part| part.is_empty()) {
            return Err(TokenError);
        }
        let decoded = EITHER.iter().find_map(|engine| engine.decode(&*token.payload).ok()).map(Zeroizing::new);
        let claims: Claims = serde_json::from_slice(&decoded.ok_or(TokenError)?).map_err(|_| TokenError)?;
        let life = match (claims.iat, claims.exp) {
            (Some(iat), Some(exp)) => {
                let seconds = exp.checked_sub(iat).and_then(|life| u64::try_from(life).ok()).ok_or(TokenError)?;
                Duration::from_secs(seconds).max(LIFE_MIN)
            }
            _ => DEFAULT_LIFE,
        };
        // Encoded in one piece of the right size, so that no half of it stays behind unwiped.
        let mut text = Zeroizing::new(String::with_capacity(body.len() * 4 / 3 + 32));
        text.push_str("Token token=\"");
        STANDARD.encode_string(body, &mut text);
        text.push('"');
        let mut header = HeaderValue::from_str(&text).map_err(|_| TokenError)?;
        header.set_sensitive(true);
        Ok(Self { header, life, expiry: claims.exp.and_then(|exp| Timestamp::from_second(exp).ok()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(claims: &str) -> String {
        let payload = STANDARD.encode(claims);
        format!(r#"{{"protected":"eyJ9","payload":"{payload}","signature":"abc"}}"#)
    }

    #[test]
    fn a_token_says_how_long_it_lives() {
        let life = |claims: &str| AccessToken::parse(answer(claims).as_bytes()).map(|token| token.life);
        assert_eq!(life(r#"{"iat":1795466294,"sub":"host/x","exp":1795466774}"#), Ok(Duration::from_mins(8)));
        assert_eq!(life(r#"{"iat":1795466294,"sub":"host/x"}"#), Ok(Duration::from_mins(5)), "what says nothing");
        assert_eq!(life(r#"{"iat":5,"exp":5}"#), Ok(LIFE_MIN), "a login for each request helps nobody");
        assert_eq!(life(r#"{"iat":6,"exp":5}"#), Err(TokenError));
    }

    #[test]
    fn a_token_is_sent_back_as_it_came() {
        let body = answer(r#"{"iat":1,"exp":481}"#);
        let token = AccessToken::parse(body.as_bytes()).unwrap();
        assert_eq!(token.header.to_str().unwrap(), format!("Token token=\"{}\"", STANDARD.encode(&body)));
        assert!(token.header.is_sensitive());
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for wrong in ["", "{}", "null", "\"x\"", r#"{"protected":"","payload":"","signature":""}"#, "<html>"] {
            assert!(AccessToken::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(AccessToken::parse(br#"{"protected":"a","payload":"!!","signature":"b"}"#).is_err());
    }
}
