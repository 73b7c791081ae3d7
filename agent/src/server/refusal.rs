//! Requests that are whole but not taken on this socket: what a proxy, a browser or a smuggler would send.

use http::{HeaderMap, Request, Version, header};

/// Why a request is not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// None or two: RFC 9112 §3.2 asks for exactly one, of every client.
    #[error("a request carries exactly one Host field")]
    Host,
    /// The marks of a proxy or a browser: nothing of that kind speaks to this socket.
    #[error("Forwarded, X-Forwarded-*, Via and Origin are not taken on this socket")]
    Proxied,
    /// A target other than a path (RFC 9112 §3.2.2 to §3.2.4).
    #[error("the request target is a path")]
    Target,
    /// Another protocol was asked for.
    #[error("only HTTP/1.1 without upgrade is spoken here")]
    Upgrade,
    /// More fields than the limit.
    #[error("the request has more header fields than the limit")]
    Fields,
}

/// Whether the head is one that this server hands on.
pub(super) fn check<B>(request: &Request<B>, header_fields: usize) -> Result<(), Refusal> {
    let headers = request.headers();
    if headers.len() > header_fields {
        return Err(Refusal::Fields);
    }
    if request.uri().authority().is_some() || !request.uri().path().starts_with('/') {
        return Err(Refusal::Target);
    }
    check_fields(headers)?;
    if headers.contains_key(header::UPGRADE) || request.version() > Version::HTTP_11 {
        return Err(Refusal::Upgrade);
    }
    Ok(())
}

fn check_fields(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut hosts = 0;
    for name in headers.keys() {
        match name.as_str() {
            "host" => hosts = headers.get_all(header::HOST).iter().count(),
            "forwarded" | "via" | "origin" => return Err(Refusal::Proxied),
            other if other.starts_with("x-forwarded-") => return Err(Refusal::Proxied),
            _ => {}
        }
    }
    if hosts == 1 { Ok(()) } else { Err(Refusal::Host) }
}
