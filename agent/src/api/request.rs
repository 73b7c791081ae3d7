//! What a request may carry beside its body: one decoding of the path, a closed set of query parameters.

use super::{ApiError, Call};
use crate::document::Pointer;
use crate::id::SecretId;

/// Places of a document that one request may name.
pub(super) const PATHS_MAX: usize = 100;

/// Decodes percent escapes once. Nothing else is decoded: `+` is `+`.
pub(super) fn percent_decode(raw: &str) -> Option<String> {
    let mut rest = raw.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some(position) = memchr::memchr(b'%', rest) {
        let (plain, escape) = rest.split_at(position);
        let [b'%', high, low, after @ ..] = escape else { return None };
        decoded.extend_from_slice(plain);
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        decoded.push(digit(high)? << 4 | digit(low)?);
        rest = after;
    }
    decoded.extend_from_slice(rest);
    String::from_utf8(decoded).ok()
}

/// The query as decoded pairs, in order.
pub(super) fn query(parts: &http::request::Parts) -> Result<Vec<(String, String)>, ApiError> {
    let Some(raw) = parts.uri.query().filter(|raw| !raw.is_empty()) else { return Ok(Vec::new()) };
    raw.split('&')
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            percent_decode(name).zip(percent_decode(value)).ok_or_else(ApiError::malformed_query)
        })
        .collect()
}

impl Call<'_> {
    /// The `{id}` of the path.
    pub(super) fn id(&self) -> Result<SecretId, ApiError> {
        let text = zeroize::Zeroizing::new(self.parameters.decoded("id")?);
        SecretId::parse_reference(&text).map_err(ApiError::invalid_id)
    }

    /// `?checksum=strict`, which is the only parameter that calls on one secret take.
    pub(super) fn strict(&self) -> Result<bool, ApiError> {
        match query(self.parts)?.as_slice() {
            [] => Ok(false),
            [(name, value)] if name == "checksum" && value == "strict" => Ok(true),
            _ => Err(ApiError::unknown_parameter()),
        }
    }

    /// `?paths=/spec/a,/spec/b`: which places of a document are meant; none where all are.
    pub(super) fn paths(&self) -> Result<Option<Vec<Pointer>>, ApiError> {
        let mut paths = Vec::new();
        for (name, value) in query(self.parts)? {
            if name != "paths" {
                return Err(ApiError::unknown_parameter());
            }
            for path in value.split(',') {
                // The pointer to the whole document would be the empty one, and so is one that was forgotten.
                let pointer = Some(path).filter(|path| !path.is_empty()).map(Pointer::parse);
                paths.push(pointer.and_then(Result::ok).ok_or_else(ApiError::invalid_paths)?);
            }
        }
        if paths.len() > PATHS_MAX {
            return Err(ApiError::invalid_paths());
        }
        Ok(if paths.is_empty() { None } else { Some(paths) })
    }

    /// Refuses every query parameter.
    pub(super) fn no_query(&self) -> Result<(), ApiError> {
        if query(self.parts)?.is_empty() { Ok(()) } else { Err(ApiError::unknown_parameter()) }
    }
}
