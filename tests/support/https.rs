//! A real HTTPS server with a certificate of its own, for what has to answer something that we choose.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// What a request is answered with.
pub type Answer = Box<dyn Fn(&Request<Bytes>) -> Response<Bytes> + Send + Sync>;

/// What becomes of an answer's end, as an extension of the response: it is sent unless this says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The answer goes on, and nothing more comes.
    Open,
    /// There is no answer: the connection breaks.
    Cut,
}

/// The bytes of an answer, and whether it goes on after them.
struct Body {
    bytes: Option<Bytes>,
    open: bool,
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.bytes.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            // Nobody wakes it: it ends with its connection.
            None if self.open => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

/// A running server; it ends when it is dropped.
pub struct Https {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificate, which is its own authority.
    pub ca: String,
    calls: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    _accepting: AbortOnDropHandle<()>,
}

impl Https {
    /// Serves under `name` at an address of `host`.
    pub async fn serve(host: IpAddr, name: &str, answer: Answer) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned(), host.to_string()]).unwrap();
        let chain = vec![CertificateDer::clone(made.cert.der())];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = server_config(chain, key, &["h2", "http/1.1"]);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, calls) = (Arc::new(answer), Arc::new(Mutex::new(Vec::new())));
        let (tasks, log) = (TaskTracker::new(), Arc::clone(&calls));
        let connections = Arc::<AtomicUsize>::default();
        let accepted = Arc::clone(&connections);
        let accepting = TaskTracker::new().spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                accepted.fetch_add(1, Ordering::Relaxed);
                let (acceptor, answer, log) = (acceptor.clone(), Arc::clone(&answer), Arc::clone(&log));
                tasks.spawn(async move {
                    // A peer that does not trust us, or leaves, is what some tests are about.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(|request: Request<Incoming>| {
                        let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                        async move {
                            let (parts, body) = request.into_parts();
                            let request = Request::from_parts(parts, body.collect().await?.to_bytes());
                            log.lock().unwrap().push(format!("{} {}", request.method(), request.uri().path()));
                            let answer = answer(&request);
                            let ending = answer.extensions().get::<Ending>().copied();
                            anyhow::ensure!(ending != Some(Ending::Cut), "cut");
                            let open = ending == Some(Ending::Open);
                            Ok(answer.map(|bytes| Body { bytes: Some(bytes).filter(|it| !it.is_empty()), open }))
                        }
                    });
                    let served = auto::Builder::new(TokioExecutor::new());
                    drop(served.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self { address, ca: made.cert.pem(), calls, connections, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The calls so far, as `METHOD /path`.
    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

/// TLS that shows `chain` and speaks one of `protocols`.
pub(crate) fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    protocols: &[&str],
) -> rustls::ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}
