//! The response writer: the one place where a secret value is encoded for the wire.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Api, ApiError, ApiResult, media};
use crate::cache::{Entry, Served, Source};
use crate::id::{Location, SecretId};
use crate::json;
use crate::server::{AnswerBody, Reservation};

static CACHE_STATUS: header::HeaderName = header::HeaderName::from_static("cache-status");
static JSON: HeaderValue = HeaderValue::from_static("application/json");
static NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// A JSON answer that holds no secret.
pub(super) fn json(status: StatusCode, body: &impl serde::Serialize) -> ApiResult {
    let text = serde_json::to_vec(body).map_err(|_| ApiError::internal())?;
    Ok(plain(status, Bytes::from(text)))
}

/// A document that is served as it is.
pub(super) fn document(text: &'static str) -> Response<Full<Bytes>> {
    plain(StatusCode::OK, Bytes::from_static(text.as_bytes()))
}

/// 204.
pub(super) fn no_content() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn plain(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON.clone());
    response
}

impl Api {
    /// `{"id","value"}`, or 304 where the caller has this state already.
    pub(super) fn secret(&self, location: &Location, served: &Served, headers: &HeaderMap) -> ApiResult {
        let tag = tag(served.entry.checksum().as_str())?;
        if matches(headers, &tag) {
            return Ok(not_modified(std::slice::from_ref(served), tag));
        }
        let checksum = served.entry.checksum().as_str();
        let size = location.as_str().len() + checksum.len() + 24 + served.entry.encoded_len();
        let reservation = self.reserve(size)?;
        let mut body = Zeroizing::new(Vec::with_capacity(size));
        push_item(&mut body, location, &served.entry);
        let bytes = crate::server::answer(body, Some(reservation));
        Ok(read_answer(bytes, std::slice::from_ref(served), tag))
    }

    /// A document, with how fresh what was put into it is.
    pub(super) fn resolved(media: &'static str, body: Bytes, all: &[Served]) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(body));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, typed(media));
        headers.insert(header::CACHE_CONTROL, NO_STORE.clone());
        if !all.is_empty() {
            date(headers, all);
        }
        response
    }

    /// Room for an answer. One that has none when nothing else is under way is too large, now and later.
    pub(super) fn reserve(&self, size: usize) -> Result<Reservation, ApiError> {
        if size > self.limits.answer_bytes {
            return Err(ApiError::answer_too_large());
        }
        self.in_flight.reserve(size).map_err(|_| ApiError::over_capacity())
    }

    /// `{"items":[…]}` in the order of the request.
    pub(super) fn secrets(&self, locations: &[Location], all: &[Served], headers: &HeaderMap) -> ApiResult {
        let mut digest = Sha256::new();
        let mut size = 16;
        for (location, served) in locations.iter().zip(all) {
            let checksum = served.entry.checksum().as_str();
            digest.update(location.as_str());
            digest.update([0]);
            digest.update(checksum);
            digest.update([0]);
            size += location.as_str().len() + checksum.len() + 25 + served.entry.encoded_len();
        }
        let tag = tag(&hex(digest.finalize().get(..12).unwrap_or_default()))?;
        if matches(headers, &tag) {
            return Ok(not_modified(all, tag));
        }
        let reservation = self.reserve(size)?;
        let mut body = Zeroizing::new(Vec::with_capacity(size));
        body.extend_from_slice(b"{\"items\":[");
        for (index, (location, served)) in locations.iter().zip(all).enumerate() {
            if index > 0 {
                body.push(b',');
            }
            push_item(&mut body, location, &served.entry);
        }
        body.extend_from_slice(b"]}");
        Ok(read_answer(crate::server::answer(body, Some(reservation)), all, tag))
    }
}

/// The type of what is UTF-8, which a text has to say.
fn typed(media: &'static str) -> HeaderValue {
    let text = if media.starts_with("text/") { format!("{media}; charset=utf-8") } else { media.to_owned() };
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// A stream of events, or nothing of it where only the head was asked for.
pub(super) fn events(body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media::EVENTS));
    headers.insert(header::CACHE_CONTROL, NO_STORE.clone());
    response
}

/// `{"id":"…"}`
pub(super) fn id(id: &SecretId) -> ApiResult {
    json(StatusCode::OK, &serde_json::json!({ "id": id.to_string() }))
}

fn push_item(body: &mut Vec<u8>, location: &Location, entry: &Entry) {
    body.extend_from_slice(b"{\"id\":\"");
    body.extend_from_slice(location.as_str().as_bytes());
    body.push(b':');
    body.extend_from_slice(entry.checksum().as_str().as_bytes());
    body.extend_from_slice(b"\",\"value\":\"");
    let value = entry.value().expose();
    if entry.encoded_len() == value.len() {
        body.extend_from_slice(value.as_bytes());
    } else {
        json::push_escaped(body, value);
    }
    body.extend_from_slice(b"\"}");
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// A strong entity tag (RFC 9110 §8.8.3).
fn tag(checksum: &str) -> Result<HeaderValue, ApiError> {
    let mut text = [b'"'; 66];
    let end = checksum.len() + 1;
    text.get_mut(1..end).ok_or_else(ApiError::internal)?.copy_from_slice(checksum.as_bytes());
    let quoted = text.get(..=end).ok_or_else(ApiError::internal)?;
    HeaderValue::from_bytes(quoted).map_err(|_| ApiError::internal())
}

/// `If-None-Match` (RFC 9110 §13.1.2), which compares weakly.
pub(super) fn matches(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        list.split(',').map(str::trim).any(|candidate| {
            candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate).as_bytes() == tag.as_bytes()
        })
    })
}

fn read_answer(body: Bytes, all: &[Served], tag: HeaderValue) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    // With our request id these are six, and a map that begins empty would grow on its way there.
    headers.reserve(6);
    headers.insert(header::CONTENT_TYPE, JSON.clone());
    describe(headers, all, tag);
    response
}

fn not_modified(all: &[Served], tag: HeaderValue) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    describe(response.headers_mut(), all, tag);
    response
}

/// `Age` of the oldest value, and `Cache-Status` (RFC 9211) of the one that took longest to get.
fn describe(headers: &mut HeaderMap, all: &[Served], tag: HeaderValue) {
    headers.insert(header::ETAG, tag);
    date(headers, all);
}

/// How fresh an answer is.
fn date(headers: &mut HeaderMap, all: &[Served]) {
    headers.insert(header::CACHE_CONTROL, NO_STORE.clone());
    let age = all.iter().map(|served| served.age.as_secs()).max().unwrap_or_default();
    headers.insert(header::AGE, HeaderValue::from(age));
    let Some(slowest) = all.iter().max_by_key(|served| rank(served.source)) else { return };
    let status = match slowest.source {
        Source::Cache => hit(slowest.ttl_left.as_secs(), slowest.entry.is_unwatched()),
        Source::Backend if slowest.stored && slowest.entry.is_unwatched() => {
            HeaderValue::from_static("cloakroom; fwd=miss; stored; detail=watch-broken")
        }
        Source::Backend if slowest.stored => HeaderValue::from_static("cloakroom; fwd=miss; stored"),
        Source::Backend => HeaderValue::from_static("cloakroom; fwd=miss"),
        Source::Stale => HeaderValue::from_static("cloakroom; fwd=stale; detail=stale-if-error"),
    };
    headers.insert(&CACHE_STATUS, status);
}

/// `cloakroom; hit; ttl=N`, and where no watch tells of changes, that.
fn hit(ttl: u64, unwatched: bool) -> HeaderValue {
    const PREFIX: &[u8] = b"cloakroom; hit; ttl=";
    const DETAIL: &[u8] = b"; detail=watch-broken";
    let mut number = itoa::Buffer::new();
    let digits = number.format(ttl).as_bytes();
    let detail = if unwatched { DETAIL } else { &[] };
    let mut text = [0_u8; PREFIX.len() + 20 + DETAIL.len()];
    let written = PREFIX.iter().chain(digits).chain(detail);
    text.iter_mut().zip(written).for_each(|(place, byte)| *place = *byte);
    let length = PREFIX.len() + digits.len() + detail.len();
    let value = text.get(..length).and_then(|text| HeaderValue::from_bytes(text).ok());
    value.unwrap_or(HeaderValue::from_static("cloakroom; hit"))
}

fn rank(source: Source) -> u8 {
    match source {
        Source::Cache => 0,
        Source::Backend => 1,
        Source::Stale => 2,
    }
}
