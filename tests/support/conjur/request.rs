//! A request as the handlers see it: a path cut and decoded the way the server does, a query, a preferred type.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;

use super::log::{Kind, Side};

pub(super) struct Asked {
    pub(super) side: Side,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) peer: IpAddr,
    /// The path in pieces, still encoded; empty ones are no pieces.
    pub(super) pieces: Vec<String>,
}

/// What is wrong with a path that cannot be decoded.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum BadPath {
    /// Not UTF-8.
    Encoding,
    /// A broken escape or a NUL byte; the server has one sentence for both.
    Byte,
}

impl Asked {
    pub(super) fn new(side: Side, parts: http::request::Parts, body: Bytes, peer: IpAddr) -> Self {
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().map(ToOwned::to_owned);
        let pieces = path.split('/').filter(|piece| !piece.is_empty()).map(ToOwned::to_owned).collect();
        Self { side, method: parts.method, path, query, headers: parts.headers, body, peer, pieces }
    }

    pub(super) fn target(&self) -> String {
        self.query.as_ref().map_or_else(|| self.path.clone(), |query| format!("{}?{query}", self.path))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether the method is this one; `HEAD` is a `GET` whose body is not sent.
    pub(super) fn is(&self, method: &Method) -> bool {
        self.method == *method || (*method == Method::GET && self.method == Method::HEAD)
    }

    pub(super) fn pieces(&self) -> Vec<&str> {
        self.pieces.iter().map(String::as_str).collect()
    }

    pub(super) fn kind(&self) -> Kind {
        let get = self.is(&Method::GET);
        match self.pieces().as_slice() {
            [first, .., "authenticate" | "login"] if first.starts_with("authn") => Kind::Login,
            ["secrets"] if get => Kind::Batch,
            ["secrets", _, _, ..] if get => Kind::Read,
            ["secrets", _, _, ..] if self.method == Method::POST => Kind::Write,
            ["policies", ..] if matches!(self.method, Method::POST | Method::PUT | Method::PATCH) => Kind::PolicyLoad,
            ["resources", _, _, _, ..] if get => Kind::Metadata,
            ["resources", ..] if get => Kind::List,
            _ => Kind::Other,
        }
    }

    /// The pieces from the one at `from` on as one identifier: slashes may be written plain or encoded.
    pub(super) fn identifier(&self, from: usize) -> Result<String, BadPath> {
        decode(&self.pieces[from..].join("/"))
    }

    pub(super) fn piece(&self, at: usize) -> Result<String, BadPath> {
        decode(&self.pieces[at])
    }

    /// The first parameter of that name in the query.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        form(self.query.as_deref()?.as_bytes()).into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// What an empty answer is typed as: by the ending of the path, then by `Accept`.
    pub(super) fn preferred(&self) -> &'static str {
        let accept = self.header("accept").unwrap_or_default();
        let ending = self.pieces.last().is_some_and(|last| last.rsplit('.').next() == Some("json"));
        match accept.split([',', ';']).next().unwrap_or_default().trim() {
            "application/json" => "application/json",
            "text/plain" => "text/plain",
            _ if ending => "application/json",
            _ => "text/html",
        }
    }
}

fn decode(text: &str) -> Result<String, BadPath> {
    let bytes = text.as_bytes();
    let broken = bytes.iter().enumerate().any(|(at, byte)| {
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
        *byte == b'%' && !(digit(at + 1) && digit(at + 2))
    });
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| BadPath::Encoding)?;
    if broken || decoded.contains('\0') {
        return Err(BadPath::Byte);
    }
    Ok(decoded.into_owned())
}

/// The pairs of a form or a query; a plus is a space here, unlike in a path.
pub(super) fn form(body: &[u8]) -> Vec<(String, String)> {
    let plain = |text: &[u8]| {
        let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        percent_encoding::percent_decode(&spaced).decode_utf8_lossy().into_owned()
    };
    body.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            (plain(&pair[..at]), plain(pair.get(at + 1..).unwrap_or_default()))
        })
        .collect()
}
