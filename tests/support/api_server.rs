//! A stand-in for an API server, for what needs one and is about something else: who a token is, what it may, Leases.
//!
//! Nothing about Kubernetes is shown with it: `tests/kubernetes` is for that.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Mutex;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::https::Https;

/// How it answers.
#[derive(Clone, Copy)]
pub struct Answers {
    /// Its minor version.
    pub minor: &'static str,
    /// Whether everything that is asked about is allowed, or nothing.
    pub allowed: bool,
}

impl Default for Answers {
    fn default() -> Self {
        Self { minor: "31", allowed: true }
    }
}

/// A running one.
pub struct FakeApiServer {
    server: Https,
}

impl FakeApiServer {
    /// Serves.
    pub async fn start(answers: Answers) -> Self {
        let leases = Leases::default();
        let answer = move |request: &Request<Bytes>| {
            let (status, body) = answer(answers, &leases, request);
            let mut response = Response::new(Bytes::from(body.to_string()));
            *response.status_mut() = status;
            response
        };
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { server: Https::serve(host, "kubernetes.default.svc", Box::new(answer)).await }
    }

    /// Writes token, CA and namespace of a service account into a directory.
    pub fn give_token(&self, directory: &Path, namespace: &str, account: &str) {
        std::fs::create_dir_all(directory).unwrap();
        let token = format!("kept-secret.system:serviceaccount:{namespace}:{account}");
        std::fs::write(directory.join("token"), token).unwrap();
        std::fs::write(directory.join("ca.crt"), &self.server.ca).unwrap();
        std::fs::write(directory.join("namespace"), namespace).unwrap();
    }

    /// What the kubelet tells every container.
    pub fn environment(&self) -> Vec<(String, String)> {
        let address = self.server.address;
        vec![
            ("KUBERNETES_SERVICE_HOST".to_owned(), address.ip().to_string()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), address.port().to_string()),
        ]
    }
}

fn answer(answers: Answers, leases: &Leases, request: &Request<Bytes>) -> (StatusCode, Value) {
    let path = request.uri().path();
    if path == "/version" {
        return (StatusCode::OK, json!({"major": "1", "minor": answers.minor}));
    }
    let token = request.headers().get("authorization").map(|value| value.to_str().unwrap());
    let Some(user) = token.and_then(|token| token.strip_prefix("Bearer kept-secret.")) else {
        return (StatusCode::UNAUTHORIZED, json!({}));
    };
    if path.ends_with("/selfsubjectreviews") {
        return (StatusCode::CREATED, json!({"status": {"userInfo": {"username": user}}}));
    }
    if path.ends_with("/selfsubjectaccessreviews") {
        return (StatusCode::CREATED, json!({"status": {"allowed": answers.allowed}}));
    }
    if path.contains("/leases") { leases.answer(request) } else { (StatusCode::NOT_FOUND, json!({})) }
}

/// By path; each write makes a new version, and a write of another version than the latest is a conflict.
#[derive(Default)]
struct Leases(Mutex<(u64, HashMap<String, Value>)>);

impl Leases {
    fn answer(&self, request: &Request<Bytes>) -> (StatusCode, Value) {
        let mut held = self.0.lock().unwrap();
        let (count, leases) = &mut *held;
        let path = request.uri().path().to_owned();
        if *request.method() == Method::GET {
            return match leases.get(&path) {
                Some(lease) => (StatusCode::OK, lease.clone()),
                None => (StatusCode::NOT_FOUND, json!({})),
            };
        }
        let mut lease: Value = serde_json::from_slice(request.body()).unwrap();
        let made = *request.method() == Method::POST;
        let path = if made { format!("{path}/{}", lease["metadata"]["name"].as_str().unwrap()) } else { path };
        let fits = match leases.get(&path) {
            None => made,
            Some(known) => !made && known["metadata"]["resourceVersion"] == lease["metadata"]["resourceVersion"],
        };
        if !fits {
            return (StatusCode::CONFLICT, json!({}));
        }
        *count += 1;
        lease["metadata"]["resourceVersion"] = count.to_string().into();
        lease["metadata"]["uid"] = path.clone().into();
        leases.insert(path, lease.clone());
        (if made { StatusCode::CREATED } else { StatusCode::OK }, lease)
    }
}
