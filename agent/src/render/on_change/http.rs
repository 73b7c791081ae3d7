//! A POST without a body to a program of this host. Its answer is read for its status and nothing else.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::ActionError;
use crate::render::spec::HttpPlace;

/// How long a program may take.
const WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn post(to: &HttpPlace, path: &str) -> Result<(), ActionError> {
    let asked = async {
        match to {
            HttpPlace::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(|_| ActionError::Unreachable)?;
                ask(stream, &address.to_string(), path).await
            }
            HttpPlace::Unix(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(|_| ActionError::Unreachable)?;
                ask(stream, "localhost", path).await
            }
        }
    };
    tokio::time::timeout(WITHIN, asked).await.map_err(|_| ActionError::TimedOut)?
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Send + Unpin, host: &str, path: &str) -> Result<(), ActionError> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|_| ActionError::Unreachable)?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, host)
        .header(header::CONTENT_LENGTH, 0)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| ActionError::Refused)?;
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // What was read until it ended is there to be had.
        _ended = connection => answer.await,
    };
    // A redirect is not followed: it could lead anywhere.
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(_) => Err(ActionError::Refused),
        Err(_) => Err(ActionError::Unreachable),
    }
}
