//! The reference for admissions: hyper over TLS, one thread, the body read as a whole, a constant answer, nothing else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

/// Serves at `address` with the pair and the answer that are in `directory`; a socket there says that it listens.
pub(crate) fn serve(address: SocketAddr, directory: &Path) -> anyhow::Result<()> {
    let chain = CertificateDer::pem_file_iter(directory.join("tls.crt"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(directory.join("tls.key"))?;
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let answer = Bytes::from(std::fs::read(directory.join("answer.json")).context("the answer")?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let _listening = tokio::net::UnixListener::bind(directory.join("bare.sock"))?;
        let tasks = TaskTracker::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tasks.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(|request: Request<Incoming>| {
                    let answer = answer.clone();
                    async move {
                        // What does not arrive is not answered differently: nothing of it is looked at.
                        drop(request.into_body().collect().await);
                        let mut response = Response::new(Full::new(answer));
                        let json = HeaderValue::from_static("application/json");
                        response.headers_mut().insert(header::CONTENT_TYPE, json);
                        Ok::<_, Infallible>(response)
                    }
                });
                let served = auto::Builder::new(TokioExecutor::new());
                drop(served.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    })
}
