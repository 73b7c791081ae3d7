//! What `helm template` makes of the chart, as documents that a test may change before it applies them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Helm, built unless it is cached.
fn helm() -> PathBuf {
    if let Some(helm) = std::env::var_os("HELM") {
        return helm.into();
    }
    let built = Command::new(tree().join("tests/cluster/helm/build")).stderr(Stdio::inherit()).output().unwrap();
    assert!(built.status.success(), "helm cannot be built");
    String::from_utf8(built.stdout).unwrap().trim().into()
}

/// The chart as a release of this name in the namespace of the same name, with these values.
pub fn render(release: &str, values: &Value) -> Vec<Value> {
    let nobody = TempDir::new().unwrap();
    let place = |name: &str| nobody.path().join(name);
    let mut child = Command::new(helm())
        .args(["template", release])
        .arg(tree().join("charts/cloakroom"))
        .args(["--namespace", release, "--kube-version", "1.30.0", "--values", "-"])
        .arg("--set")
        .arg(format!("fullnameOverride={release}"))
        .env("HELM_CONFIG_HOME", place("config"))
        .env("HELM_CACHE_HOME", place("cache"))
        .env("HELM_DATA_HOME", place("data"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(values.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    documents.into_iter().filter(Value::is_object).collect()
}

/// The one document of this kind, and of this name where there are several.
pub fn document<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |document: &&Value| document["kind"] == kind && document["metadata"]["name"] == name;
    documents.iter().find(is_it).unwrap_or_else(|| panic!("the chart renders no {kind} {name}"))
}
