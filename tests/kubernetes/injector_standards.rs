//! W8: a namespace that enforces the `restricted` standard, has quotas and limits, and is mandatory.

use cloakroom_tests::cluster::Cluster;
use cloakroom_tests::pods::{Asked, DRY_RUN};
use serde_json::{Value, json};

use super::backend::eventually;
use super::injection::{HEARD, Injection, is_of_policy, named};

const RESTRICTED: &str = "injection-restricted";

/// An application that the standard admits, with amounts of its own.
fn application() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("app-{}", std::process::id())},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "app", "image": "client:test",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}},
            }],
        },
    })
}

/// Quota and limits, and of the quota the status that a controller would write: without, admission takes nothing.
fn bounds(cluster: &Cluster, limits: Option<&Value>) {
    let hard = json!({
        "pods": "5", "requests.cpu": "1", "requests.memory": "1Gi", "limits.cpu": "4", "limits.memory": "1Gi",
    });
    let used =
        json!({"pods": "0", "requests.cpu": "0", "requests.memory": "0", "limits.cpu": "0", "limits.memory": "0"});
    let metadata = json!({"name": "bounds", "namespace": RESTRICTED});
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard}});
    cluster.apply(&quota.to_string());
    let status = json!({"status": {"hard": hard, "used": used}}).to_string();
    let patch = ["patch", "resourcequota", "bounds", "--subresource=status", "--type=merge", "-p", &status];
    cluster.kubectl(&[&["-n", RESTRICTED][..], &patch].concat());
    match limits {
        Some(limits) => {
            let range = json!({
                "apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": [limits]},
            });
            cluster.apply(&range.to_string());
        }
        None => drop(cluster.kubectl(&["-n", RESTRICTED, "delete", "limitrange", "bounds", "--ignore-not-found"])),
    }
}

fn agent(pod: &Value) -> &Value {
    pod["spec"]["initContainers"]
        .as_array()
        .and_then(|all| all.iter().find(|container| container["name"] == "cloakroom-agent"))
        .unwrap_or(&Value::Null)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w8_a_restricted_namespace_with_quota_and_limits_admits_an_injected_pod_and_no_other() {
    if Cluster::own().is_none() {
        return;
    }
    let labels = json!({
        "cloakroom.dev/injection": "required",
        "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest",
    });
    named(&Cluster::get(), &[(RESTRICTED.to_owned(), labels)]);
    let injection = Injection::new(&json!({}), 1).await;
    let (cluster, maker) = (&injection.cluster, &injection.maker);
    let limits = json!({
        "type": "Container", "default": {"cpu": "500m", "memory": "128Mi"},
        "defaultRequest": {"cpu": "50m", "memory": "32Mi"}, "max": {"cpu": "2", "memory": "512Mi"},
    });
    bounds(cluster, Some(&limits));

    let mut rooted = application();
    rooted["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
    eventually(HEARD, "the standard is enforced", async || {
        maker.create(RESTRICTED, &rooted, DRY_RUN).await.is_err_and(|refused| refused.message.contains("PodSecurity"))
    })
    .await;
    let name = application()["metadata"]["name"].as_str().unwrap().to_owned();
    let pod = maker.create(RESTRICTED, &application(), Asked::default()).await.unwrap();
    let (found, uid) = (agent(&pod).clone(), pod["spec"]["securityContext"]["runAsUser"].clone());
    let security = &found["securityContext"];
    assert_eq!((&security["readOnlyRootFilesystem"], &security["runAsNonRoot"]), (&true.into(), &true.into()));
    assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
    assert!(found["startupProbe"]["exec"].is_object() && found["startupProbe"]["httpGet"].is_null(), "no probe's host");
    assert_eq!(
        (uid, &pod["spec"]["containers"][0]["ports"]),
        (1000.into(), &Value::Null),
        "the application is as it was"
    );
    assert_eq!(found["resources"]["requests"], json!({"cpu": "5m", "memory": "16Mi"}), "ours, and not the namespace's");
    // What the profile leaves open is the namespace's to fill in; the quota then counts it.
    assert_eq!(found["resources"]["limits"], json!({"cpu": "500m", "memory": "64Mi"}));
    let used: Value = serde_json::from_str(&cluster.kubectl(&[
        "-n",
        RESTRICTED,
        "get",
        "resourcequota",
        "bounds",
        "-o",
        "jsonpath={.status.used}",
    ]))
    .unwrap();
    assert_eq!(
        (&used["pods"], &used["requests.cpu"], &used["limits.memory"]),
        (&"1".into(), &"105m".into(), &"128Mi".into())
    );
    maker.delete(RESTRICTED, &name).await;

    // Where nobody fills in a limit that the quota asks for, the refusal says so, and the pod or the profile can set it.
    bounds(cluster, None);
    let mut pod = application();
    let without = async || maker.create(RESTRICTED, &application(), DRY_RUN).await;
    eventually(HEARD, "the limits are gone", async || without().await.is_err()).await;
    let refused = without().await.unwrap_err();
    assert!(refused.message.contains("must specify limits.cpu for: cloakroom-agent"), "{refused:?}");
    pod["metadata"]["annotations"] = json!({"cloakroom.dev/resources": "{limits: {cpu: 100m}}"});
    let pod = maker.create(RESTRICTED, &pod, DRY_RUN).await.unwrap();
    assert_eq!(agent(&pod)["resources"]["limits"], json!({"cpu": "100m", "memory": "64Mi"}));

    // The policy is at work here too: a later webhook that took the agent out again would end like this.
    let mut windows = application();
    windows["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "windows"});
    let refused = maker.create(RESTRICTED, &windows, DRY_RUN).await.unwrap_err();
    assert!(is_of_policy(&refused), "{refused:?}");
}
