//! `check`: whether a pod that asks would get its agent, asked of the API server itself, and which nodes are too old.
//!
//! The pod is made as a dry run, so that the way is the real one (the API server must reach the injector, and trust it)
//! and nothing is left of it.

use std::fmt;
use std::time::Duration;

use cloakroom_agent::kubernetes::{ApiServer, CallError, MINOR_MIN};
use http::{Request, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

/// More than an API server waits for a webhook.
const WITHIN: Duration = Duration::from_secs(35);

/// The oldest kubelet that starts native sidecars without being told to.
const KUBELET_MINOR_MIN: u32 = 29;

/// Nodes of one page; few clusters have more.
const PAGE: usize = 500;

/// Pages that are read.
const PAGES_MAX: usize = 100;

/// What was found, in the order in which it is told.
#[derive(Debug)]
pub struct Findings(Vec<Finding>);

/// One sentence.
#[derive(Debug)]
struct Finding {
    good: bool,
    text: String,
}

impl Findings {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn good(&self) -> bool {
        self.0.iter().all(|finding| finding.good)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.0 {
            writeln!(f, "{}: {}", if finding.good { "ok" } else { "not so" }, finding.text)?;
        }
        Ok(())
    }
}

fn ok(text: String) -> Finding {
    Finding { good: true, text }
}

fn wrong(text: String) -> Finding {
    Finding { good: false, text }
}

/// Looks at everything; what is wrong hides nothing behind it.
pub async fn check(api: &ApiServer, namespace: &str) -> Findings {
    Findings(vec![server(api).await, nodes(api).await, injection(api, namespace).await])
}

async fn server(api: &ApiServer) -> Finding {
    match api.minor_version(WITHIN).await {
        Ok(minor) if minor >= MINOR_MIN => ok(format!("the API server is 1.{minor}")),
        Ok(minor) => wrong(format!("the API server is 1.{minor}; Cloakroom needs 1.{MINOR_MIN} or newer")),
        Err(error) => wrong(format!("the version of the API server: {error}")),
    }
}

#[derive(Deserialize)]
struct Nodes {
    metadata: Page,
    items: Vec<Node>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default, rename = "continue")]
    next: String,
}

#[derive(Deserialize)]
struct Node {
    metadata: Named,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeStatus {
    #[serde(default)]
    node_info: NodeInfo,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeInfo {
    #[serde(default)]
    kubelet_version: String,
}

async fn nodes(api: &ApiServer) -> Finding {
    let nodes = match all_nodes(api).await {
        Ok(nodes) => nodes,
        Err(error) => return wrong(format!("the list of nodes: {error}")),
    };
    let too_old: Vec<String> = nodes
        .iter()
        .filter(|node| is_too_old(&node.status.node_info.kubelet_version))
        .map(|node| format!("{} ({})", node.metadata.name, node.status.node_info.kubelet_version))
        .collect();
    if too_old.is_empty() {
        return ok(format!("{} nodes, all new enough for native sidecars", nodes.len()));
    }
    wrong(format!(
        "nodes too old for native sidecars (kubelet below 1.{KUBELET_MINOR_MIN}); a pod with an agent does not get \
         ready there: {}",
        too_old.join(", ")
    ))
}

async fn all_nodes(api: &ApiServer) -> Result<Vec<Node>, CallError> {
    let (mut all, mut next) = (Vec::new(), String::new());
    for _ in 0..PAGES_MAX {
        let from = percent_encoding::utf8_percent_encode(&next, percent_encoding::NON_ALPHANUMERIC);
        let request = Request::get(format!("/api/v1/nodes?limit={PAGE}&continue={from}"));
        let answer = api.call(request.body(Vec::new()).map_err(|_| CallError::Misbehaved)?, WITHIN).await?;
        if answer.status != StatusCode::OK {
            return Err(CallError::Misbehaved);
        }
        let nodes: Nodes = answer.json()?;
        all.extend(nodes.items);
        next = nodes.metadata.next;
        if next.is_empty() {
            break;
        }
    }
    Ok(all)
}

/// `v1.28.3` and such. What cannot be read is not called old.
fn is_too_old(version: &str) -> bool {
    let mut parts = version.trim_start_matches('v').split('.').map(str::parse::<u32>);
    matches!((parts.next(), parts.next()), (Some(Ok(1)), Some(Ok(minor))) if minor < KUBELET_MINOR_MIN)
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pod {
    #[serde(default)]
    spec: PodSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    init_containers: Vec<Named>,
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
}

async fn injection(api: &ApiServer, namespace: &str) -> Finding {
    let what = format!("a pod in namespace {namespace} that asks for the agent (a dry run)");
    let answer = match ask(api, namespace).await {
        Ok(answer) => answer,
        // The answer to a webhook that cannot be called is 500.
        Err(CallError::Failed) => {
            return wrong(format!(
                "{what} is refused, because the API server cannot call the injector: is a replica ready \
                 (kubectl get pods), and may the control plane reach its port?"
            ));
        }
        Err(error) => return wrong(format!("{what}: {error}")),
    };
    if answer.status != StatusCode::CREATED {
        let said: Refusal = answer.json().unwrap_or_default();
        return wrong(format!("{what} is refused: {}", said.message.escape_debug()));
    }
    let pod: Pod = answer.json().unwrap_or_default();
    if pod.spec.init_containers.iter().any(|container| container.name == "cloakroom-agent") {
        return ok(format!("{what} gets it"));
    }
    wrong(format!(
        "{what} does not get it: is the namespace labelled cloakroom.dev/injection=disabled or excluded, or does \
         the webhook's failurePolicy ignore that no injector answers?"
    ))
}

async fn ask(api: &ApiServer, namespace: &str) -> Result<cloakroom_agent::kubernetes::Answer, CallError> {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "cloakroom-check-", "labels": {"cloakroom.dev/inject": "true"}},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "check",
                "image": "check",
                "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1m", "memory": "1Mi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    });
    let request = Request::post(format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(pod.to_string().into_bytes())
        .map_err(|_| CallError::Misbehaved)?;
    api.call(request, WITHIN).await
}

#[cfg(test)]
mod tests {
    use super::is_too_old;

    #[test]
    fn a_kubelet_below_the_floor_is_too_old_and_one_that_says_something_else_is_not_called_so() {
        for version in ["v1.28.15", "v1.9.0", "1.28.3-eks-1"] {
            assert!(is_too_old(version), "{version}");
        }
        for version in ["v1.29.0", "v1.34.0+k3s1", "v2.1.0", "", "devel"] {
            assert!(!is_too_old(version), "{version}");
        }
    }
}
