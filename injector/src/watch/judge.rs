//! Whether a pod is missing the agent, as far as its metadata and its namespace's label tell.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Labels and annotations of the injector.
const INJECT: &str = "cloakroom.dev/inject";
const STATUS: &str = "cloakroom.dev/status";
const INJECTION: &str = "cloakroom.dev/injection";

/// A pod that the kubelet shows and nobody has made through the API.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The part of an object's metadata that is looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) uid: String,
    #[serde(default)]
    pub(super) resource_version: String,
    #[serde(default)]
    pub(super) deletion_timestamp: Option<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

/// What a namespace says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Enabled,
    Required,
    Disabled,
}

pub(super) fn rule(namespace: &Metadata) -> Option<Rule> {
    match namespace.labels.get(INJECTION).map(String::as_str) {
        Some("enabled") => Some(Rule::Enabled),
        Some("required") => Some(Rule::Required),
        Some("disabled") => Some(Rule::Disabled),
        _ => None,
    }
}

/// Whether the pod asked for the agent or had to have it, and does not say that it has.
pub(super) fn is_missing(pod: &Metadata, rule: Option<Rule>, own: &str) -> bool {
    let exempt = pod.namespace == own || pod.namespace.starts_with("kube-") || pod.annotations.contains_key(MIRROR);
    let injected = pod.annotations.get(STATUS).is_some_and(|status| status == "injected");
    if exempt || injected || pod.deletion_timestamp.is_some() {
        return false;
    }
    // The label wins.
    let asked = pod.labels.get(INJECT).or_else(|| pod.annotations.get(INJECT)).map(String::as_str);
    match rule {
        Some(Rule::Disabled) => false,
        Some(Rule::Required) => true,
        Some(Rule::Enabled) => asked != Some("false"),
        None => asked == Some("true"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn missing(metadata: Value, rule: Option<Rule>) -> bool {
        is_missing(&serde_json::from_value(metadata).unwrap(), rule, "cloakroom")
    }

    #[test]
    fn a_pod_is_missing_the_agent_if_it_asked_or_had_to_and_does_not_say_that_it_has() {
        let asks = json!({"namespace": "a", "annotations": {INJECT: "true"}});
        let plain = json!({"namespace": "a"});
        let declines = json!({"namespace": "a", "labels": {INJECT: "false"}, "annotations": {INJECT: "true"}});
        let has = json!({"namespace": "a", "labels": {INJECT: "true"}, "annotations": {STATUS: "injected"}});
        for (pod, none, enabled, required) in [
            (&asks, true, true, true),
            (&plain, false, true, true),
            (&declines, false, false, true),
            (&has, false, false, false),
        ] {
            assert_eq!(missing(pod.clone(), None), none, "{pod}");
            assert_eq!(missing(pod.clone(), Some(Rule::Enabled)), enabled, "{pod}");
            assert_eq!(missing(pod.clone(), Some(Rule::Required)), required, "{pod}");
            assert!(!missing(pod.clone(), Some(Rule::Disabled)), "{pod}");
        }
    }

    #[test]
    fn what_no_webhook_can_reach_is_not_counted() {
        for pod in [
            json!({"namespace": "cloakroom"}),
            json!({"namespace": "kube-system"}),
            json!({"namespace": "a", "annotations": {MIRROR: "x"}}),
            json!({"namespace": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}),
        ] {
            assert!(!missing(pod.clone(), Some(Rule::Required)), "{pod}");
        }
    }
}
