//! A watch's answer: lines of JSON that come for as long as the connection lives.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use zeroize::Zeroizing;

use super::call::{refuse, retry_after};
use super::transport::{Connection, Place};
use super::{ApiServer, CallError};

/// The longest line: one object of the largest size, as an event.
const LINE_BYTES_MAX: usize = 4 << 20;

/// Lines of one answer, one at a time; each is wiped when it is dropped.
pub struct Lines {
    incoming: Incoming,
    rest: Zeroizing<Vec<u8>>,
    _place: Place,
}

impl ApiServer {
    /// Sends `request` and reads its answer line by line. `within` bounds only the wait for the first byte.
    ///
    /// # Errors
    /// [`CallError`], or the status where it is not 200.
    pub async fn lines(
        &self,
        request: Request<Vec<u8>>,
        within: Duration,
    ) -> Result<Result<Lines, StatusCode>, CallError> {
        let (authorization, token) = self.inner.credentials.authorization();
        let (mut parts, body) = request.into_parts();
        self.inner.transport.address(&mut parts);
        parts.headers.insert(header::AUTHORIZATION, authorization);
        let request = Request::from_parts(parts, Full::new(Bytes::from(body)));
        let (connection, place) = self.inner.transport.for_watch(&self.inner.credentials);
        let response = match tokio::time::timeout(within, send(&connection, request)).await {
            Ok(response) => response?,
            Err(_elapsed) => return Err(CallError::Lost),
        };
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            self.inner.credentials.renew(token);
            return Err(CallError::NotAuthenticated);
        }
        refuse(status, retry_after(&response))?;
        if status != StatusCode::OK {
            return Ok(Err(status));
        }
        Ok(Ok(Lines { incoming: response.into_body(), rest: Zeroizing::new(Vec::new()), _place: place }))
    }
}

async fn send(connection: &Connection, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, CallError> {
    connection
        .request(request)
        .await
        .map_err(|error| if error.is_connect() { CallError::Unreachable } else { CallError::Lost })
}

impl Lines {
    /// The next line; none at the end of the answer.
    ///
    /// # Errors
    /// [`CallError::Lost`] where the connection broke, [`CallError::Misbehaved`] for a line that is too long.
    pub async fn next(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, CallError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.rest) {
                let mut line = Zeroizing::new(Vec::with_capacity(end));
                line.extend_from_slice(self.rest.get(..end).unwrap_or_default());
                let after = self.rest.get(end + 1..).unwrap_or_default();
                let mut rest = Zeroizing::new(Vec::with_capacity(after.len()));
                rest.extend_from_slice(after);
                self.rest = rest;
                return Ok(Some(line));
            }
            let Some(frame) = self.incoming.frame().await else { return Ok(None) };
            let Ok(data) = frame.map_err(|_| CallError::Lost)?.into_data() else { continue };
            let needed = self.rest.len() + data.len();
            if needed > LINE_BYTES_MAX {
                return Err(CallError::Misbehaved);
            }
            if needed > self.rest.capacity() {
                let mut larger = Zeroizing::new(Vec::with_capacity(needed));
                larger.extend_from_slice(&self.rest);
                self.rest = larger;
            }
            self.rest.extend_from_slice(&data);
        }
    }
}
