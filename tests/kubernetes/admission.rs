//! What stands between a write and the store: webhooks and policies that refuse, fail, or are away.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cloakroom_agent::backend::BackendError;
use cloakroom_agent::slots::Strategy;
use cloakroom_tests::cluster::Cluster;
use cloakroom_tests::https::Https;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::backend::{APP, HEARD, agent, eventually, id, onboard, put, read};

/// A webhook on writes of Secrets in the cases' namespaces; gone when it is dropped.
struct Webhook<'a> {
    cluster: &'a Cluster,
    server: Https,
}

impl<'a> Webhook<'a> {
    async fn new(cluster: &'a Cluster, status: Arc<AtomicU16>, fails: Arc<AtomicBool>) -> Self {
        let host: IpAddr = std::env::var("CLOAKROOM_TEST_HOST_ADDRESS").unwrap().parse().unwrap();
        let answer = Box::new(move |request: &http::Request<Bytes>| {
            if fails.load(Ordering::Relaxed) {
                let broken = Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR);
                return broken.body(Bytes::new()).unwrap();
            }
            let review: Value = serde_json::from_slice(request.body()).unwrap();
            let response = match status.load(Ordering::Relaxed) {
                0 => json!({"uid": review["request"]["uid"], "allowed": true}),
                code => json!({"uid": review["request"]["uid"], "allowed": false,
                               "status": {"code": code, "message": "canary-of-a-webhook"}}),
            };
            let review = json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response});
            Response::builder().header("Content-Type", "application/json").body(review.to_string().into()).unwrap()
        });
        let server = Https::serve(host, "webhook.test", answer).await;
        let (url, ca) = (server.address, STANDARD.encode(&server.ca));
        cluster.apply(&format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\n\
             metadata: {{name: cloakroom-test}}\nwebhooks:\n- name: secrets.cloakroom-test.dev\n  \
             clientConfig: {{url: \"https://{url}/\", caBundle: {ca}}}\n  admissionReviewVersions: [v1]\n  \
             sideEffects: None\n  failurePolicy: Fail\n  timeoutSeconds: 1\n  \
             namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: poc--eni--hyperion}}}}\n  rules:\n  \
             - {{apiGroups: [''], apiVersions: [v1], operations: [CREATE, UPDATE, DELETE], resources: [secrets]}}\n"
        ));
        Self { cluster, server }
    }
}

impl Drop for Webhook<'_> {
    fn drop(&mut self) {
        self.cluster.kubectl(&["delete", "validatingwebhookconfiguration", "cloakroom-test"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_a_webhook_that_refuses_fails_or_is_away_is_a_clear_refusal_and_nothing_is_half_written() {
    if Cluster::own().is_none() {
        return;
    }
    let (cluster, _account, agent) = agent();
    let backend = &*agent.backend;
    let client_secret = id("clientSecret");
    onboard(backend, APP, Strategy::Replace, &[("clientSecret", "one")]).await.unwrap();
    let (status, fails) = (Arc::<AtomicU16>::default(), Arc::<AtomicBool>::default());
    let webhook = Webhook::new(&cluster, Arc::clone(&status), Arc::clone(&fails)).await;
    // The API server takes a moment to hear of its webhook.
    eventually(HEARD, "the webhook is called", async || {
        put(backend, &client_secret, "two").await.unwrap();
        !webhook.server.calls().is_empty()
    })
    .await;

    // 0 would be taken for 400, which is what a webhook says that names no status.
    for (code, error) in [
        (400, BackendError::Rejected),
        (403, BackendError::Denied),
        (422, BackendError::Rejected),
        (418, BackendError::Misbehaved),
    ] {
        status.store(code, Ordering::Relaxed);
        assert_eq!(put(backend, &client_secret, "three").await, Err(error), "{code}");
        let merged = onboard(backend, APP, Strategy::Merge, &[("externalSecrets/a", "x")]).await;
        assert_eq!(merged.map(drop), Err(error), "{code}");
    }
    // It says "conflict" or "not found" of an object that is as it was: tried again in its bounds, then given up.
    for code in [404, 409] {
        status.store(code, Ordering::Relaxed);
        let before = webhook.server.calls().len();
        assert_eq!(put(backend, &client_secret, "three").await, Err(BackendError::Contention), "{code}");
        let calls = webhook.server.calls().len() - before;
        assert!((2..100).contains(&calls), "{code}: {calls}");
    }
    status.store(0, Ordering::Relaxed);

    fails.store(true, Ordering::Relaxed);
    let before = webhook.server.calls().len();
    let refused = put(backend, &client_secret, "three").await;
    assert!(matches!(refused, Err(BackendError::Unavailable { .. })), "{refused:?}");
    assert!(webhook.server.calls().len() - before < 20, "it is not hammered");
    fails.store(false, Ordering::Relaxed);
    assert_eq!(read(backend, &client_secret).await.as_deref(), Ok("two"), "what was there is there");
    put(backend, &client_secret, "four").await.unwrap();
    assert_eq!(read(backend, &client_secret).await.as_deref(), Ok("four"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_what_admission_refuses_is_refused_with_a_sentence_of_its_own() {
    let (cluster, _account, agent) = agent();
    let backend = &*agent.backend;
    onboard(backend, APP, Strategy::Replace, &[("clientSecret", "one")]).await.unwrap();
    cluster.apply(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\n\
         metadata: {name: cloakroom-test}\nspec:\n  failurePolicy: Fail\n  matchConstraints:\n    resourceRules:\n    \
         - {apiGroups: [''], apiVersions: [v1], operations: [UPDATE], resources: [secrets]}\n  \
         validations: [{expression: \"object.metadata.name != 'my-app'\"}]\n---\n\
         apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\n\
         metadata: {name: cloakroom-test}\nspec: {policyName: cloakroom-test, validationActions: [Deny]}\n",
    );
    let client_secret = id("clientSecret");
    eventually(HEARD, "admission refuses", async || {
        put(backend, &client_secret, "two").await == Err(BackendError::Rejected)
    })
    .await;
    let before = read(backend, &client_secret).await;
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        cluster.kubectl(&["delete", kind, "cloakroom-test"]);
    }
    assert!(before.is_ok(), "what is there is not touched");
    eventually(HEARD, "writes are taken again", async || put(backend, &client_secret, "three").await.is_ok()).await;
}
