//! U3, U4: another version of the chart while pods are made, one that cannot work, and none at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cloakroom_agent::kubernetes::{ApiServer, CallError};
use cloakroom_tests::agent::eventually;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::pods::{Pod, SECRET, curl};
use super::release::{RELEASE, Release, START, TEAM, VALUE};

/// Fifty a second.
const PACE: Duration = Duration::from_millis(20);

/// What became of the pods that were made, for the looks of it.
#[derive(Debug, Default)]
struct Made {
    /// Times that there was no room, and it was asked again.
    again: usize,
    injected: usize,
    naked: usize,
    refused: Vec<String>,
}

/// A pod that is made: whether it has its agent, or why it was refused.
///
/// Asked again is only where the API server or our own connections have no room. What a webhook has to do with, an answer
/// that failed or none at all, counts.
async fn make(api: &ApiServer, again: &AtomicUsize) -> Result<bool, String> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "app-", "labels": {"cloakroom.dev/inject": "true"}},
        "spec": {"containers": [{"name": "app", "image": "client:test"}]},
    });
    let request = || {
        Request::post(format!("/api/v1/namespaces/{TEAM}/pods?dryRun=All"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(pod.to_string().into_bytes())
            .unwrap()
    };
    for _ in 0..5 {
        match api.call(request(), Duration::from_secs(10)).await {
            Err(CallError::Busy(pause)) => {
                again.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(pause).await;
            }
            Err(error) => return Err(format!("{error:?}")),
            Ok(answer) if answer.status != StatusCode::CREATED => {
                return Err(format!("{}: {}", answer.status, String::from_utf8_lossy(answer.body())));
            }
            Ok(answer) => {
                let made: Value = serde_json::from_slice(answer.body()).unwrap();
                return Ok(made["spec"]["initContainers"][0]["name"] == "cloakroom-agent");
            }
        }
    }
    Err("busy, five times".to_owned())
}

/// Makes pods at a steady pace until told to stop, whether or not the last one was answered.
async fn make_many(api: ApiServer, stop: Arc<AtomicBool>) -> Made {
    let tasks = TaskTracker::new();
    let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let again = Arc::<AtomicUsize>::default();
    let mut pace = tokio::time::interval(PACE);
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let (api, told, again) = (api.clone(), told.clone(), Arc::clone(&again));
        tasks.spawn(async move { told.send(make(&api, &again).await) });
    }
    drop(told);
    tasks.close();
    tasks.wait().await;
    let mut made = Made { again: again.load(Ordering::Relaxed), ..Made::default() };
    while let Some(one) = hears.recv().await {
        match one {
            Ok(true) => made.injected += 1,
            Ok(false) => made.naked += 1,
            Err(why) => made.refused.push(why),
        }
    }
    made
}

fn maker(release: &Release) -> ApiServer {
    let account = release.cluster.account(TEAM);
    let name = &account.name;
    release.cluster.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: maker, namespace: {TEAM}}}\n\
         rules: [{{apiGroups: [''], resources: [pods], verbs: [create]}}]\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: maker, namespace: {TEAM}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: maker}}\n\
         subjects: [{{kind: ServiceAccount, name: {name}, namespace: {TEAM}}}]\n"
    ));
    let api = release.cluster.api(&account);
    // Its files live as long as the process.
    std::mem::forget(account);
    api
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u3_a_rolling_update_under_fifty_creates_a_second_refuses_none_and_misses_none() {
    let Some(release) = Release::installed() else { return };
    let (stop, tasks) = (Arc::<AtomicBool>::default(), TaskTracker::new());
    let making = tasks.spawn(make_many(maker(&release), Arc::clone(&stop)));
    let before = release.injectors();
    let began = Instant::now();
    // Another image of the injector and another configuration of the agent, so that everything is replaced.
    let values = ["--set", "image.tag=test", "--set", "profiles.default.config.log.level=debug"];
    let release = tasks.spawn_blocking(move || {
        release.upgrade(&values);
        release.helm(&["rollback", RELEASE, "--wait", "--timeout", "120s"]);
        release.settled();
        release
    });
    let release = release.await.unwrap();
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    let made = making.await.unwrap();
    let after = release.injectors();
    println!(
        "u3: {} pods over {took:?}, {} asked again, while an upgrade and its rollback replaced {before:?} by {after:?}",
        made.injected, made.again
    );
    assert!(before.iter().all(|pod| !after.contains(pod)), "nothing was replaced");
    assert!(made.injected > 200, "{made:?}");
    assert_eq!((made.naked, made.refused.first()), (0, None), "{} refused", made.refused.len());
}

#[test]
fn u3_a_version_that_cannot_work_never_gets_ready_and_the_old_one_keeps_serving_also_after_a_crash() {
    let Some(release) = Release::installed() else { return };
    let old = release.injectors();
    let wrong = "profiles.default.config.cache.ttl=soon";
    let mut arguments = Release::upgrade_arguments(&["--set", wrong]);
    // Helm waits for what never comes.
    let timeout = arguments.iter().position(|argument| *argument == "120s").unwrap();
    arguments[timeout] = "15s";
    let (done, _) = release.try_helm(&arguments);
    assert!(!done, "the chart's schema cannot know every value of the agent");
    let new: Vec<String> = release.injectors().into_iter().filter(|pod| !old.contains(pod)).collect();
    assert_eq!(new.len(), 1, "{new:?}");
    eventually(START, "the new one says why", || {
        let log = release.cluster.try_kubectl(&["-n", RELEASE, "logs", &new[0]], "").1;
        let before = release.cluster.try_kubectl(&["-n", RELEASE, "logs", &new[0], "--previous"], "").1;
        (log + &before).contains("cache.ttl")
    });
    assert!(release.try_create("asks").0, "the old ones serve");
    // A container that is started again reads its own version's settings.
    for pod in &old {
        let uid = super::process::pod_uid(&release.cluster, RELEASE, pod);
        super::process::signal_when_there(&uid, &["cloakroom-injector"], nix::sys::signal::Signal::SIGKILL);
    }
    release.answers(START);
    release.upgrade(&[]);
    assert!(release.try_create("asks").0);
}

#[test]
fn u4_after_the_chart_was_uninstalled_pods_can_be_made_and_running_agents_go_on_serving() {
    let Some(release) = Release::installed() else { return };
    Pod::new("stays").ready(&release);
    release.helm(&["uninstall", RELEASE, "--wait", "--timeout", "60s"]);
    let (made, said) = release.try_create("after");
    assert!(made && !said.contains("cloakroom-agent"), "{said}");
    // The roles are the chart's; who wants to resolve without it makes their own.
    let (status, body) = curl(&release.cluster, "stays", "app", "GET", "/api/v1/whoami");
    assert!(status == 200 && body.contains("system:serviceaccount:team-a:my-app"), "{status} {body}");
    let left = release.cluster.kubectl(&[
        "get", "mutatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings,clusterroles,clusterrolebindings",
        "-l", "app.kubernetes.io/instance=cloakroom", "-o", "name",
    ]);
    assert_eq!(left, "");
    // Installed again, everything is as it was, for the pod that stayed too.
    let release = Release::installed().unwrap();
    assert!(release.try_create("again").1.contains("cloakroom-agent"));
    eventually(START, "the pod that stayed resolves", || {
        curl(&release.cluster, "stays", "app", "GET", SECRET).1.contains(VALUE)
    });
    release.delete(TEAM, &["pod", "stays"]);
}
