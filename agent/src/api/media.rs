//! Media types: which are read and answered, and which of them a request states and takes.

use http::{HeaderMap, header};

use super::ApiError;
use crate::document::Format;

/// What everything is but a document, a stream and a problem.
pub(super) const JSON: &str = "application/json";

/// A stream of events.
pub(super) const EVENTS: &str = "text/event-stream";

/// Every name that a document's type goes by. A document is answered under the name that it was sent under.
const DOCUMENTS: [(&str, Format); 7] = [
    (JSON, Format::Json),
    ("application/yaml", Format::Yaml),
    ("application/x-yaml", Format::Yaml),
    ("text/yaml", Format::Yaml),
    ("text/x-yaml", Format::Yaml),
    ("text/vnd.yaml", Format::Yaml),
    ("text/plain", Format::Text),
];

/// The type of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DocumentType {
    pub(super) name: &'static str,
    pub(super) format: Format,
}

impl DocumentType {
    /// Reads `type/subtype` with its parameters, of which none but the charset changes anything, and that is UTF-8.
    pub(super) fn parse(text: &str) -> Result<Self, ApiError> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let utf8 = parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        });
        let known = DOCUMENTS.iter().find(|(name, _)| utf8 && media.eq_ignore_ascii_case(name));
        let (name, format) = known.ok_or_else(ApiError::unsupported_document)?;
        Ok(Self { name, format: *format })
    }

    /// The type of a request's body. An absent one is taken for JSON.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        if headers.contains_key(header::CONTENT_ENCODING) {
            return Err(ApiError::unsupported_document());
        }
        let mut stated = headers.get_all(header::CONTENT_TYPE).iter();
        let Some(value) = stated.next() else { return Ok(Self { name: JSON, format: Format::Json }) };
        // Two of them are two readings of one body (N9).
        if stated.next().is_some() {
            return Err(ApiError::unsupported_document());
        }
        Self::parse(value.to_str().map_err(|_| ApiError::unsupported_document())?)
    }
}

/// Whether the body is JSON as we read it: no encoding, no other charset. An absent type is taken for JSON.
pub(super) fn check_content(headers: &HeaderMap) -> Result<(), ApiError> {
    match DocumentType::of(headers) {
        Ok(DocumentType { format: Format::Json, .. }) => Ok(()),
        Ok(_) | Err(_) => Err(ApiError::unsupported_media_type()),
    }
}

/// Whether the caller takes `media` (RFC 9110 §12.5.1). Of several ranges that cover it the most specific decides; an
/// absent or empty header takes everything.
pub(super) fn check_accept(headers: &HeaderMap, media: &'static str) -> Result<(), ApiError> {
    let mut stated = false;
    let mut decisive = (0, false);
    for value in headers.get_all(header::ACCEPT) {
        let text = value.to_str().map_err(|_| ApiError::not_acceptable(media))?;
        for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
            stated = true;
            let (specificity, wanted) = weigh(range, media);
            if specificity > decisive.0 || specificity == decisive.0 && wanted {
                decisive = (specificity, wanted);
            }
        }
    }
    if decisive.1 || !stated { Ok(()) } else { Err(ApiError::not_acceptable(media)) }
}

/// How closely a media range names what we serve, 0 for not at all, and whether its weight lets it in.
fn weigh(range: &str, media: &str) -> (u8, bool) {
    let mut parameters = range.split(';').map(str::trim);
    let named = parameters.next().unwrap_or_default();
    let kind = |text: &str| text.split_once('/').map(|(kind, _)| kind.to_ascii_lowercase());
    let specificity = if named == "*/*" {
        1
    } else if named.ends_with("/*") && kind(named) == kind(media) {
        2
    } else if named.eq_ignore_ascii_case(media)
        // Whoever takes our problems takes what they are instead of.
        || media == JSON && named.eq_ignore_ascii_case("application/problem+json")
    {
        3
    } else {
        return (0, false);
    };
    let refused = parameters.any(|p| {
        matches!(p.split_once('='), Some((q, zero))
            if q.trim().eq_ignore_ascii_case("q") && zero.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0))
    });
    (specificity, !refused)
}
