//! The reference for Conjur: hyper on a Unix socket, one thread, each request handed on by reqwest, and nothing else.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderValue, Response, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio_util::task::TaskTracker;

/// Serves for ever, in front of the double whose files are in `conjur`, with a token that it finds there.
pub(crate) fn serve(socket: &Path, conjur: &Path) -> anyhow::Result<()> {
    let base: Arc<str> = fs::read_to_string(conjur.join("url"))?.into();
    let authorization = HeaderValue::from_str(&fs::read_to_string(conjur.join("authorization"))?)?;
    let client = client(&fs::read(conjur.join("ca.pem"))?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::UnixListener::bind(socket)?;
        let tasks = TaskTracker::new();
        loop {
            let (stream, _) = listener.accept().await?;
            let (base, authorization, client) = (Arc::clone(&base), authorization.clone(), client.clone());
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let asked = client.get(format!("{base}{}", request.uri()));
                let asked = asked.header(header::AUTHORIZATION, authorization.clone());
                async move {
                    let answer = asked.send().await?;
                    let status = answer.status();
                    let mut response = Response::new(Full::new(answer.bytes().await?));
                    *response.status_mut() = status;
                    Ok::<_, reqwest::Error>(response)
                }
            });
            tasks.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
}

fn client(authorities: &[u8]) -> anyhow::Result<reqwest::Client> {
    let mut store = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities) {
        store.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(store).with_no_client_auth();
    Ok(reqwest::Client::builder().tls_backend_preconfigured(config).http1_only().no_proxy().build()?)
}
