//! W2: the golden pods of the core, through the real webhook of a real API server, and past the chart's policy.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use cloakroom_injector::inject::{Decision, Entry, Operation, Request, inject};
use cloakroom_injector::profile::Settings;
use cloakroom_tests::cluster::Cluster;
use cloakroom_tests::pods::{Asked, DRY_RUN, Refused, as_new};
use http::Method;
use serde_json::{Value, json};

use super::backend::eventually;
use super::contains::{contains, forget};
use super::injection::{HEARD, Injection, account, has_agent, is_of_policy, named, plain};

/// One golden pod.
struct Golden {
    name: String,
    pod: Value,
    request: Value,
    expected: Expected,
}

/// What its snapshots say.
enum Expected {
    Patched(Value),
    Untouched,
    Denied(String),
}

/// Pods that no API server takes, whatever is put into them, and its reason: their golden patch shows that nothing of
/// theirs is lost on the way to that answer.
const IMPOSSIBLE: [(&str, &str); 3] = [
    ("mirror-by-somebody-else", "mirror pod"),
    ("no-metadata", "name or generateName is required"),
    ("odd-keys", "Invalid value"),
];

/// Pods that the core would refuse with its own sentence, and the server's parser has refused before: to an API server
/// they are one and the same.
const NO_CONTAINERS: [&str; 2] = ["no-containers", "no-spec"];

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../injector/tests/golden")
}

/// Without the head that the snapshot library writes.
fn snapshot(path: &PathBuf) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.splitn(3, "---\n").nth(2).unwrap().to_owned())
}

fn goldens() -> Vec<Golden> {
    let mut cases: Vec<PathBuf> = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.is_dir());
    cases.sort();
    let yaml = |text: &str| -> Value { serde_saphyr::from_str(text).unwrap() };
    let golden = |case: PathBuf| {
        let read = |name: &str| yaml(&fs::read_to_string(case.join(name)).unwrap());
        let denied = snapshot(&case.join("denied.snap")).map(|text| text.split_once('\n').unwrap().1.trim().to_owned());
        let expected = match (snapshot(&case.join("patched.snap")), denied) {
            (Some(patched), _) => Expected::Patched(yaml(&patched)),
            (_, Some(sentence)) => Expected::Denied(sentence),
            _ => Expected::Untouched,
        };
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        Golden { name, pod: read("pod.yaml"), request: read("request.yaml"), expected }
    };
    let goldens: Vec<Golden> = cases.into_iter().map(golden).collect();
    assert!(goldens.len() >= 80);
    goldens
}

fn golden_settings() -> Value {
    serde_saphyr::from_str(&fs::read_to_string(directory().join("settings.yaml")).unwrap()).unwrap()
}

impl Golden {
    fn text<'a>(&'a self, member: &str, usual: &'a str) -> &'a str {
        self.request[member].as_str().unwrap_or(usual)
    }

    /// The namespace in which the pod is made: the settings know it by its own name, and its label chooses the entry.
    fn namespace(&self, entry: &str) -> String {
        match self.text("namespace", "team-a") {
            // Nobody's to label: no webhook and no policy of ours reaches it.
            "kube-system" => "kube-system".to_owned(),
            namespace => format!("golden-{namespace}-{}", entry.to_lowercase()),
        }
    }

    fn is_update(&self) -> bool {
        self.request["operation"] == "Update"
    }

    fn asked(&self) -> Asked<'_> {
        Asked { dry_run: true, user: self.request["user"].as_str() }
    }

    /// The pod, and all that it needs to be taken.
    fn pod_in(&self, cluster: &Cluster, namespace: &str, made: &mut BTreeSet<String>) -> Value {
        let spec = &self.pod["spec"];
        let mut need = |kind: &str, name: &str, make: &dyn Fn()| {
            if made.insert(format!("{kind}/{name}")) {
                make();
            }
        };
        if let Some(name) = spec["serviceAccountName"].as_str() {
            need(namespace, name, &|| cluster.apply(&account(namespace, name).to_string()));
        }
        if let Some(name) = spec["priorityClassName"].as_str().filter(|name| !name.starts_with("system-")) {
            let class = json!({
                "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 1,
            });
            need("priorityclass", name, &|| cluster.apply(&class.to_string()));
        }
        if let Some(name) = spec["runtimeClassName"].as_str() {
            let class = json!({
                "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": "runc",
            });
            need("runtimeclass", name, &|| cluster.apply(&class.to_string()));
        }
        let mut pod = self.pod.clone();
        if pod["metadata"].is_object() {
            // Some share a name, some are stored, and who ran this before may have been interrupted.
            pod["metadata"]["name"] = format!("{}-{}", self.name, std::process::id()).into();
        }
        pod
    }
}

/// Namespaces by what the settings say of them, for every entry; the settings then know them by these names.
fn namespaces(cluster: &Cluster, goldens: &[Golden], entries: &[&str]) {
    let places: BTreeSet<&str> = goldens.iter().map(|golden| golden.text("namespace", "team-a")).collect();
    let mut wanted = Vec::new();
    for place in places.into_iter().filter(|place| *place != "kube-system") {
        for entry in entries {
            let entry = entry.to_lowercase();
            let label = if entry == "asked" { json!({}) } else { json!({"cloakroom.dev/injection": entry}) };
            wanted.push((format!("golden-{place}-{entry}"), label));
        }
    }
    named(cluster, &wanted);
}

fn namespaced(settings: &Value) -> Value {
    let mut namespaces = json!({});
    for (name, profile) in settings["namespaces"].as_object().unwrap() {
        for entry in ["asked", "enabled", "required"] {
            namespaces[format!("golden-{name}-{entry}")] = profile.clone();
        }
    }
    namespaces
}

/// Values of the chart that make it write these settings.
fn values(settings: &Value, is_openshift: bool) -> Value {
    let (repository, digest) = settings["image"].as_str().unwrap().split_once('@').unwrap();
    let mut settings = json!({"profiles": settings["profiles"], "namespaces": namespaced(settings)});
    without_openshift(&mut settings);
    json!({
        "agent": {"image": {"repository": repository, "digest": digest}}, "openshift": {"enabled": is_openshift},
        "profiles": settings["profiles"], "namespaceProfiles": settings["namespaces"],
    })
}

/// For the whole cluster or for none: there is no such key in a profile of the chart.
fn without_openshift(settings: &mut Value) {
    settings["profiles"].as_object_mut().unwrap().remove("openshift");
    settings["namespaces"].as_object_mut().unwrap().retain(|_, profile| profile != "openshift");
}

/// What the webhook itself said.
fn sentence(refused: &Refused) -> Option<&str> {
    refused.message.split_once(".injection.cloakroom.dev\" denied the request: ").map(|(_, sentence)| sentence)
}

/// Taken, or refused for the one reason for which it is known that it cannot be.
fn possible<'a>(golden: &Golden, taken: &'a Result<Value, Refused>) -> Result<Option<&'a Value>, String> {
    let reason = IMPOSSIBLE.iter().find(|(name, _)| *name == golden.name).map(|(_, reason)| *reason);
    match (taken, reason) {
        (Ok(pod), None) => Ok(Some(pod)),
        (Err(refused), Some(reason)) if refused.message.contains(reason) => Ok(None),
        (taken, _) => Err(format!("{taken:?}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w2_golden_pods_become_on_a_real_server_what_their_snapshots_say_and_twice_is_once() {
    if Cluster::own().is_none() {
        return;
    }
    let (goldens, mut settings) = (goldens(), golden_settings());
    settings["namespaces"] = namespaced(&settings);
    let cluster = Cluster::get();
    namespaces(&cluster, &goldens, &["Asked", "Enabled", "Required"]);
    // The core's own settings, behind the chart's entries; the policy of another configuration would refuse its pods.
    let without_policy = json!({"policy": {"enabled": false}});
    let injection = Injection::with_settings(&without_policy, Some(&settings.to_string()), 1).await;
    let (mut made, mut kept, mut counts, mut wrong) = (BTreeSet::new(), 0, [0; 3], Vec::new());
    for golden in &goldens {
        let (name, namespace) = (&golden.name, golden.namespace(golden.text("entry", "")));
        let pod = golden.pod_in(&cluster, &namespace, &mut made);
        let (count, is_as_it_says) = match &golden.expected {
            _ if golden.is_update() => (1, an_update_is_left_alone(&injection, &namespace).await),
            Expected::Denied(sentence) => (2, is_denied(&injection, golden, &pod, sentence).await),
            Expected::Untouched => (1, is_untouched(&injection, golden, &pod).await),
            Expected::Patched(patched) => {
                // Some of them for real: what is stored is what a dry run said.
                let keep = kept < 10 && !pod["metadata"]["name"].is_null() && golden.request["user"].is_null();
                kept += usize::from(keep);
                (0, is_patched(&injection, golden, &pod, patched.clone(), keep).await)
            }
        };
        counts[count] += 1;
        wrong.extend(is_as_it_says.err().map(|why| format!("{name}: {why}")));
    }
    println!("w2: {} patched, {} untouched, {} denied; {kept} stored", counts[0], counts[1], counts[2]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn is_denied(injection: &Injection, golden: &Golden, pod: &Value, expected: &str) -> Result<(), String> {
    let namespace = golden.namespace(golden.text("entry", ""));
    let expected = if NO_CONTAINERS.contains(&golden.name.as_str()) { "the pod has no containers" } else { expected };
    match injection.maker.create(&namespace, pod, golden.asked()).await {
        Err(refused) if sentence(&refused) == Some(expected) => Ok(()),
        taken => Err(format!("{taken:?}")),
    }
}

async fn is_untouched(injection: &Injection, golden: &Golden, pod: &Value) -> Result<(), String> {
    let namespace = golden.namespace(golden.text("entry", ""));
    let taken = injection.maker.create(&namespace, pod, golden.asked()).await.map_err(|refused| refused.message)?;
    if !golden.request["prepared"].is_null() {
        // What an earlier turn has made of it is sent again, as of every pod that was patched.
        return is_the_same_again(injection, &namespace, &taken).await;
    }
    contains(&taken, pod)?;
    if has_agent(&taken) { Err("it has an agent".to_owned()) } else { Ok(()) }
}

async fn is_patched(
    injection: &Injection,
    golden: &Golden,
    pod: &Value,
    mut patched: Value,
    keep: bool,
) -> Result<(), String> {
    let namespace = golden.namespace(golden.text("entry", ""));
    let taken = injection.maker.create(&namespace, pod, golden.asked()).await;
    let Some(taken) = possible(golden, &taken)? else { return Ok(()) };
    patched["metadata"]["name"] = pod["metadata"]["name"].clone();
    if contains(taken, &patched).is_err() {
        // An older API server does not know all that a pod may say today; then it does not know it without us either.
        let alone = injection.maker.create("injection-disabled", pod, DRY_RUN).await;
        forget(&mut patched, pod, &alone.map_err(|refused| refused.message)?);
    }
    contains(taken, &patched)?;
    is_the_same_again(injection, &namespace, taken).await?;
    if keep {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let stored = injection.maker.create(&namespace, pod, Asked::default()).await;
        injection.maker.delete(&namespace, name).await;
        contains(&stored.map_err(|refused| refused.message)?, &patched)?;
    }
    Ok(())
}

/// Sent again as it came back, a pod is what it was: the webhook does not take the API server's defaults for changes.
async fn is_the_same_again(injection: &Injection, namespace: &str, taken: &Value) -> Result<(), String> {
    let again = injection.maker.create(namespace, &as_new(taken.clone()), DRY_RUN).await;
    let again = again.map_err(|refused| refused.message)?;
    if !has_agent(taken) || again["spec"] != taken["spec"] {
        return Err(format!("twice is not once: {again} is not {taken}"));
    }
    Ok(())
}

/// The golden update is of a pod that is being deleted; here it is any pod, made before its namespace wanted anything.
async fn an_update_is_left_alone(injection: &Injection, namespace: &str) -> Result<(), String> {
    let name = format!("update-is-left-alone-{}", std::process::id());
    let mut pod = plain();
    pod["metadata"] = json!({"name": name, "labels": {"cloakroom.dev/inject": "false"}});
    let said = |refused: Refused| refused.message;
    injection.maker.create(namespace, &pod, Asked::default()).await.map_err(said)?;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let change = json!({"metadata": {"labels": {"cloakroom.dev/inject": "true"}}});
    let kind = "application/merge-patch+json";
    let changed = injection.maker.ask(Method::PATCH, &path, kind, &change, None).await.map_err(said)?;
    injection.maker.delete(namespace, &name).await;
    if changed["metadata"]["labels"]["cloakroom.dev/inject"] != "true" || has_agent(&changed) {
        return Err(format!("{changed}"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w2_whatever_the_core_makes_of_a_golden_pod_passes_the_policy_of_the_chart_that_configured_it() {
    if Cluster::own().is_none() {
        return;
    }
    let goldens = goldens();
    let cluster = Cluster::get();
    namespaces(&cluster, &goldens, &["Required"]);
    // What the chart has to make of the values.
    let mut written = golden_settings();
    written["namespaces"] = namespaced(&written);
    without_openshift(&mut written);
    for is_openshift in [false, true] {
        let injection = Injection::new(&values(&golden_settings(), is_openshift), 1).await;
        let settings = Settings::parse(injection.settings()).unwrap();
        if !is_openshift {
            assert_eq!(settings, Settings::parse(&written.to_string()).unwrap(), "the chart says something else");
        }
        // Otherwise it would not show that the policy looks at all.
        eventually(HEARD, "the policy counts", async || {
            let mut untouched = plain();
            untouched["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "windows"});
            let made = injection.maker.create("golden-team-a-required", &untouched, DRY_RUN).await;
            made.is_err_and(|refused| is_of_policy(&refused))
        })
        .await;
        let (mut made, mut passed, mut wrong) = (BTreeSet::new(), 0, Vec::new());
        for golden in goldens.iter().filter(|golden| !golden.is_update()) {
            let (name, namespace) = (&golden.name, golden.namespace("Required"));
            let pod = golden.pod_in(&cluster, &namespace, &mut made);
            let user = golden.text("user", "somebody");
            let request = Request { namespace: &namespace, user, entry: Entry::Required, operation: Operation::Create };
            let decision = inject(&pod, &request, &settings);
            let taken = injection.maker.create(&namespace, &pod, golden.asked()).await;
            let is_right = match decision {
                Decision::Patched { .. } => {
                    passed += 1;
                    possible(golden, &taken).map(|taken| taken.is_none_or(has_agent))
                }
                Decision::Denied(denial) => {
                    let said = taken.as_ref().err().and_then(sentence);
                    Ok(said == Some(&denial.to_string())
                        || NO_CONTAINERS.contains(&name.as_str()) && said == Some("the pod has no containers"))
                }
                // Nobody is let off: what the injector leaves alone the policy refuses here, but for what it cannot see.
                Decision::Untouched(_) => match &taken {
                    Ok(taken) => contains(taken, &pod).map(|()| user.starts_with("system:node:")),
                    Err(refused) => Ok(is_of_policy(refused)),
                },
            };
            if is_right != Ok(true) {
                wrong.push(format!("{name}: {is_right:?}: {taken:?}"));
            }
        }
        println!("w2: openshift {is_openshift}: {passed} pods that the core has made pass the policy");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(passed >= 80, "{passed}");
    }
}
