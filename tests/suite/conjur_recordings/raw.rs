//! Requests byte for byte, as no library would send some of them.

use std::io;
use std::sync::Arc;

use cloakroom_tests::conjur::{FakeConjur, Side};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends to the leader over a connection of its own, and expects an answer.
pub(crate) async fn send(fake: &FakeConjur, request: &[u8]) -> Reply {
    try_send(fake, Side::Leader, request).await.unwrap()
}

/// Sends over a connection of its own, trusting what the double says is to be trusted.
pub(crate) async fn try_send(fake: &FakeConjur, side: Side, request: &[u8]) -> io::Result<Reply> {
    let url = if side == Side::Leader { fake.url() } else { fake.follower_url() };
    let (scheme, address) = url.split_once("://").unwrap();
    let stream = TcpStream::connect(address).await?;
    if scheme == "http" {
        return exchange(stream, request).await;
    }
    exchange(trusting(&fake.ca_pem(), stream).await?, request).await
}

/// Speaks TLS and trusts one authority.
pub(crate) async fn trusting(ca: &str, stream: TcpStream) -> io::Result<impl AsyncRead + AsyncWrite + Unpin> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> io::Result<Reply> {
    stream.write_all(request).await?;
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await?;
    let end = read.windows(4).position(|four| four == b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8(read[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Ok(Reply { status, headers, body: read[end + 4..].to_vec() })
}
