//! What must hold of every pod: shared by the fuzz targets, the golden pods and the made up ones.
#![allow(dead_code, reason = "each target uses some of them")]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_agent::config::Config;
use cloakroom_injector::inject::{Decision, Entry, Operation, Reason, Request, inject};
use cloakroom_injector::profile::Settings;
use cloakroom_injector::review::{self, Outcome};
use serde_json::{Value, json};

const AGENT: &str = "cloakroom-agent";
const OURS: [&str; 2] = [AGENT, "cloakroom-install"];
const WRAP: [&str; 3] = ["/cloakroom/bin/cloakroom", "exec", "--"];
const LISTS: [&str; 2] = ["/spec/initContainers", "/spec/containers"];

/// The settings of the golden pods.
pub(crate) fn settings() -> &'static Settings {
    static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
        Settings::parse(include_str!("../tests/golden/settings.yaml")).expect("the settings must be right")
    });
    &SETTINGS
}

/// Decides, applies, and asserts everything that does not depend on the pod: what comes out, and the pod then.
pub(crate) fn decided(pod: &Value, request: &Request<'_>, settings: &Settings) -> (Decision, Value) {
    let decision = inject(pod, request, settings);
    let patched = applied(pod, &decision);
    match &decision {
        Decision::Denied(denial) => says_nothing_of(&denial.to_string(), pod),
        Decision::Untouched(_) => {}
        Decision::Patched { patch, reason } => {
            assert!(!patch.is_empty(), "a patch that does nothing");
            nothing_is_removed(pod, &patched);
            is_right(&patched, settings);
            let again = Decision::Untouched(Reason::AlreadyInjected);
            assert_eq!(inject(&patched, request, settings), again, "twice is not once");
            let filled = defaulted(&patched);
            assert_eq!(inject(&filled, request, settings), again, "the API server's defaults are taken for a change");
            survives_others(&patched, request, settings);
            assert!(matches!(reason, Reason::Pod | Reason::Namespace | Reason::Required));
        }
    }
    (decision, patched)
}

/// The pod with the patch, which a library applies that has not made it.
pub(crate) fn applied(pod: &Value, decision: &Decision) -> Value {
    let mut patched = pod.clone();
    if let Decision::Patched { patch, .. } = decision {
        let patch: json_patch::Patch =
            serde_json::from_value(serde_json::to_value(patch).expect("a patch is JSON")).expect("a patch is RFC 6902");
        json_patch::patch(&mut patched, &patch).expect("the patch must apply");
    }
    patched
}

/// Another webhook has moved and added containers: the agent goes back, and all is well again.
fn survives_others(injected: &Value, request: &Request<'_>, settings: &Settings) {
    for turn in 0..3 {
        let mut moved = injected.clone();
        if let Some(init) = moved.pointer_mut("/spec/initContainers").and_then(Value::as_array_mut) {
            if turn > 0 {
                init.insert(0, json!({"name": "of-another-webhook", "image": "x", "restartPolicy": "Always"}));
            }
            if turn > 1 {
                init.reverse();
            }
            init.rotate_left(1);
        }
        if let Some(containers) = moved.pointer_mut("/spec/containers").and_then(Value::as_array_mut) {
            containers.rotate_left(1);
        }
        let decision = inject(&moved, request, settings);
        let back = applied(&moved, &decision);
        // One that is named in `containers` may be in front of the one in `after` now.
        if matches!(decision, Decision::Denied(_)) {
            continue;
        }
        nothing_is_removed(&moved, &back);
        is_right(&back, settings);
        assert_eq!(inject(&back, request, settings), Decision::Untouched(Reason::AlreadyInjected));
    }
}

fn list<'a>(pod: &'a Value, path: &str) -> &'a [Value] {
    pod.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn name(entry: &Value) -> &str {
    entry.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// A pod without everything whose name is reserved and without what an injection may add to.
fn own(pod: &Value) -> Value {
    let mut own = pod.clone();
    let is_own = |entry: &Value| !name(entry).starts_with("cloakroom-");
    let is_own_container = |entry: &Value| !OURS.contains(&name(entry));
    for path in LISTS {
        let Some(containers) = own.pointer_mut(path).and_then(Value::as_array_mut) else { continue };
        containers.retain(is_own_container);
        for container in containers {
            if let Some(mounts) = container.get_mut("volumeMounts").and_then(Value::as_array_mut) {
                mounts.retain(is_own);
            }
            drop_empty(container, "volumeMounts");
            // What stands before a command of the user's is no loss.
            if let Some(command) = container.get_mut("command").and_then(Value::as_array_mut)
                && command.starts_with(&WRAP.map(Value::from))
            {
                command.drain(..WRAP.len());
            }
        }
    }
    if let Some(volumes) = own.pointer_mut("/spec/volumes").and_then(Value::as_array_mut) {
        volumes.retain(is_own);
    }
    if let Some(groups) = own.pointer_mut("/spec/securityContext/supplementalGroups").and_then(Value::as_array_mut) {
        groups.retain(|group| *group != 65533);
    }
    if let Some(annotations) = own.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove("cloakroom.dev/status");
    }
    for (path, member) in [
        ("/spec/securityContext", "supplementalGroups"),
        ("/spec", "securityContext"),
        ("/spec", "volumes"),
        ("/spec", "initContainers"),
        ("/metadata", "annotations"),
        ("", "metadata"),
    ] {
        if let Some(parent) = own.pointer_mut(path) {
            drop_empty(parent, member);
        }
    }
    own
}

/// Absent, null and empty say the same to the API server.
fn drop_empty(parent: &mut Value, member: &str) {
    let Some(members) = parent.as_object_mut() else { return };
    let is_empty = match members.get(member) {
        Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(object)) => object.is_empty(),
        _ => false,
    };
    if is_empty {
        members.remove(member);
    }
}

/// Everything of the user's is there, in its order.
fn nothing_is_removed(before: &Value, after: &Value) {
    assert_eq!(own(before), own(after), "something of the user's has changed");
    let groups = "/spec/securityContext/supplementalGroups";
    assert!(list(after, groups).starts_with(list(before, groups)));
}

/// One agent, in full, and what it needs; nobody else has its tokens.
fn is_right(pod: &Value, settings: &Settings) {
    let init = list(pod, "/spec/initContainers");
    let agents: Vec<&Value> = init.iter().filter(|container| name(container) == AGENT).collect();
    let [agent] = agents.as_slice() else { panic!("there are {} agents", agents.len()) };
    assert!(!list(pod, "/spec/containers").iter().any(|container| name(container) == AGENT));
    assert_eq!(agent["image"], settings.image);
    let stays = agent["command"] == json!(["cloakroom", "agent"]);
    assert!(stays && agent["restartPolicy"] == "Always" || agent["command"] == json!(["cloakroom", "render"]));
    assert_eq!(agent["env"].as_array().map(Vec::len), Some(1));
    is_config(agent["env"][0]["value"].as_str().expect("the configuration is a literal"));
    let restricted = json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true,
        "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"},
    });
    for (member, value) in restricted.as_object().into_iter().flatten() {
        assert_eq!(&agent["securityContext"][member], value, "{member}");
    }
    for volume in list(pod, "/spec/volumes").iter().filter(|volume| name(volume).starts_with("cloakroom-")) {
        let is_ours = volume.get("projected").is_some() || volume.pointer("/emptyDir/medium") == Some(&json!("Memory"));
        assert!(is_ours && volume.as_object().is_some_and(|members| members.len() == 2), "a forged volume");
    }
    let volumes: Vec<&str> = list(pod, "/spec/volumes").iter().map(name).collect();
    for path in LISTS {
        for container in list(pod, path) {
            let reserved: Vec<&Value> =
                list(container, "/volumeMounts").iter().filter(|mount| name(mount).starts_with("cloakroom-")).collect();
            assert!(reserved.iter().all(|mount| volumes.contains(&name(mount))), "a mount without a volume");
            if name(container) != AGENT {
                assert!(
                    reserved.iter().all(|mount| is_for_applications(name(container), mount)),
                    "an agent's own mount"
                );
            }
        }
    }
    assert!(list(pod, "/spec/securityContext/supplementalGroups").contains(&settings.group.into()));
    assert_eq!(pod.pointer("/metadata/annotations/cloakroom.dev~1status"), Some(&json!("injected")));
}

/// What containers other than the agent may mount of ours.
fn is_for_applications(container: &str, mount: &Value) -> bool {
    let places = [
        ("cloakroom-socket", "/run/cloakroom"),
        ("cloakroom-files", "/cloakroom/files"),
        ("cloakroom-bin", "/cloakroom/bin"),
    ];
    places.iter().any(|(volume, path)| {
        let own = container == "cloakroom-install" && *volume == "cloakroom-bin";
        let place = json!({"name": volume, "mountPath": path});
        let read_only = json!({"name": volume, "mountPath": path, "readOnly": true});
        *mount == read_only || own && *mount == place
    })
}

/// The agent takes it, as the kubelet hands it on.
fn is_config(text: &str) {
    assert!(!text.replace("$$", "").contains('$'), "the kubelet would expand a variable");
    let config = Config::parse(&text.replace("$$", "$"));
    assert!(config.is_ok(), "{}", config.unwrap_err());
}

/// A sentence must not repeat what the pod holds, but for names that look like names.
fn says_nothing_of(sentence: &str, pod: &Value) {
    assert!(sentence.len() < 1000 && !sentence.contains('\n'), "{sentence}");
    let text = pod.to_string();
    let long = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).filter(|word| word.len() >= 32);
    for word in long {
        assert!(!sentence.contains(word), "a sentence repeats the pod");
    }
}

/// A pod as it comes back to a webhook that is invoked again: with the API server's defaults in our container, a limit
/// of a `LimitRange` and the mount of the automatic token.
pub(crate) fn defaulted(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let init = pod.pointer_mut("/spec/initContainers").and_then(Value::as_array_mut);
    for agent in init.into_iter().flatten().filter(|container| OURS.contains(&name(container))) {
        agent["terminationMessagePath"] = "/dev/termination-log".into();
        agent["terminationMessagePolicy"] = "File".into();
        if let Some(probe) = agent.get_mut("startupProbe") {
            probe["successThreshold"] = 1.into();
        }
        agent["resizePolicy"] = json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}]);
        if agent["resources"]["limits"]["cpu"].is_null() {
            agent["resources"]["limits"]["cpu"] = "500m".into();
        }
        let token = json!({"name": "kube-api-access-x7k2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true});
        if let Some(mounts) = agent["volumeMounts"].as_array_mut() {
            mounts.push(token);
        }
    }
    pod
}

/// A review's body, or a pod by itself: it goes through the server's own parser, whatever it is there is an answer, and
/// what is patched is right.
pub(crate) fn review_body(data: &[u8]) {
    for entry in [Entry::Asked, Entry::Enabled, Entry::Required] {
        answered(data, entry);
    }
    // What is JSON and no review is taken for a pod: then the fuzzer need not find the envelope to get to the core.
    if let Ok(pod @ Value::Object(_)) = serde_json::from_slice::<Value>(data)
        && pod.get("request").is_none()
    {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u", "operation": "CREATE", "namespace": "team-a", "userInfo": {"username": "somebody"},
                "kind": {"group": "", "version": "v1", "kind": "Pod"}, "object": pod,
            },
        });
        answered(review.to_string().as_bytes(), Entry::Enabled);
    }
}

/// Asserts of one review's answer what does not depend on the review.
fn answered(data: &[u8], entry: Entry) {
    let verdict = review::answer(data, entry, settings());
    assert!(["allowed", "patched", "denied", "refused"].contains(&verdict.decision), "{}", verdict.decision);
    let answer = match verdict.outcome {
        Outcome::Broken => panic!("the core has panicked, and an API server would have seen a webhook that failed"),
        Outcome::Malformed(sentence) => {
            assert!(sentence.len() < 200, "{sentence}");
            return;
        }
        Outcome::Answer(answer) => serde_json::from_slice::<Value>(&answer).expect("an answer must be JSON"),
    };
    assert_eq!((&answer["apiVersion"], &answer["kind"]), (&json!("admission.k8s.io/v1"), &json!("AdmissionReview")));
    let response = &answer["response"];
    assert_eq!(response["allowed"], verdict.decision != "denied", "the metric says something else than the answer");
    assert_eq!(response.get("patch").is_some(), verdict.decision == "patched");
    // What is skipped over is not looked into: an unread text that is no UTF-8 is nobody's business.
    let Ok(body) = serde_json::from_slice::<Value>(data) else { return };
    let request = &body["request"];
    assert_eq!(response["uid"], request["uid"], "another review's answer");
    let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match verdict.decision {
        "denied" => says_nothing_of(response["status"]["message"].as_str().unwrap_or_default(), &request["object"]),
        "patched" => {
            // By the way that an API server goes, and by the core alone, one comes to the same pod.
            let patch = STANDARD.decode(response["patch"].as_str().unwrap_or_default()).expect("a patch is base64");
            let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a patch is RFC 6902");
            let mut patched = request["object"].clone();
            json_patch::patch(&mut patched, &patch).expect("the patch must apply");
            let (namespace, user) = (text("/namespace"), text("/userInfo/username"));
            let request = Request { namespace, user, entry, operation: Operation::Create };
            assert_eq!(decided(&body["request"]["object"], &request, settings()).1, patched);
        }
        _ => {}
    }
}

/// Lines of `key=value` as the annotations of a pod that is otherwise in order.
pub(crate) fn annotations(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut pod = json!({
        "metadata": {"annotations": {}},
        "spec": {
            "initContainers": [{"name": "proxy", "restartPolicy": "Always"}, {"name": "migrate"}],
            "containers": [{"name": "web", "command": ["web"]}, {"name": "log", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        },
    });
    for line in text.lines() {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        pod["metadata"]["annotations"][key] = value.replace("\\n", "\n").into();
    }
    let settings = settings();
    for namespace in ["team-a", "banking"] {
        let request = Request { namespace, user: "somebody", entry: Entry::Enabled, operation: Operation::Create };
        decided(&pod, &request, settings);
    }
}
