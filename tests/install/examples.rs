//! The examples as they are, and the socket for programs that are not ours, whoever they run as.

use cloakroom_tests::agent::eventually;
use cloakroom_tests::cluster::indented;

use super::pods::{Pod, SECRET, curl};
use super::release::{RELEASE, Release, SCOPE, START, TEAM, VALUE, example};

/// The container's part for who may nothing but what its user may.
const NOTHING: &str = "securityContext:\n  allowPrivilegeEscalation: false\n  capabilities: {drop: [ALL]}";

fn logs(release: &Release, object: &str, container: &str) -> String {
    release.cluster.kubectl(&["-n", TEAM, "logs", object, "-c", container])
}

#[test]
fn the_examples_of_a_deployment_a_statefulset_and_jobs_run_as_they_are() {
    let Some(release) = Release::installed() else { return };
    let cluster = &release.cluster;
    release.delete(TEAM, &["deployment,statefulset,service,job,cronjob,networkpolicy", "--all"]);
    for name in ["deployment.yaml", "statefulset.yaml", "job.yaml", "cronjob.yaml", "networkpolicy.yaml"] {
        cluster.apply(&example(name));
    }
    cluster.kubectl(&["-n", TEAM, "create", "job", "report-now", "--from=cronjob/report"]);

    release.wait(TEAM, "deployment/my-app", "condition=Available");
    eventually(START, "both replicas resolve", || {
        let selector = ["-n", TEAM, "logs", "-l", "app=my-app", "-c", "app"];
        cluster.kubectl(&selector).matches("resolved").count() == 2
    });
    release.wait(TEAM, "job/migrate", "condition=Complete");
    let told = logs(&release, "job/migrate", "migrate");
    assert!(told.contains(r#""subject":"system:serviceaccount:team-a:my-app""#), "{told}");
    release.wait(TEAM, "job/report-now", "condition=Complete");
    eventually(START, "the set is rolled out", || {
        let path = "jsonpath={.status.readyReplicas}";
        cluster.kubectl(&["-n", TEAM, "get", "statefulset", "store", "-o", path]) == "1"
    });
    // A rotation reaches what is running.
    let (status, body) = curl(cluster, "store-0", "store", "GET", SECRET);
    assert!(status == 200 && body.contains(VALUE), "{status} {body}");
    let change = r#"{"stringData":{"clientSecret":"rotated"}}"#;
    cluster.kubectl(&["-n", SCOPE, "patch", "secret", "my-app", "--type=merge", "-p", change]);
    eventually(START, "the rotation is seen", || {
        curl(cluster, "store-0", "store", "GET", SECRET).1.contains("rotated")
    });
    release.delete(TEAM, &["deployment,statefulset,service,job,cronjob,networkpolicy", "--all"]);
}

#[test]
fn the_example_of_a_restricted_namespace_runs_and_nothing_runs_there_without_the_agent() {
    let Some(release) = Release::installed() else { return };
    let cluster = &release.cluster;
    release.delete("default", &["namespace", "payments"]);
    cluster.apply(&example("restricted.yaml"));
    release.wait("payments", "pod/payments", "condition=Ready");
    let asked = "curl -s --unix-socket /run/cloakroom/agent/agent.sock http://localhost/api/v1/whoami";
    let told = cluster.kubectl(&["-n", "payments", "exec", "payments", "-c", "app", "--", "sh", "-c", asked]);
    assert!(told.contains("system:serviceaccount:payments:payments"), "{told}");

    // Past the webhook, which is what somebody does who may change it: the policy stays.
    let webhook = cluster.kubectl(&["get", "mutatingwebhookconfiguration", RELEASE, "-o", "json"]);
    cluster.kubectl(&["delete", "mutatingwebhookconfiguration", RELEASE]);
    let naked = example("restricted.yaml")
        .replace("name: payments, namespace: payments}\nspec", "name: naked, namespace: payments}\nspec");
    let naked = naked.rsplit_once("---\n").unwrap().1;
    let (made, said) = cluster.try_kubectl(&["create", "-f", "-"], naked);
    let (restored, _) = cluster.try_kubectl(&["create", "-f", "-"], &webhook);
    assert!(restored);
    assert!(!made && said.contains("ValidatingAdmissionPolicy"), "{said}");
    release.delete("default", &["namespace", "payments"]);
}

#[test]
fn w8_root_without_capabilities_and_any_other_user_reach_the_socket_from_images_that_know_nothing_of_us() {
    let Some(release) = Release::installed() else { return };
    let user = |name: &str, uid: u32| {
        let context =
            NOTHING.replace("securityContext:", &format!("securityContext:\n  runAsUser: {uid}\n  runAsGroup: {uid}"));
        format!("- name: {name}\n  image: client:test\n  command: [sleep, '3600']\n{}", indented(&context, 2))
    };
    let others: String = [user("user", 1000), user("other", 2000)].concat();
    let pod = Pod::new("users").container(
        "securityContext: {runAsUser: 0, runAsGroup: 0, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}",
    );
    let manifest = pod.yaml() + &indented(&others, 2);
    release.delete(TEAM, &["pod", "users"]);
    release.cluster.apply(&manifest);
    release.wait(TEAM, "pod/users", "condition=Ready");
    for container in ["app", "user", "other"] {
        let (status, body) = curl(&release.cluster, "users", container, "GET", SECRET);
        assert!(status == 200 && body.contains(VALUE), "{container}: {status} {body}");
        // The volume of the socket is no place to put something.
        let touch = ["-n", TEAM, "exec", "users", "-c", container, "--", "touch", "/run/cloakroom/mine"];
        assert!(!release.cluster.try_kubectl(&touch, "").0, "{container} wrote into the socket's volume");
    }
    release.delete(TEAM, &["pod", "users"]);
}
