//! Made up pods: whatever somebody writes, nothing is lost, twice is once, and the result is a pod.

use std::collections::BTreeSet;

use cloakroom_injector::inject::{Decision, Entry, Operation, Request};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::{checks, schema};

/// Few names, so that they meet; ours among them.
fn container_name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-d]",
        3 => Just("cloakroom-agent".to_owned()),
        1 => Just("cloakroom-install".to_owned()),
        1 => Just("istio-proxy".to_owned()),
    ]
}

fn volume_name() -> impl Strategy<Value = String> {
    let ours = ["cloakroom-socket", "cloakroom-kube", "cloakroom-conjur", "cloakroom-files"];
    prop_oneof![6 => "[v-z]", 2 => proptest::sample::select(ours.to_vec()).prop_map(str::to_owned)]
}

/// A key or value in which anything can stand that a pointer or a string has to escape.
fn odd() -> impl Strategy<Value = String> {
    prop_oneof![r#"[a-z~/"\\$(){}. é🔑]{1,12}"#, "[a-z]{1,8}\\.example/[a-z~]{1,8}"]
}

fn ours() -> impl Strategy<Value = (String, String)> {
    let pairs = [
        ("inject", "true"),
        ("inject", "false"),
        ("profile", "conjur"),
        ("profile", "locked"),
        ("profile", "metrics"),
        ("containers", "a,b"),
        ("containers", "[c]"),
        ("after", "istio-proxy"),
        ("after", "a"),
        ("resources", "{limits: {cpu: 1}}"),
        ("log-level", "debug"),
        ("share-process-namespace", "acknowledged"),
        ("status", "injected"),
        ("mode", "sidecar"),
        ("mode", "exec"),
        ("unknown", "x"),
    ];
    proptest::sample::select(pairs.to_vec()).prop_map(|(key, value)| (format!("cloakroom.dev/{key}"), value.to_owned()))
}

fn mount() -> impl Strategy<Value = Value> {
    let places = ["/data", "/run", "/run/cloakroom", "/tmp", "/var/run/secrets/cloakroom/kube", "/steal"];
    (volume_name(), proptest::sample::select(places.to_vec()), any::<bool>())
        .prop_map(|(name, place, read_only)| json!({"name": name, "mountPath": place, "readOnly": read_only}))
}

fn container() -> impl Strategy<Value = Value> {
    (container_name(), option::of(vec(mount(), 0..4)), any::<bool>(), btree_map(odd(), odd(), 0..3)).prop_map(
        |(name, mounts, is_sidecar, environment)| {
            let environment: Vec<Value> =
                environment.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            let mut container = json!({"name": name, "image": "example/image:1", "env": environment});
            if let Some(mounts) = mounts {
                container["volumeMounts"] = mounts.into();
            }
            if is_sidecar {
                container["restartPolicy"] = "Always".into();
            }
            container
        },
    )
}

fn volume() -> impl Strategy<Value = Value> {
    (volume_name(), any::<bool>()).prop_map(|(name, is_host)| {
        if is_host { json!({"name": name, "hostPath": {"path": "/"}}) } else { json!({"name": name, "emptyDir": {}}) }
    })
}

fn security() -> impl Strategy<Value = Value> {
    let groups = option::of(vec(prop_oneof![Just(65533_i64), 1..5000_i64], 0..3));
    (groups, option::of(0..2000_i64)).prop_map(|(groups, fs_group)| {
        let mut context = json!({});
        if let Some(groups) = groups {
            context["supplementalGroups"] = groups.into();
        }
        if let Some(group) = fs_group {
            context["fsGroup"] = group.into();
        }
        context
    })
}

prop_compose! {
    fn pod()(
        containers in vec(container(), 1..4),
        init in option::of(vec(container(), 0..4)),
        volumes in option::of(vec(volume(), 0..4)),
        security in option::of(security()),
        labels in option::of(btree_map(odd(), odd(), 0..3)),
        annotations in option::of(btree_map(odd(), odd(), 0..3)),
        ours in vec(ours(), 0..3),
        (network, processes) in (proptest::bool::weighted(0.2), proptest::bool::weighted(0.1)),
    ) -> Value {
        let mut spec = Map::new();
        spec.insert("containers".to_owned(), containers.into());
        let mut put = |name: &str, value: Option<Value>| if let Some(value) = value {
            spec.insert(name.to_owned(), value);
        };
        put("initContainers", init.map(Value::from));
        put("volumes", volumes.map(Value::from));
        put("securityContext", security);
        put("hostNetwork", network.then_some(true.into()));
        put("shareProcessNamespace", processes.then_some(true.into()));
        let mut annotations = annotations.map(|map| map.into_iter().map(|(key, value)| (key, value.into())).collect());
        for (key, value) in ours {
            annotations.get_or_insert_with(Map::new).insert(key, value.into());
        }
        let mut metadata = json!({"name": "made-up"});
        if let Some(annotations) = annotations {
            metadata["annotations"] = Value::Object(annotations);
        }
        if let Some(labels) = labels {
            metadata["labels"] = labels.into_iter().map(|(key, value)| (key, Value::from(value))).collect();
        }
        json!({"metadata": metadata, "spec": spec})
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    proptest::sample::select(vec![Entry::Asked, Entry::Enabled, Entry::Required])
}

/// JSON of any shape, with the words of a pod in it more often than chance would have them.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        odd().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let words = [
            "metadata",
            "spec",
            "annotations",
            "labels",
            "containers",
            "initContainers",
            "volumes",
            "volumeMounts",
            "name",
            "securityContext",
            "supplementalGroups",
            "mountPath",
            "resources",
            "limits",
            "ports",
        ];
        let key = proptest::sample::select(words.to_vec()).prop_map(str::to_owned);
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(key, inner, 0..6).prop_map(|map| { map.into_iter().collect::<Value>() })
        ]
    })
}

/// Whether names that are the user's are there once: what is twice is the API server's to refuse.
fn names_are_unique(pod: &Value) -> bool {
    let list = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default();
    let own = |items: &[Value], member: &str| -> Vec<String> {
        let is_own = |item: &&Value| !item["name"].as_str().unwrap_or_default().starts_with("cloakroom-");
        items.iter().filter(is_own).map(|item| item[member].to_string()).collect()
    };
    let are_unique = |names: Vec<String>| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    let containers = [list(pod, "/spec/containers"), list(pod, "/spec/initContainers")].concat();
    are_unique(own(&containers, "name"))
        && are_unique(own(&list(pod, "/spec/volumes"), "name"))
        && containers.iter().all(|container| are_unique(own(&list(container, "/volumeMounts"), "mountPath")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn w2_whatever_a_pod_is_nothing_is_lost_and_twice_is_once(
        pod in pod(),
        entry in entry(),
        namespace in proptest::sample::select(vec!["team-a", "banking", "openshift-app"]),
    ) {
        let request = Request { namespace, user: "somebody", entry, operation: Operation::Create };
        let (decision, patched) = checks::decided(&pod, &request, checks::settings());
        if matches!(decision, Decision::Patched { .. }) && names_are_unique(&pod) {
            schema::is_valid(&patched);
        }
    }

    #[test]
    fn what_is_not_read_of_a_review_would_have_changed_nothing(pod in pod()) {
        checks::review_body(pod.to_string().as_bytes());
    }

    #[test]
    fn n11_whatever_is_sent_there_is_an_answer(pod in anything(), entry in entry()) {
        let request = Request { namespace: "team-a", user: "somebody", entry, operation: Operation::Create };
        checks::decided(&pod, &request, checks::settings());
    }
}
