//! What a request may carry: one decoding of the path, a closed set of query parameters, JSON in and out.

use http::{HeaderMap, header};

use super::{ApiError, Call};
use crate::id::SecretId;

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

/// Whether the caller takes JSON (RFC 9110 §12.5.1). Of several ranges that cover it the most specific decides; an
/// absent or empty header takes everything.
pub(super) fn check_accept(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut stated = false;
    let mut decisive = (0, false);
    for value in headers.get_all(header::ACCEPT) {
        let text = value.to_str().map_err(|_| ApiError::not_acceptable())?;
        for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
            stated = true;
            let (specificity, wanted) = weigh(range);
            if specificity > decisive.0 || specificity == decisive.0 && wanted {
                decisive = (specificity, wanted);
            }
        }
    }
    if decisive.1 || !stated { Ok(()) } else { Err(ApiError::not_acceptable()) }
}

/// How closely a media range names what we serve, 0 for not at all, and whether its weight lets it in.
fn weigh(range: &str) -> (u8, bool) {
    let mut parameters = range.split(';').map(str::trim);
    let media = parameters.next().unwrap_or_default();
    let specificity = [("*/*", 1), ("application/*", 2), ("application/problem+json", 3), ("application/json", 3)]
        .into_iter()
        .find_map(|(known, specificity)| media.eq_ignore_ascii_case(known).then_some(specificity));
    let refused = parameters.any(|p| {
        matches!(p.split_once('='), Some((q, zero))
            if q.trim().eq_ignore_ascii_case("q") && zero.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0))
    });
    specificity.map_or((0, false), |specificity| (specificity, !refused))
}

/// Whether the body is JSON as we read it: no encoding, no other charset. An absent type is taken for JSON.
pub(super) fn check_content(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(ApiError::unsupported_media_type());
    }
    let mut stated = headers.get_all(header::CONTENT_TYPE).iter();
    let Some(value) = stated.next() else { return Ok(()) };
    // Two of them are two readings of one body (N9).
    if stated.next().is_some() {
        return Err(ApiError::unsupported_media_type());
    }
    let text = value.to_str().map_err(|_| ApiError::unsupported_media_type())?;
    let mut parts = text.split(';').map(str::trim);
    let json = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    if json && utf8 { Ok(()) } else { Err(ApiError::unsupported_media_type()) }
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

    /// Refuses every query parameter.
    pub(super) fn no_query(&self) -> Result<(), ApiError> {
        if query(self.parts)?.is_empty() { Ok(()) } else { Err(ApiError::unknown_parameter()) }
    }
}
