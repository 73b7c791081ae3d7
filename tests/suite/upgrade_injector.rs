//! U1 of the injector: what earlier charts wrote is read by the injector, what earlier injectors wrote by the agent, and
//! what this injector writes by earlier agents.

use std::fs;
use std::path::{Path, PathBuf};

use cloakroom_agent::config::{Config, schema};
use cloakroom_injector::inject::{Decision, Entry, Operation, Reason, Request, inject};
use cloakroom_injector::profile::Settings;
use serde_json::{Value, json};

use crate::chart_seam::{agent, inline, pods, rendered, settings};

/// Every state that was kept, by its folder.
fn states() -> Vec<PathBuf> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut states: Vec<PathBuf> =
        fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path().join("injector")).collect();
    states.retain(|path| path.is_dir());
    states.sort();
    assert!(!states.is_empty(), "there is at least the state of the first injector");
    states
}

fn text(state: &Path, name: &str) -> String {
    fs::read_to_string(state.join(name)).unwrap()
}

fn values(state: &Path, name: &str) -> Value {
    serde_json::from_str(&text(state, name)).unwrap()
}

/// What an agent finds in its environment: the kubelet makes one dollar of two.
fn as_the_agent_reads_it(inline: &str) -> String {
    inline.replace("$$", "$")
}

#[test]
fn u1_settings_of_every_chart_that_was_kept_are_taken_by_the_injector() {
    for state in states() {
        let settings = Settings::parse(&text(&state, "settings.yaml")).unwrap_or_else(|problems| {
            panic!(
                "{} can no longer be read, so an injector cannot be rolled back or forward: {problems}",
                state.display()
            )
        });
        for pod in pods(&text(&state, "settings.yaml")) {
            assert_eq!(agent(&pod, &settings)["image"], settings.image);
        }
    }
}

#[test]
fn u1_what_every_injector_that_was_kept_has_written_into_pods_is_read_by_the_agent_as_it_was_meant() {
    for state in states() {
        let written = values(&state, "agents.json");
        let agents = written.as_array().unwrap();
        assert!(agents.len() >= 5);
        for agent in agents {
            let text = as_the_agent_reads_it(inline(agent));
            let config =
                Config::parse(&text).unwrap_or_else(|problems| panic!("{}: {problems}\n{text}", state.display()));
            assert_eq!(config.listen.socket, Path::new("/run/cloakroom/agent/agent.sock"));
            assert!(config.listen.group.is_some() && config.listen.admin.is_some());
            assert_eq!(config.identity.token_dir, Path::new("/var/run/secrets/cloakroom/kube"));
        }
    }
}

#[test]
fn u1_what_this_injector_writes_is_known_to_every_agent_that_was_kept() {
    for state in states() {
        let settings_of_then = text(&state, "settings.yaml");
        let settings = Settings::parse(&settings_of_then).unwrap();
        for pod in pods(&settings_of_then) {
            let agent = agent(&pod, &settings);
            let text = as_the_agent_reads_it(inline(&agent));
            let config: Value = serde_json::from_str(&text).unwrap();
            is_known("", &config, &values(&state, "agent-schema.json")).unwrap_or_else(|at| panic!("{at}\n{text}"));
            assert_eq!(agent["command"], values(&state, "agents.json")[0]["command"]);
            assert_eq!(agent["startupProbe"], values(&state, "agents.json")[0]["startupProbe"]);
        }
    }
}

/// Whether a configuration says only what a schema knows, in the way that it knows.
fn is_known(path: &str, value: &Value, schema: &Value) -> Result<(), String> {
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        _ => true,
    };
    let is_chosen = schema["enum"].as_array().is_none_or(|choices| choices.contains(value));
    if !fits || !is_chosen {
        return Err(format!("{path}: {value} is not {schema}"));
    }
    let (Some(members), Some(properties)) = (value.as_object(), schema["properties"].as_object()) else {
        return Ok(());
    };
    members.iter().try_for_each(|(name, value)| match properties.get(name) {
        Some(schema) => is_known(&format!("{path}.{name}"), value, schema),
        None => Err(format!("{path}: the agent of then does not know {name}")),
    })
}

#[test]
fn u1_a_pod_that_an_earlier_injector_has_made_becomes_one_of_this_injector_and_keeps_all_of_its_own() {
    for state in states() {
        let settings = Settings::parse(&text(&state, "settings.yaml")).unwrap();
        for agent in values(&state, "agents.json").as_array().unwrap() {
            let pod = json!({
                "metadata": {"name": "app"},
                "spec": {
                    "initContainers": [{"name": "own", "image": "own"}, agent],
                    "containers": [{"name": "app", "image": "app"}],
                },
            });
            let request =
                Request { namespace: "team", user: "somebody", entry: Entry::Required, operation: Operation::Create };
            let Decision::Patched { patch, reason: Reason::Required } = inject(&pod, &request, &settings) else {
                panic!("{}", state.display())
            };
            // Nothing is taken away but what carries our name.
            let patch = serde_json::to_value(patch).unwrap();
            let removed: Vec<&Value> = patch
                .as_array()
                .unwrap()
                .iter()
                .filter(|edit| edit["op"] == "remove")
                .map(|edit| &edit["path"])
                .collect();
            assert!(removed.iter().all(|path| **path == "/spec/initContainers/1"), "{removed:?}");
        }
    }
}

/// Writes the state of this version beside the agent's; run by hand when a state is to be kept, and then committed.
#[test]
fn a_new_state_of_the_injector_is_written_where_the_environment_asks_for_one() {
    let Some(directory) = std::env::var_os("CLOAKROOM_KEEP_STATE").map(PathBuf::from) else { return };
    let directory = directory.join("injector");
    fs::create_dir_all(&directory).unwrap();
    let documents = rendered("conjur.yaml");
    let written = settings(&documents);
    let parsed = Settings::parse(written).unwrap();
    let agents: Vec<Value> = pods(written).iter().map(|pod| agent(pod, &parsed)).collect();
    let keep = |name: &str, text: String| fs::write(directory.join(name), text).unwrap();
    keep("settings.yaml", written.to_owned());
    keep("agents.json", format!("{:#}\n", Value::from(agents)));
    keep("agent-schema.json", format!("{:#}\n", schema()));
}
