//! Whether the API server would take a pod: its types, and the rules about names that span a pod.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn texts<'a>(items: impl IntoIterator<Item = &'a Value>, member: &str) -> Vec<&'a str> {
    items.into_iter().map(|item| item[member].as_str().unwrap()).collect()
}

fn are_unique(names: &[&str]) -> bool {
    names.iter().collect::<BTreeSet<_>>().len() == names.len()
}

/// Asserts it. What is ours must also be known to the types: they drop what they do not know.
pub(crate) fn is_valid(pod: &Value) {
    let typed: Pod = serde_json::from_value(pod.clone()).unwrap();
    let back = serde_json::to_value(&typed).unwrap();
    let agent = |pod: &Value| {
        list(pod, "/spec/initContainers").iter().find(|container| container["name"] == "cloakroom-agent").cloned()
    };
    assert_eq!(agent(&back), agent(pod), "a member that no container has");
    let ours = |pod: &Value| -> Vec<Value> {
        let all = list(pod, "/spec/volumes").iter();
        all.filter(|volume| volume["name"].as_str().unwrap().starts_with("cloakroom-")).cloned().collect()
    };
    assert_eq!(ours(&back), ours(pod), "a member that no volume has");

    let containers = || list(pod, "/spec/initContainers").iter().chain(list(pod, "/spec/containers"));
    assert!(are_unique(&texts(containers(), "name")), "two containers of one name");
    let volumes = texts(list(pod, "/spec/volumes"), "name");
    assert!(are_unique(&volumes), "two volumes of one name");
    for container in containers() {
        let mounts = list(container, "/volumeMounts");
        assert!(are_unique(&texts(mounts, "mountPath")), "two mounts in one place");
    }
}
