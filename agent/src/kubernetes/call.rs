//! One request and its whole answer: a deadline, a size, the token renewed once after a 401, and no redirect followed.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use zeroize::Zeroizing;

use super::ApiServer;

/// An object may be 1.5 MiB in etcd (`--max-request-bytes`); its JSON with managed fields is a little more.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// How long to leave the API server alone where it does not say so.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What came back; the body is wiped when it is dropped.
pub struct Answer {
    /// The status line's code.
    pub status: StatusCode,
    /// `Retry-After`, in whole seconds.
    pub retry_after: Option<Duration>,
    body: Zeroizing<Vec<u8>>,
}

/// Why there is no answer that could be used. Carries no text from the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing was sent.
    #[error("the API server cannot be reached")]
    Unreachable,
    /// The connection broke, or the time passed, after the request may have arrived.
    #[error("the API server did not answer")]
    Lost,
    /// It answered that something behind it failed: of a write nobody knows.
    #[error("the API server failed")]
    Failed,
    /// It answered with a status that means "not now".
    #[error("the API server is overloaded or not ready")]
    Busy(Duration),
    /// The token is not, or not any more, one of this cluster.
    #[error("the API server does not accept our token")]
    NotAuthenticated,
    /// Too long, no JSON, or a status that has no place here.
    #[error("the API server answered with something unexpected")]
    Misbehaved,
}

impl Answer {
    /// One that no server gave.
    #[cfg(test)]
    pub(crate) fn made(status: StatusCode, body: &serde_json::Value) -> Self {
        Self { status, retry_after: None, body: Zeroizing::new(body.to_string().into_bytes()) }
    }

    /// The body, read as `T`.
    ///
    /// # Errors
    /// [`CallError::Misbehaved`]; what is wrong with it is not told, because it may be a secret.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, CallError> {
        serde_json::from_slice(&self.body).map_err(|_| CallError::Misbehaved)
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Why the API server did not do it, in its own closed set of reasons.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        let status: Status = serde_json::from_slice(&self.body).unwrap_or_default();
        status.details.causes.into_iter().map(|cause| cause.reason).collect()
    }
}

/// The part of a `Status` (meta/v1) that says why, without its sentences: they may repeat what was sent.
#[derive(Default, serde::Deserialize)]
struct Status {
    #[serde(default)]
    details: Details,
}

#[derive(Default, serde::Deserialize)]
struct Details {
    #[serde(default)]
    causes: Vec<Cause>,
}

#[derive(serde::Deserialize)]
struct Cause {
    #[serde(default)]
    reason: String,
}

impl ApiServer {
    /// Sends `request`, whose target is a path, and reads the answer.
    ///
    /// # Errors
    /// [`CallError`]. Every answer below 500 other than 401, 429 and a redirect is an [`Answer`].
    pub async fn call(&self, request: Request<Vec<u8>>, within: Duration) -> Result<Answer, CallError> {
        let deadline = tokio::time::Instant::now() + within;
        let calls = &self.inner.calls;
        let permit = match calls.try_acquire() {
            Ok(permit) => permit,
            Err(_) => match tokio::time::timeout_at(deadline, calls.acquire()).await {
                Ok(Ok(permit)) => permit,
                _ => return Err(CallError::Busy(RETRY_AFTER)),
            },
        };
        // One timer for all that follows.
        let answer = tokio::time::timeout_at(deadline, self.exchange(request)).await;
        drop(permit);
        answer.unwrap_or(Err(CallError::Lost))
    }

    /// Asks, and once more where the token was an old one.
    async fn exchange(&self, request: Request<Vec<u8>>) -> Result<Answer, CallError> {
        let (mut parts, body) = request.into_parts();
        parts.headers.insert(header::HOST, self.inner.transport.host());
        let body = if body.is_empty() { Bytes::new() } else { Bytes::from_owner(Zeroizing::new(body)) };
        for last in [false, true] {
            let (authorization, token) = self.inner.credentials.authorization();
            let mut request = Request::from_parts(parts.clone(), Full::new(body.clone()));
            request.headers_mut().insert(header::AUTHORIZATION, authorization);
            let connections = self.inner.transport.for_call(&self.inner.credentials);
            let (response, connection) = connections.send(request).await?;
            let refused = refuse(response.status(), retry_after(&response));
            if refused.is_ok() && response.status() != StatusCode::UNAUTHORIZED {
                let answer = read(response).await?;
                connections.keep(connection);
                return Ok(answer);
            }
            connections.finish(response, connection);
            refused?;
            // The kubelet may have rotated the token a moment ago.
            if last || !self.inner.credentials.renew(token) {
                break;
            }
        }
        Err(CallError::NotAuthenticated)
    }
}

async fn read(response: Response<Incoming>) -> Result<Answer, CallError> {
    let status = response.status();
    let retry_after = retry_after(&response);
    let mut incoming = response.into_body();
    // As much as it says that it has, so that it need not be moved.
    let expected = usize::try_from(incoming.size_hint().lower()).unwrap_or(usize::MAX).min(ANSWER_BYTES_MAX);
    let mut body = Zeroizing::new(Vec::with_capacity(expected));
    while let Some(frame) = incoming.frame().await {
        let Ok(mut data) = frame.map_err(|_| CallError::Lost)?.into_data() else { continue };
        let needed = body.len() + data.remaining();
        if needed > ANSWER_BYTES_MAX {
            return Err(CallError::Misbehaved);
        }
        if needed > body.capacity() {
            // Grown by moving, so that what a vector leaves behind when it grows is wiped.
            let mut larger = Zeroizing::new(Vec::with_capacity((needed * 2).clamp(4096, ANSWER_BYTES_MAX)));
            larger.extend_from_slice(&body);
            body = larger;
        }
        body.extend_from_slice(&data);
        data.advance(data.remaining());
    }
    Ok(Answer { status, retry_after, body })
}

/// Statuses that are no answer to what was asked.
pub(super) fn refuse(status: StatusCode, retry_after: Option<Duration>) -> Result<(), CallError> {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Err(CallError::Busy(retry_after.unwrap_or(RETRY_AFTER)))
        }
        _ if status.is_server_error() => Err(CallError::Failed),
        _ if status.is_redirection() || status.is_informational() => Err(CallError::Misbehaved),
        _ => Ok(()),
    }
}

pub(super) fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(Duration::from_mins(1)))
}
