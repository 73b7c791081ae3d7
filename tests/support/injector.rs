//! An API server's side of the webhook: reviews over TLS that trusts what was published and nothing else.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cloakroom_injector::certificate::serving::Serving;
use cloakroom_injector::metrics::ReviewMetrics;
use cloakroom_injector::profile::Settings;
use cloakroom_injector::server;
use cloakroom_injector::server::webhook::Webhook;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// The least that an operator has to say.
pub const SETTINGS: &str = "{image: cloakroom:1, profiles: {default: {config: {backend: {kind: kubernetes}}}}}";

/// The cryptography of both sides.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The injector's binary, built by the same cargo call as the tests.
pub fn injector_binary() -> PathBuf {
    let path = crate::agent::binary().with_file_name("cloakroom-injector");
    assert!(path.exists(), "{} is not built: run the tests with --workspace", path.display());
    path
}

/// TLS that trusts the authorities of a PEM text.
pub fn trusting(bundle: &str) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// What calls the webhook. Keeps its connections, as an API server does.
#[derive(Clone)]
pub struct Reviewer {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    address: SocketAddr,
}

impl Reviewer {
    /// One that expects `name` at `address`, by HTTP/2 or HTTP/1.1.
    pub fn new(address: SocketAddr, bundle: &str, name: &str, http2: bool) -> Self {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(trusting(bundle))
            .https_only()
            .with_server_name_resolver(FixedServerNameResolver::new(name));
        let connector = if http2 {
            builder.enable_http2().wrap_connector(connector)
        } else {
            builder.enable_http1().wrap_connector(connector)
        };
        Self { client: Client::builder(TokioExecutor::new()).http2_only(http2).build(connector), address }
    }

    /// Any request; status and body, or why there is none.
    pub async fn ask(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Result<(StatusCode, Bytes), String> {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.address))
            .header("Content-Type", "application/json")
            .body(Full::new(body.into()))
            .unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(10), async {
            let response = self.client.request(request).await.map_err(|error| format!("{error:?}"))?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|error| format!("{error:?}"))?;
            Ok((status, body.to_bytes()))
        });
        answer.await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }

    /// A review of a plain pod; whether it was answered with its own uid.
    pub async fn review(&self, uid: &str) -> Result<(), String> {
        let (status, body) = self.ask(Method::POST, "/inject/asked", review(uid).to_string()).await?;
        let answer: Value = serde_json::from_slice(&body).map_err(|_| format!("{status}"))?;
        if answer["response"]["uid"] == uid { Ok(()) } else { Err(answer.to_string()) }
    }
}

/// A review as API servers send it.
pub fn review(uid: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": uid, "operation": "CREATE", "namespace": "team", "userInfo": {"username": "somebody"},
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"},
                       "spec": {"containers": [{"name": "app", "image": "app"}]}},
            "oldObject": null, "dryRun": false,
        },
    })
}

/// The webhook's server alone, with whatever certificate it is given.
pub struct WebhookServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it serves with.
    pub serving: Arc<Serving>,
    /// Ends it.
    pub stop: CancellationToken,
    /// Its task, which ends when it has drained.
    pub task: AbortOnDropHandle<()>,
}

impl WebhookServer {
    /// Serves on an address of its own, with default settings.
    pub async fn start() -> Self {
        let (serving, stop) = (Arc::<Serving>::default(), CancellationToken::new());
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = server::tls(Arc::clone(&serving), provider()).unwrap();
        let webhook = Webhook::new(Settings::parse(SETTINGS).unwrap(), ReviewMetrics::default());
        let task = TaskTracker::new().spawn(server::serve(listener, tls, webhook, stop.clone(), stop.clone()));
        Self { address, serving, stop, task: AbortOnDropHandle::new(task) }
    }
}
