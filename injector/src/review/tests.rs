//! Reviews as API servers send them, and as nobody should.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Outcome, Verdict, answer};
use crate::inject::Entry;
use crate::profile::Settings;

fn review(change: impl FnOnce(&mut Value)) -> Value {
    let mut review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE", "namespace": "team", "userInfo": {"username": "canary-user"},
            "object": {
                "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "canary-"},
                "spec": {"containers": [{"name": "app", "image": "app"}]},
            },
            "oldObject": null, "dryRun": false, "options": {"kind": "CreateOptions"},
        },
    });
    change(&mut review);
    review
}

fn ask(body: &[u8]) -> Verdict {
    let settings = "{image: cloakroom:1, profiles: {default: {config: {backend: {kind: kubernetes}}}}}";
    answer(body, Entry::Asked, &Settings::parse(settings).unwrap())
}

fn response(verdict: &Verdict) -> Value {
    let Outcome::Answer(body) = &verdict.outcome else { panic!("{verdict:?}") };
    let review: Value = serde_json::from_slice(body).unwrap();
    assert_eq!((&review["apiVersion"], &review["kind"]), (&json!("admission.k8s.io/v1"), &json!("AdmissionReview")));
    review["response"].clone()
}

#[test]
fn what_deletes_or_connects_to_a_pod_is_left_alone_though_it_has_no_pod_to_show() {
    let deletes = |review: &mut Value| {
        review["request"]["operation"] = json!("DELETE");
        review["request"]["oldObject"] = review["request"]["object"].take();
    };
    let connects = |review: &mut Value| {
        review["request"]["operation"] = json!("CONNECT");
        review["request"]["subResource"] = json!("exec");
        review["request"]["object"] = json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh"]});
        review["request"]["kind"]["kind"] = json!("PodExecOptions");
    };
    for change in [&deletes as &dyn Fn(&mut Value), &connects] {
        let verdict = ask(review(change).to_string().as_bytes());
        assert_eq!((verdict.decision, verdict.reason), ("allowed", "not_create"));
        assert_eq!(response(&verdict)["allowed"], true);
    }
}

#[test]
fn w1_what_is_no_review_is_malformed_and_nothing_of_it_comes_back() {
    for (body, reason) in [
        (Vec::new(), "not-json"),
        (b"canary".to_vec(), "not-json"),
        (b"{\"canary\":".to_vec(), "not-json"),
        (vec![b'['; 100_000], "not-a-review"),
        (b"[]".to_vec(), "not-a-review"),
        (b"\"canary\"".to_vec(), "not-a-review"),
        (b"{}".to_vec(), "not-a-review"),
        (review(|review| review["request"] = Value::Null).to_string().into_bytes(), "no-request"),
        (review(|review| review["request"] = json!("canary")).to_string().into_bytes(), "not-a-review"),
        (review(|review| review["request"]["uid"] = Value::Null).to_string().into_bytes(), "no-uid"),
        (review(|review| review["request"]["uid"] = json!("")).to_string().into_bytes(), "no-uid"),
        (review(|review| review["request"]["uid"] = json!(7)).to_string().into_bytes(), "not-a-review"),
        (review(|review| review["request"]["uid"] = json!("canary".repeat(100))).to_string().into_bytes(), "no-uid"),
        (review(|review| review["kind"] = json!("Canary")).to_string().into_bytes(), "not-a-review"),
        (
            review(|review| review["apiVersion"] = json!("admission.k8s.io/v1beta1")).to_string().into_bytes(),
            "other-version",
        ),
    ] {
        let verdict = ask(&body);
        assert_eq!((verdict.decision, verdict.reason), ("refused", reason), "{}", String::from_utf8_lossy(&body));
        let Outcome::Malformed(sentence) = verdict.outcome else { panic!("{reason}") };
        assert!(!sentence.contains("canary"));
    }
}

#[test]
fn w1_what_is_no_pod_is_denied_with_the_same_uid() {
    for (change, reason) in [
        (json!({"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}}), "not-a-pod"),
        (json!({"kind": null}), "not-a-pod"),
        (json!({"object": null}), "not-a-pod"),
        (json!({"object": "canary"}), "not-a-pod"),
        (json!({"object": {"metadata": {}}}), "not-a-pod"),
        (json!({"object": {"metadata": {}, "spec": {"containers": null}}}), "no-containers"),
        (json!({"object": {"metadata": {}, "spec": {"containers": []}}}), "no-containers"),
        (json!({"object": {"metadata": {}, "spec": {"containers": "canary"}}}), "no-containers"),
        (json!({"object": vec![0; 300_000]}), "too-much"),
    ] {
        let body = review(|review| {
            for (key, value) in change.as_object().unwrap() {
                review["request"][key] = value.clone();
            }
        });
        let verdict = ask(body.to_string().as_bytes());
        assert_eq!((verdict.decision, verdict.reason), ("denied", reason));
        let response = response(&verdict);
        assert_eq!((&response["uid"], &response["allowed"]), (&body["request"]["uid"], &json!(false)));
        assert!(!response.to_string().contains("canary"), "{response}");
    }
}

#[test]
fn a_pod_with_a_name_that_is_still_to_be_generated_is_a_pod() {
    let body = review(|_| {});
    let verdict = ask(body.to_string().as_bytes());
    let response = response(&verdict);
    assert_eq!(response["uid"], body["request"]["uid"]);
    assert_ne!(verdict.decision, "refused");
}

#[test]
fn w3_a_dry_run_is_answered_alike() {
    let said = |dry: bool| {
        let body = review(|review| review["request"]["dryRun"] = dry.into());
        response(&ask(body.to_string().as_bytes()))
    };
    assert_eq!(said(true), said(false));
}

#[test]
fn a_part_of_a_pod_is_left_alone() {
    let body = review(|review| {
        review["request"]["subResource"] = "ephemeralcontainers".into();
        review["request"]["object"] = json!({"metadata": {}});
    });
    let verdict = ask(body.to_string().as_bytes());
    assert_eq!((verdict.decision, verdict.reason), ("allowed", "subresource"));
    assert_eq!(response(&verdict)["allowed"], true);
}

#[test]
fn a_patch_travels_as_base64_of_its_json() {
    let response = super::Response::patched(br#"[{"op":"add","path":"/a","value":1}]"#);
    let response = serde_json::to_value(response).unwrap();
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&patch).unwrap()[0]["op"], "add");
}
