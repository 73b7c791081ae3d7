//! What Conjur answered: read whole into memory that is wiped, and never more of it than was asked for.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use zeroize::Zeroizing;

use super::call::ConjurError;
use super::cause;

/// The longest that Conjur may send us away for.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// An answer with a status below 500 that is no redirect.
pub struct Answer {
    /// The status line's code.
    pub status: StatusCode,
    /// `Retry-After`, in whole seconds.
    pub retry_after: Option<Duration>,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// An answer that is told by its status alone.
    pub(super) fn bare(response: &reqwest::Response) -> Self {
        let retry_after = retry_after(response.headers());
        Self { status: response.status(), retry_after, headers: HeaderMap::new(), body: Zeroizing::default() }
    }

    /// Reads at most `limit` bytes.
    pub(super) async fn read(mut response: reqwest::Response, limit: usize) -> Result<Self, ConjurError> {
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let expected = response.content_length().and_then(|length| usize::try_from(length).ok());
        if expected.is_some_and(|length| length > limit) {
            return Err(ConjurError::TooLarge);
        }
        let mut body = Zeroizing::new(Vec::with_capacity(expected.unwrap_or(1024)));
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
            let needed = body.len() + chunk.len();
            if needed > limit {
                return Err(ConjurError::TooLarge);
            }
            if needed > body.capacity() {
                // Grown by moving, so that what a vector leaves behind when it grows is wiped.
                let mut larger = Zeroizing::new(Vec::with_capacity((needed * 2).min(limit)));
                larger.extend_from_slice(&body);
                body = larger;
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Self { status, retry_after, headers: std::mem::take(response.headers_mut()), body })
    }

    /// The media type, without its parameters; empty where there is none.
    pub(super) fn media_type(&self) -> &str {
        let value = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        value.and_then(|value| value.split(';').next()).unwrap_or_default().trim()
    }

    /// `Content-Encoding`; empty where there is none.
    pub(super) fn encoding(&self) -> &str {
        self.headers.get(header::CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?"))
    }

    /// The body of an answer that must be JSON, whatever else it says.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, ConjurError> {
        serde_json::from_slice(self.json_text()?).map_err(|_| ConjurError::Misbehaved)
    }

    /// The same, not read yet.
    pub(super) fn json_text(&self) -> Result<&[u8], ConjurError> {
        if self.media_type() != "application/json" || !self.encoding().is_empty() {
            return Err(ConjurError::Misbehaved);
        }
        Ok(&self.body)
    }
}

pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// Why a body did not come whole: cut off by its sender, or lost on the way.
fn broken(error: &reqwest::Error) -> ConjurError {
    let cut = cause::find::<hyper::Error>(error).is_some_and(|cause| cause.is_incomplete_message() || cause.is_parse());
    match cause::find::<std::io::Error>(error).map(std::io::Error::kind) {
        Some(std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData) => ConjurError::Misbehaved,
        _ if cut => ConjurError::Misbehaved,
        _ => ConjurError::Lost,
    }
}
