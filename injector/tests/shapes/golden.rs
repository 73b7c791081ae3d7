//! Golden pods: the shapes that public charts and operators make, each with its patch and what it becomes.

use std::fs;
use std::path::{Path, PathBuf};

use cloakroom_injector::inject::{Decision, Entry, Operation, Request, inject};
use cloakroom_injector::profile::Settings;
use serde_json::Value;

use crate::{checks, schema};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn request(review: &Value) -> Request<'_> {
    for key in review.as_object().unwrap().keys() {
        assert!(["entry", "namespace", "user", "operation", "prepared"].contains(&key.as_str()), "{key}");
    }
    Request {
        namespace: review["namespace"].as_str().unwrap_or("team-a"),
        user: review["user"].as_str().unwrap_or("system:serviceaccount:kube-system:replicaset-controller"),
        entry: match review["entry"].as_str().unwrap() {
            "Asked" => Entry::Asked,
            "Enabled" => Entry::Enabled,
            "Required" => Entry::Required,
            other => panic!("{other}"),
        },
        operation: match review["operation"].as_str() {
            None => Operation::Create,
            Some("Update") => Operation::Update,
            Some(other) => panic!("{other}"),
        },
    }
}

/// What an earlier invocation and the API server have made of the pod, where the case is about that.
fn prepared(pod: Value, review: &Value, settings: &Settings) -> Value {
    let injected = || checks::applied(&pod, &inject(&pod, &request(review), settings));
    match review["prepared"].as_str() {
        None => pod,
        Some("injected") => injected(),
        Some("defaulted") => checks::defaulted(&injected()),
        Some(other) => panic!("{other}"),
    }
}

#[test]
fn w2_golden_pods_become_what_they_became_and_nothing_is_lost() {
    let settings = checks::settings();
    let mut cases: Vec<PathBuf> = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.is_dir());
    cases.sort();
    assert!(cases.len() >= 80, "{} golden pods", cases.len());
    for case in cases {
        let review = yaml(&case.join("request.yaml"));
        let pod = prepared(yaml(&case.join("pod.yaml")), &review, settings);
        println!("{}", case.file_name().unwrap().display());
        checks::review_body(pod.to_string().as_bytes());
        let (decision, patched) = checks::decided(&pod, &request(&review), settings);
        let mut snapshots = insta::Settings::clone_current();
        snapshots.set_snapshot_path(&case);
        snapshots.set_prepend_module_to_snapshot(false);
        snapshots.set_omit_expression(true);
        snapshots.set_input_file("request.yaml");
        let _guard = snapshots.bind_to_scope();
        match decision {
            Decision::Untouched(reason) => insta::assert_snapshot!("untouched", reason.name()),
            Decision::Denied(denial) => insta::assert_snapshot!("denied", format!("{}\n{denial}", denial.name())),
            Decision::Patched { patch, reason } => {
                schema::is_valid(&patched);
                let edits: Vec<String> = patch.iter().map(|edit| serde_json::to_string(edit).unwrap()).collect();
                insta::assert_snapshot!("patch", format!("{}\n{}", reason.name(), edits.join("\n")));
                insta::assert_yaml_snapshot!("patched", patched);
            }
        }
    }
}
