//! Somebody who makes pods: what the API server returned, or how it refused, word for word.

use std::time::Duration;

use http::{Method, header};
use serde_json::{Value, json};

use crate::cluster::{Account, Cluster};
use crate::injector::trusting;

/// Longer than the API server waits for a webhook.
const WITHIN: Duration = Duration::from_secs(20);

/// A pod that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Of the answer; 0 where there was none.
    pub status: u16,
    /// What the API server said, or why it said nothing.
    pub message: String,
}

/// How a pod is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Through everything, without being kept.
    pub dry_run: bool,
    /// As somebody else.
    pub user: Option<&'a str>,
}

/// For the looks of it.
pub const DRY_RUN: Asked<'static> = Asked { dry_run: true, user: None };

/// An account that may make pods anywhere, also as somebody else.
#[derive(Clone)]
pub struct Maker {
    client: reqwest::Client,
    server: String,
    token: String,
}

impl Maker {
    /// With an account in `namespace`; its role is named after it.
    pub fn new(cluster: &Cluster, namespace: &str) -> Self {
        let account = cluster.account(namespace);
        cluster.apply(&role(&account));
        let directory = account.directory.path();
        let authorities = std::fs::read_to_string(directory.join("ca.crt")).unwrap();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(trusting(&authorities))
            .http1_only()
            .no_proxy()
            .timeout(WITHIN)
            .build()
            .unwrap();
        let server = format!("https://{}:{}", cluster.address.host, cluster.address.port);
        let token = std::fs::read_to_string(directory.join("token")).unwrap();
        Self { client, server, token }
    }

    /// Makes a pod; it as it was taken.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn create(&self, namespace: &str, pod: &Value, asked: Asked<'_>) -> Result<Value, Refused> {
        let dry_run = if asked.dry_run { "?dryRun=All" } else { "" };
        let path = format!("/api/v1/namespaces/{namespace}/pods{dry_run}");
        self.ask(Method::POST, &path, "application/json", pod, asked.user).await
    }

    /// Takes a pod away at once, if there is one of that name.
    pub async fn delete(&self, namespace: &str, name: &str) {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let now = json!({"gracePeriodSeconds": 0});
        match self.ask(Method::DELETE, &path, "application/json", &now, None).await {
            Ok(_) | Err(Refused { status: 404, .. }) => {}
            Err(refused) => panic!("{refused:?}"),
        }
    }

    /// Any request with a body.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: &Value,
        user: Option<&str>,
    ) -> Result<Value, Refused> {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.server))
            .bearer_auth(&self.token)
            .header(header::CONTENT_TYPE, kind)
            .body(body.to_string());
        if let Some(user) = user {
            request = request.header("Impersonate-User", user);
        }
        let lost = |error: reqwest::Error| Refused { status: 0, message: format!("{error:?}") };
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        let answer = response.bytes().await.map_err(lost)?;
        let answer: Value = serde_json::from_slice(&answer)
            .map_err(|_| Refused { status: status.as_u16(), message: String::from_utf8_lossy(&answer).into_owned() })?;
        if status.is_success() {
            return Ok(answer);
        }
        let message = answer["message"].as_str().unwrap_or_default().to_owned();
        Err(Refused { status: status.as_u16(), message })
    }
}

fn role(account: &Account) -> String {
    let (name, namespace) = (&account.name, &account.namespace);
    let group = "rbac.authorization.k8s.io";
    let rules = json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "get", "patch", "delete"]},
        {"apiGroups": [""], "resources": ["users", "serviceaccounts"], "verbs": ["impersonate"]},
    ]);
    let labels = json!({"cloakroom-tests": "own"});
    let role = json!({
        "apiVersion": format!("{group}/v1"), "kind": "ClusterRole",
        "metadata": {"name": "cloakroom-tests-maker", "labels": labels}, "rules": rules,
    });
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding",
        "metadata": {"name": "cloakroom-tests-maker", "labels": labels},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cloakroom-tests-maker"},
        "subjects": [
            {"kind": "ServiceAccount", "name": name, "namespace": namespace},
            // Whom it may be in the cases: nobody of them is a node to the API server, which asks for the group too.
            {"apiGroup": group, "kind": "User", "name": "system:node:node-1"},
            {"kind": "ServiceAccount", "name": "deployer", "namespace": "team-a"},
        ],
    });
    format!("{role}\n---\n{binding}\n")
}

/// A pod as it can be sent again: without what only the API server writes.
pub fn as_new(mut pod: Value) -> Value {
    if let Some(members) = pod.as_object_mut() {
        members.remove("status");
    }
    if let Some(metadata) = pod["metadata"].as_object_mut() {
        for member in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"] {
            metadata.remove(member);
        }
    }
    pod
}
