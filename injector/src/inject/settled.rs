//! An injected container as it comes back when the webhook is invoked again.
//!
//! Between two invocations the API server fills in its defaults, and its own admission plugins run again: they give
//! limits of a `LimitRange`, the policy of `AlwaysPullImages`, a uid of the namespace, the mount of the automatic token.
//! They do not run a third time, but they check at the end: taking any of it away would be a pod that is refused.

use serde_json::{Map, Value, json};

/// Where the `ServiceAccount` plugin mounts the automatic token into every container.
const AUTOMATIC_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What a `LimitRange` may give defaults for. None of them reaches more than the pod's own comfort.
const RANGED: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// `wanted` with what those plugins have given to `present`, where `wanted` leaves it open. A pod's author can write the
/// same, and has nothing from it but an agent that is slower or pulled more often.
pub(super) fn carried(mut wanted: Value, present: &Value) -> Value {
    if present.get("imagePullPolicy").and_then(Value::as_str) == Some("Always") {
        wanted["imagePullPolicy"] = "Always".into();
    }
    let uid = present.pointer("/securityContext/runAsUser").filter(|uid| uid.as_u64().is_some_and(|uid| uid > 0));
    if let (Some(uid), Some(security)) = (uid, wanted.get_mut("securityContext").and_then(Value::as_object_mut)) {
        security.entry("runAsUser").or_insert_with(|| uid.clone());
    }
    for kind in ["requests", "limits"] {
        let Some(more) = present.pointer(&format!("/resources/{kind}")).and_then(Value::as_object) else { continue };
        let Some(resources) = wanted.get_mut("resources").and_then(Value::as_object_mut) else { continue };
        for (name, amount) in more.iter().filter(|(name, amount)| RANGED.contains(&name.as_str()) && amount.is_string())
        {
            let of_kind = resources.entry(kind).or_insert_with(|| Value::Object(Map::new()));
            if let Some(of_kind) = of_kind.as_object_mut() {
                of_kind.entry(name).or_insert_with(|| amount.clone());
            }
        }
    }
    wanted
}

/// Whether `present` is `wanted`, but for fixed values that the API server has filled in.
pub(super) fn is_settled(present: &Value, wanted: &Value) -> bool {
    let mut present = present.clone();
    let Some(members) = present.as_object_mut() else { return false };
    drop_default(members, "terminationMessagePath", &json!("/dev/termination-log"));
    drop_default(members, "terminationMessagePolicy", &json!("File"));
    if let Some(probe) = members.get_mut("startupProbe").and_then(Value::as_object_mut) {
        drop_default(probe, "successThreshold", &json!(1));
    }
    if let Some(security) = members.get_mut("securityContext").and_then(Value::as_object_mut) {
        drop_default(security, "procMount", &json!("Default"));
    }
    if members.get("resizePolicy").and_then(Value::as_array).is_some_and(|all| all.iter().all(is_default_resize)) {
        members.remove("resizePolicy");
    }
    if let Some(mounts) = members.get_mut("volumeMounts").and_then(Value::as_array_mut) {
        mounts.retain(|mount| !is_automatic_token(mount));
    }
    present == *wanted
}

fn drop_default(members: &mut Map<String, Value>, name: &str, default: &Value) {
    if members.get(name) == Some(default) {
        members.remove(name);
    }
}

fn is_default_resize(policy: &Value) -> bool {
    policy.get("restartPolicy") == Some(&json!("NotRequired"))
}

fn is_automatic_token(mount: &Value) -> bool {
    let name = mount.get("name").and_then(Value::as_str).unwrap_or_default();
    let wanted = json!({"name": name, "mountPath": AUTOMATIC_TOKEN, "readOnly": true});
    name.starts_with("kube-api-access-") && *mount == wanted
}
