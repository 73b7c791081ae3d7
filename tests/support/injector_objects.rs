//! The two objects that injectors share, on a fake API server that keeps versions as a real one does.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cloakroom_agent::kubernetes::{Address, ApiServer};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::https::Https;

/// The objects.
#[derive(Default)]
pub struct Objects {
    version: u64,
    /// The Secret, if there is one.
    pub secret: Option<Value>,
    /// The webhook configuration.
    pub configuration: Value,
    /// Writes that were taken, as `METHOD what`.
    pub writes: Vec<&'static str>,
}

/// A running fake.
pub struct ObjectServer {
    server: Https,
    objects: Arc<Mutex<Objects>>,
    token: TempDir,
}

impl ObjectServer {
    /// With a configuration of three entries that trust nobody, and no Secret.
    pub async fn start() -> Self {
        let entries = ["enabled", "required", "asked"];
        let entry = |name| json!({"name": format!("{name}.cloakroom.dev"), "clientConfig": {"url": "https://x"}});
        let configuration = json!({"metadata": {"resourceVersion": "0"}, "webhooks": entries.map(entry)});
        let objects = Arc::new(Mutex::new(Objects { configuration, ..Objects::default() }));
        let answer = {
            let objects = Arc::clone(&objects);
            move |request: &Request<Bytes>| {
                let (status, body) = objects.lock().unwrap().answer(request);
                let mut response = Response::new(Bytes::from(body.to_string()));
                *response.status_mut() = status;
                response
            }
        };
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let server = Https::serve(host, "kubernetes.default.svc", Box::new(answer)).await;
        let token = TempDir::new().unwrap();
        std::fs::write(token.path().join("token"), "a-token").unwrap();
        std::fs::write(token.path().join("ca.crt"), &server.ca).unwrap();
        Self { server, objects, token }
    }

    /// Where `token` and `ca.crt` are.
    pub fn token(&self) -> &Path {
        self.token.path()
    }

    /// The API server as a pod has it.
    pub fn api(&self) -> ApiServer {
        let address = self.server.address;
        let address = Address { host: address.ip().to_string(), port: address.port() };
        ApiServer::new(&address, self.token.path()).unwrap()
    }

    /// Where it listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.server.address
    }

    /// The objects, to look at and to change behind everybody's back.
    pub fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap()
    }
}

impl Objects {
    fn answer(&mut self, request: &Request<Bytes>) -> (StatusCode, Value) {
        let path = request.uri().path();
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let secret = path.contains("/secrets");
        match (request.method(), secret) {
            (&Method::GET, false) if path.contains("/mutatingwebhookconfigurations/") => {
                (StatusCode::OK, self.configuration.clone())
            }
            (&Method::PATCH, false) => self.patch(&body),
            (&Method::GET, true) => match &self.secret {
                Some(secret) => (StatusCode::OK, secret.clone()),
                None => (StatusCode::NOT_FOUND, json!({})),
            },
            (&Method::POST, true) if self.secret.is_some() => (StatusCode::CONFLICT, json!({})),
            (&Method::POST, true) => (StatusCode::CREATED, self.store("POST secret", body)),
            (&Method::PUT, true) => match &self.secret {
                None => (StatusCode::NOT_FOUND, json!({})),
                Some(known) if known["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] => {
                    (StatusCode::CONFLICT, json!({}))
                }
                Some(_) => (StatusCode::OK, self.store("PUT secret", body)),
            },
            _ => (StatusCode::FORBIDDEN, json!({})),
        }
    }

    fn store(&mut self, write: &'static str, mut secret: Value) -> Value {
        self.writes.push(write);
        secret["metadata"]["resourceVersion"] = self.next().into();
        self.secret = Some(secret.clone());
        secret
    }

    fn patch(&mut self, patch: &Value) -> (StatusCode, Value) {
        if patch["metadata"]["resourceVersion"] != self.configuration["metadata"]["resourceVersion"] {
            return (StatusCode::CONFLICT, json!({}));
        }
        self.writes.push("PATCH configuration");
        for (name, value) in patch["metadata"]["annotations"].as_object().unwrap() {
            self.configuration["metadata"]["annotations"][name] = value.clone();
        }
        for change in patch["webhooks"].as_array().unwrap() {
            let mut entries = self.configuration["webhooks"].as_array_mut().unwrap().iter_mut();
            let entry = entries.find(|entry| entry["name"] == change["name"]).unwrap();
            entry["clientConfig"]["caBundle"] = change["clientConfig"]["caBundle"].clone();
        }
        self.configuration["metadata"]["resourceVersion"] = self.next().into();
        (StatusCode::OK, self.configuration.clone())
    }

    fn next(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    /// The bundles of all entries.
    pub fn bundles(&self) -> Vec<String> {
        let entries = self.configuration["webhooks"].as_array().unwrap().iter();
        let bundle = |entry: &Value| STANDARD.decode(entry["clientConfig"]["caBundle"].as_str().unwrap_or_default());
        entries.map(|entry| String::from_utf8(bundle(entry).unwrap()).unwrap()).collect()
    }

    /// Puts a bundle into one entry, as somebody does who applies a manifest again; the annotations stay.
    pub fn overwrite(&mut self, entry: usize, bundle: &str) {
        self.configuration["webhooks"][entry]["clientConfig"]["caBundle"] = STANDARD.encode(bundle).into();
        self.configuration["metadata"]["resourceVersion"] = self.next().into();
    }

    /// The state in the Secret.
    pub fn state(&self) -> Value {
        let text = self.secret.as_ref().unwrap()["data"]["state.json"].as_str().unwrap();
        serde_json::from_slice(&STANDARD.decode(text).unwrap()).unwrap()
    }

    /// Changes the state, as somebody does who edits the Secret.
    pub fn edit(&mut self, state: &[u8]) {
        let version = self.next();
        let secret = self.secret.as_mut().unwrap();
        secret["data"]["state.json"] = STANDARD.encode(state).into();
        secret["metadata"]["resourceVersion"] = version.into();
    }
}
