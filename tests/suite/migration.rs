//! The examples for who comes from another agent do what stands beside them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cloakroom_injector::profile::Settings;
use cloakroom_tests::agent::{Agent, Options, eventually};
use cloakroom_tests::wire::Connection;
use serde_json::{Value, json};

use crate::api::{APP, call};
use crate::chart_seam::{agent, inline};

const SOON: Duration = Duration::from_secs(20);

/// The fenced blocks that say in their first line what they are.
fn blocks() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/docs/migration.md");
    let text = fs::read_to_string(path).unwrap();
    let fenced = text.split("```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).map(|(is, text)| (is.to_owned(), text.to_owned())).collect()
}

/// An agent with the secrets of the page.
fn started(blocks: &BTreeMap<String, String>, extra: String) -> Agent {
    let agent = Agent::start(Options { extra, ..Options::default() });
    let values: Vec<(&str, &str)> = blocks["values"].lines().map(|line| line.split_once(": ").unwrap()).collect();
    assert_eq!(values.len(), 2);
    let secrets: Vec<Value> =
        values.iter().map(|(id, value)| json!({"name": id.rsplit(':').next().unwrap(), "value": value})).collect();
    let body = json!({"secrets": secrets}).to_string();
    let answer = call(&mut Connection::open(&agent.socket()), "PUT", APP, &body);
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    agent
}

/// What an agent makes of the files.
fn becomes(blocks: &BTreeMap<String, String>, files: &Value, name: &str, expected: &str) {
    let place = tempfile::TempDir::new().unwrap();
    let directory = place.path().join("files");
    let agent = started(blocks, format!("renderSets: {}", json!([{"directory": directory, "files": files}])));
    eventually(SOON, name, || directory.join(name).exists());
    assert_eq!(fs::read_to_string(directory.join(name)).unwrap(), expected);
    drop(agent);
}

#[test]
fn the_templates_of_a_vault_agent_become_ours() {
    let blocks = blocks();
    let ours: Value = serde_saphyr::from_str(&blocks["yaml vault-agent"]).unwrap();
    let expected = &blocks["text vault-agent db.json"];
    becomes(&blocks, &ours["renderSets"][0]["files"], "db.json", expected);
    let read: Value = serde_json::from_str(expected).unwrap();
    assert_eq!(read["password"], "s3\"cr3t");
}

#[test]
fn the_annotations_of_two_injectors_become_ours() {
    let blocks = blocks();
    let settings = Settings::parse("{image: a, profiles: {default: {config: {backend: {kind: kubernetes}}}}}").unwrap();
    for (peer, file) in [("vault-k8s", "db.env"), ("secrets-provider", "db.yaml")] {
        let pod: Value = serde_saphyr::from_str(&blocks[&format!("yaml {peer}")]).unwrap();
        let agent = agent(&pod, &settings);
        let config: Value = serde_json::from_str(&inline(&agent).replace("$$", "$")).unwrap();
        let command = if peer == "secrets-provider" { "render" } else { "agent" };
        assert_eq!(agent["command"], json!(["cloakroom", command]));
        becomes(&blocks, &config["render"], file, &blocks[&format!("text {peer} {file}")]);
    }
}

#[test]
fn a_client_of_the_secret_manager_finds_the_same_calls() {
    let blocks = blocks();
    let agent = started(&blocks, String::new());
    let typed =
        blocks["sh secret-manager"].replace("/run/cloakroom/agent/agent.sock", agent.socket().to_str().unwrap());
    let output = Command::new("sh").args(["-c", &typed]).output().unwrap();
    let mut answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let id = answer["id"].as_str().unwrap();
    let (start, checksum) = id.rsplit_once(':').unwrap();
    assert!(!checksum.is_empty());
    answer["id"] = format!("{start}:CHECKSUM").into();
    let expected: Value = serde_json::from_str(&blocks["text secret-manager"]).unwrap();
    assert_eq!(answer, expected);
}
