//! Rules that a table of pods does not show by itself.

use serde_json::json;

use super::*;
use key::Key;

const SETTINGS: &str = "{image: cloakroom:1, profiles: {default: {config: {backend: {kind: kubernetes}}}}}";

fn answer(pod: &Value, entry: Entry) -> Decision {
    let request = Request { namespace: "team-a", user: "somebody", entry, operation: Operation::Create };
    inject(pod, &request, &Settings::parse(SETTINGS).unwrap())
}

#[test]
fn label_beats_annotation_beats_namespace_and_required_beats_a_no() {
    let pod = |label: Option<&str>, annotation: Option<&str>| {
        let map = |value: Option<&str>| value.map(|value| json!({"cloakroom.dev/inject": value}));
        json!({
            "metadata": {"labels": map(label), "annotations": map(annotation)},
            "spec": {"containers": [{"name": "web"}]},
        })
    };
    let why = |label, annotation, entry| match answer(&pod(label, annotation), entry) {
        Decision::Untouched(reason) | Decision::Patched { reason, .. } => reason,
        Decision::Denied(denial) => panic!("{denial}"),
    };
    let (yes, no) = (Some("true"), Some("false"));
    for (label, annotation, asked, enabled, required) in [
        (None, None, Reason::NotAsked, Reason::Namespace, Reason::Required),
        (None, yes, Reason::Pod, Reason::Pod, Reason::Required),
        (None, no, Reason::Declined, Reason::Declined, Reason::Required),
        (yes, no, Reason::Pod, Reason::Pod, Reason::Required),
        (no, yes, Reason::Declined, Reason::Declined, Reason::Required),
    ] {
        assert_eq!(why(label, annotation, Entry::Asked), asked);
        assert_eq!(why(label, annotation, Entry::Enabled), enabled);
        assert_eq!(why(label, annotation, Entry::Required), required);
    }
}

#[test]
fn n5_no_denial_repeats_text_that_is_no_name() {
    for odd in ["hunter2 is my password", "x\ny", "${jndi}", "ключ", &"a".repeat(40)] {
        let pod = json!({
            "metadata": {"annotations": {format!("cloakroom.dev/{odd}"): "v"}},
            "spec": {"containers": [{"name": odd}]},
        });
        let Decision::Denied(denial) = answer(&pod, Entry::Enabled) else { panic!("{odd}") };
        assert!(!denial.to_string().contains(odd), "{denial}");
    }
}

#[test]
fn every_denial_names_a_key_and_a_way_out() {
    let all = [
        Denial::Malformed("spec is missing"),
        Denial::TooMany("volumes"),
        Denial::NoContainers,
        Denial::OnlyReserved,
        Denial::UnknownKey(Plain::key("colour")),
        Denial::Capitals,
        Denial::NotALabel(Key::Profile),
        Denial::Value { key: Key::Inject, must: "\"true\" or \"false\"" },
        Denial::Locked(Key::Resources),
        Denial::UnknownProfile,
        Denial::Files("cloakroom.dev/files[0].name: is missing; it names the file in status and metrics".to_owned()),
        Denial::NoSuchVolume,
        Denial::NoCommand(Plain::container("web")),
        Denial::NotServed,
        Denial::Windows,
        Denial::SharedProcesses("spec.shareProcessNamespace"),
        Denial::NoSuchContainer(Key::Containers),
        Denial::BeforeAgent(Key::Env),
        Denial::AfterApplication,
        Denial::Place(Plain::container("web"), "/run/cloakroom"),
        Denial::MetricsPort(Plain::container("no name")),
    ];
    let sentences: Vec<String> = all.iter().map(|denial| format!("{}: {denial}", denial.name())).collect();
    insta::assert_snapshot!(sentences.join("\n"));
}

#[test]
fn another_webhook_that_gives_our_container_an_environment_is_undone_and_a_limit_of_a_range_stays() {
    let pod = json!({"spec": {"containers": [{"name": "web"}]}});
    let Decision::Patched { patch, .. } = answer(&pod, Entry::Enabled) else { panic!("it must be injected") };
    let added = patch.iter().find_map(|edit| match edit {
        Edit::Add { path, value } if path == "/spec/initContainers" => Some(value[0].clone()),
        _ => None,
    });
    let mut agent = added.unwrap();
    let wanted = agent.clone();
    agent["env"] = json!([{"name": "SSL_CERT_FILE", "value": "/tmp/ca"}]);
    agent["resources"]["limits"]["cpu"] = "1".into();
    agent["resources"]["limits"]["example.com/gpu"] = "1".into();
    let pod = json!({"spec": {"initContainers": [agent], "containers": [{"name": "web"}]}});
    let Decision::Patched { patch, .. } = answer(&pod, Entry::Enabled) else { panic!("it must be injected again") };
    let mut expected = wanted;
    expected["resources"]["limits"]["cpu"] = "1".into();
    assert_eq!(patch.first(), Some(&Edit::Replace { path: "/spec/initContainers/0".to_owned(), value: expected }));
}

#[test]
fn what_plugins_that_run_again_have_set_is_left_where_the_profile_leaves_it_open() {
    let text = SETTINGS.replace("}}}}}", "}}, runAsUserFromNamespace: true}}}");
    let settings = Settings::parse(&text).unwrap();
    let request =
        Request { namespace: "team-a", user: "somebody", entry: Entry::Enabled, operation: Operation::Create };
    let open = json!({"spec": {"containers": [{"name": "web"}]}});
    let Decision::Patched { patch, .. } = inject(&open, &request, &settings) else { panic!("it must be injected") };
    let Some(Edit::Add { value, .. }) = patch.first() else { panic!("the agent comes first") };
    let after = |policy: &str, uid: u32| {
        let mut init = value.clone();
        init[0]["imagePullPolicy"] = policy.into();
        init[0]["securityContext"]["runAsUser"] = uid.into();
        let pod = json!({"spec": {"initContainers": init, "containers": [{"name": "web"}]}});
        let Decision::Patched { patch, .. } = inject(&pod, &request, &settings) else { panic!("mounts are missing") };
        patch.iter().any(|edit| matches!(edit, Edit::Replace { path, .. } if path == "/spec/initContainers/0"))
    };
    assert!(!after("Always", 1_000_680_000));
    assert!(after("Never", 1_000_680_000), "a pull policy that finds whatever is on the node");
    assert!(after("Always", 0), "root");
}

#[test]
fn n8_a_list_that_costs_its_square_is_refused() {
    let mounts: Vec<Value> = (0..501).map(|at| json!({"name": "cloakroom-x", "mountPath": format!("/{at}")})).collect();
    let pod = json!({"spec": {"containers": [{"name": "web", "volumeMounts": mounts}]}});
    assert_eq!(answer(&pod, Entry::Enabled), Decision::Denied(Denial::TooMany("volumeMounts")));
}
