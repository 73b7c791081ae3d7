//! The README's way from an empty cluster to a resolved secret, typed as it stands there.

use std::path::Path;
use std::process::Command;

use cloakroom_tests::cluster::Cluster;

/// The shell blocks of the section, without the one that hands images to another kind of cluster.
fn blocks() -> Vec<String> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let (_, section) = readme.split_once("\n### On a cluster\n").unwrap();
    let (section, _) = section.split_once("\n### ").unwrap();
    let blocks = section.split("```sh\n").skip(1).map(|block| block.split_once("```").unwrap().0.to_owned());
    let blocks: Vec<String> = blocks.filter(|block| !block.contains("kind load")).collect();
    assert!(blocks.len() >= 2, "the section has lost its blocks");
    blocks
}

#[test]
fn the_quick_start_leads_to_a_resolved_secret_as_it_stands_there() {
    let Some(cluster) = Cluster::own() else { return };
    let helm = std::env::var("HELM").expect("tests/run cluster says where helm is");
    // An empty cluster: what other cases have made is taken away.
    let removed = Command::new(&helm)
        .args(["uninstall", "cloakroom", "--namespace", "cloakroom", "--wait", "--ignore-not-found", "--kubeconfig"])
        .arg(cluster.kubeconfig())
        .output()
        .unwrap();
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    cluster.kubectl(&[
        "delete",
        "namespace",
        "--ignore-not-found",
        "--timeout=120s",
        "cloakroom",
        "team-a",
        "poc--eni--hyperion",
    ]);
    let tools = tempfile::TempDir::new().unwrap();
    std::os::unix::fs::symlink(helm, tools.path().join("helm")).unwrap();
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &blocks().join("\n")])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
        .env("PATH", format!("{}:{}", tools.path().display(), cluster.path()))
        .env("KUBECONFIG", cluster.kubeconfig())
        .output()
        .unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.contains(r#""value":"s3cr3t""#), "{said}");
    for namespace in ["cloakroom", "team-a", "poc--eni--hyperion"] {
        // The other cases go on with them.
        cluster.kubectl(&["label", "namespace", namespace, "cloakroom-tests=own"]);
    }
    cluster.kubectl(&["-n", "team-a", "delete", "deployment", "my-app"]);
}
