//! The seam between chart and injector, without a cluster: what the chart's snapshots hold is what the injector takes and
//! makes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cloakroom_agent::config::Config;
use cloakroom_injector::inject::{Decision, Entry, Operation, Request, inject};
use cloakroom_injector::profile::Settings;
use serde_json::{Value, json};

/// What one snapshot renders.
pub(crate) fn rendered(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("chart/snapshots").join(name);
    serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The text that the injector is started with.
pub(crate) fn settings(documents: &[Value]) -> &str {
    let deployment = documents.iter().find(|document| document["kind"] == "Deployment").unwrap();
    deployment["spec"]["template"]["metadata"]["annotations"]["cloakroom.dev/settings"].as_str().unwrap()
}

/// One pod for every text that an agent of these settings can get.
pub(crate) fn pods(settings: &str) -> Vec<Value> {
    let tree: Value = serde_saphyr::from_str(settings).unwrap();
    let mut pods = Vec::new();
    for (name, profile) in tree["profiles"].as_object().unwrap() {
        let levels = profile["logLevels"].as_array().cloned().unwrap_or_default();
        for level in levels.iter().map(Some).chain([None]) {
            for has_host_network in [false, true] {
                let mut annotations = json!({});
                if tree["defaultProfile"] != **name {
                    annotations["cloakroom.dev/profile"] = name.as_str().into();
                }
                if let Some(level) = level {
                    annotations["cloakroom.dev/log-level"] = level.clone();
                }
                pods.push(json!({
                    "metadata": {"name": "app", "annotations": annotations},
                    "spec": {"hostNetwork": has_host_network, "containers": [{"name": "app", "image": "app"}]},
                }));
            }
        }
    }
    pods
}

/// The agent's container in what becomes of the pod.
pub(crate) fn agent(pod: &Value, settings: &Settings) -> Value {
    let request = Request { namespace: "team", user: "somebody", entry: Entry::Required, operation: Operation::Create };
    let decision = inject(pod, &request, settings);
    let Decision::Patched { patch, .. } = &decision else { panic!("{decision:?}") };
    let patch = serde_json::to_value(patch).unwrap();
    let init = patch.as_array().unwrap().iter().find(|edit| edit["path"] == "/spec/initContainers").unwrap();
    init["value"][0].clone()
}

/// Its `CLOAKROOM_CONFIG_INLINE`, as it stands in the pod.
pub(crate) fn inline(agent: &Value) -> &str {
    assert_eq!(agent["env"][0]["name"], "CLOAKROOM_CONFIG_INLINE");
    agent["env"][0]["value"].as_str().unwrap()
}

/// The policy lets anything follow that begins as a file does: what is no file must be refused by the agent.
#[test]
fn n11_behind_the_files_nothing_of_the_operators_can_be_said_another_way() {
    let settings = Settings::parse("{image: a, profiles: {default: {config: {backend: {kind: kubernetes}}}}}").unwrap();
    let pod = json!({"spec": {"containers": [{"name": "app", "image": "app"}]}});
    let agent = agent(&pod, &settings);
    let text = inline(&agent);
    let start = text.strip_suffix("]}").unwrap();
    assert!(Config::parse(text).is_ok());
    let file = r#"{"name":"a","destination":"a","secret":"poc:::zones/a:"}"#;
    let with_file = Config::parse(&format!("{start}{file}]}}")).unwrap();
    let schema = cloakroom_agent::config::schema();
    for section in schema["properties"].as_object().unwrap().keys() {
        assert!(text.contains(&format!("\"{section}\":")), "{section} can be given by a pod");
        for name in [format!("\"{section}\""), format!("'{section}'"), section.clone(), format!("? {section}\n")] {
            let text = format!("{start}{file}],{name}: {{}}}}");
            assert!(Config::parse(&text).is_err(), "{text}");
        }
    }
    assert!(Config::parse(&format!("{start}{file}],other: 1}}")).is_err());
    // A merge, which never wins against a key that is there.
    for more in ["<<: {log: {level: trace}}", "<<: {backend: {kind: embedded}, permissions: {kind: file}}"] {
        let merged = Config::parse(&format!("{start}{file}],{more}}}"));
        assert_eq!(merged.map_or(String::new(), |config| format!("{config:?}")), format!("{with_file:?}"), "{more}");
    }
    for more in ["\n---\nlog: {level: trace}", "\n...\n---\n{}", "\nlog: {level: trace}", "{}", "x"] {
        assert!(Config::parse(&format!("{start}{file}]}}{more}")).is_err(), "{more}");
    }
}

#[test]
fn every_pair_that_the_injector_can_make_is_accepted_by_the_policy_that_the_chart_renders_and_no_other() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("chart/snapshots");
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut count = 0;
    for name in names {
        let documents = rendered(&name);
        let text = settings(&documents);
        let settings = Settings::parse(text).unwrap_or_else(|problems| panic!("{name}: {problems}"));
        let made: BTreeSet<[String; 2]> = pods(text)
            .iter()
            .map(|pod| {
                let agent = agent(pod, &settings);
                [agent["image"].as_str().unwrap().to_owned(), inline(&agent).to_owned()]
            })
            .collect();
        let Some(policy) = documents.iter().find(|document| document["kind"] == "ValidatingAdmissionPolicy") else {
            continue;
        };
        let variables = policy["spec"]["variables"].as_array().unwrap().iter();
        let accepted: BTreeSet<[String; 2]> = variables
            .filter(|variable| variable["name"].as_str().unwrap().starts_with("current_"))
            .map(|variable| serde_json::from_str(variable["expression"].as_str().unwrap()).unwrap())
            .collect();
        assert_eq!(made, accepted, "{name}");
        count += 1;
    }
    assert!(count >= 8, "{count}");
}
