//! W9, W10: what becomes of pods of all kinds, from their first container to their last.

use std::time::{Duration, Instant};

use cloakroom_tests::agent::eventually;
use cloakroom_tests::cluster::indented;
use nix::sys::signal::Signal;

use super::pods::{Pod, SECRET, SOCKET, curl, resolve};
use super::process::{pod_uid, processes, signal_when_there};
use super::release::{ACCOUNT, Release, START, TEAM, VALUE};

/// The command line of an injected agent.
const AGENT: &[&str] = &["cloakroom", "agent"];

/// A Job whose application runs `command`.
fn job(name: &str, command: &str, spec: &str) -> String {
    let more = indented(spec, 6);
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, namespace: {TEAM}}}\nspec:\n  backoffLimit: 0\n  \
         template:\n    metadata: {{labels: {{cloakroom.dev/inject: 'true'}}}}\n    spec:\n      \
         serviceAccountName: {ACCOUNT}\n      automountServiceAccountToken: false\n      restartPolicy: Never\n{more}      \
         containers: [{{name: app, image: client:test, command: [sh, -c, {command:?}]}}]\n"
    )
}

fn pod_of_job(release: &Release, job: &str) -> String {
    let selector = format!("batch.kubernetes.io/job-name={job}");
    let path = "jsonpath={.items[0].metadata.name}";
    release.cluster.kubectl(&["-n", TEAM, "get", "pods", "-l", &selector, "-o", path])
}

#[test]
fn w9_a_job_completes_and_its_own_init_containers_resolve_already() {
    let Some(release) = Release::installed() else { return };
    release.delete(TEAM, &["job", "first"]);
    let init = format!("initContainers:\n- {{name: first, image: client:test, command: [sh, -c, '{}']}}", resolve());
    release.cluster.apply(&job("first", &resolve(), &init));
    release.wait(TEAM, "job/first", "condition=Complete");
    for container in ["first", "app"] {
        let said = release.cluster.kubectl(&["-n", TEAM, "logs", "job/first", "-c", container]);
        assert!(said.contains(VALUE), "{container}: {said}");
    }
    release.delete(TEAM, &["job", "first"]);
}

#[test]
fn w9_no_port_is_opened_neither_in_the_pods_network_nor_in_the_nodes() {
    let Some(release) = Release::installed() else { return };
    // What listens, from inside: the state is the fourth column, and 0A is LISTEN.
    let listening = |pod: &str| {
        let command = "cat /proc/net/tcp /proc/net/tcp6 | awk '$4 == \"0A\" {print $2}' | sort";
        release.cluster.kubectl(&["-n", TEAM, "exec", pod, "-c", "app", "--", "sh", "-c", command])
    };
    Pod::new("inside").ready(&release);
    assert_eq!(listening("inside"), "", "an agent has no port in its pod's network");
    let before = Pod::new("before").spec("hostNetwork: true").metadata("labels: {}");
    before.ready(&release);
    let without = listening("before");
    Pod::new("host").spec("hostNetwork: true").ready(&release);
    assert_eq!(listening("host"), without, "an agent has no port in the node's network");
    let (status, body) = curl(&release.cluster, "host", "app", "GET", SECRET);
    assert!(status == 200 && body.contains(VALUE), "{status} {body}");
    release.delete(TEAM, &["pod", "inside", "before", "host"]);
}

#[test]
fn w9_what_cannot_be_done_well_is_refused_with_the_key_and_the_way_out() {
    let Some(release) = Release::installed() else { return };
    let refused = |pod: Pod, words: &str| {
        let (made, said) = release.cluster.try_kubectl(&["create", "--dry-run=server", "-f", "-"], &pod.yaml());
        assert!(!made && said.contains(words), "{words}: {said}");
    };
    let asks = |more: &str| format!("labels: {{cloakroom.dev/inject: 'true'}}\nannotations: {{{more}}}");
    refused(Pod::new("shared").spec("shareProcessNamespace: true"), "cloakroom.dev/share-process-namespace");
    refused(Pod::new("windows").spec("os: {name: windows}"), "Windows");
    refused(Pod::new("unknown").metadata(&asks("cloakroom.dev/contaners: app")), "cloakroom.dev/");
    // And what is acknowledged works.
    let shared = Pod::new("shared")
        .spec("shareProcessNamespace: true")
        .metadata(&asks("cloakroom.dev/share-process-namespace: acknowledged"));
    shared.ready(&release);
    release.delete(TEAM, &["pod", "shared"]);
}

#[test]
fn w9_a_pod_can_be_debugged_outside_mandatory_namespaces() {
    let Some(release) = Release::installed() else { return };
    Pod::new("debugged").ready(&release);
    release.cluster.kubectl(&[
        "-n",
        TEAM,
        "debug",
        "debugged",
        "--image=client:test",
        "--image-pull-policy=IfNotPresent",
        "--profile=general",
        "--container=debugger",
        "--target=app",
        "--",
        "sh",
        "-c",
        "cat /proc/1/cmdline",
    ]);
    eventually(START, "the debugger sees the application", || {
        let (_, said) = release.cluster.try_kubectl(&["-n", TEAM, "logs", "debugged", "-c", "debugger"], "");
        said.contains("sleep 3600")
    });
    release.delete(TEAM, &["pod", "debugged"]);
}

#[test]
fn w10_the_application_resolves_in_its_hook_and_after_sigterm_and_the_agent_ends_after_it() {
    let Some(release) = Release::installed() else { return };
    let cluster = &release.cluster;
    let resolved = resolve();
    // What is said on the first process's output is in the log.
    let hook =
        format!("lifecycle: {{preStop: {{exec: {{command: [sh, -c, '{resolved} | sed s/^/hook:/ >/proc/1/fd/1']}}}}}}");
    let pod = Pod::new("last")
        .metadata("labels: {cloakroom.dev/inject: 'true'}\nfinalizers: [tests.example/hold]")
        .runs(&format!("trap '{resolved} | sed s/^/term:/; sleep 1; exit 0' TERM; sleep 3600 & wait"))
        .container(&hook);
    let release_it = || {
        let free = r#"{"metadata":{"finalizers":null}}"#;
        cluster.try_kubectl(&["-n", TEAM, "patch", "pod", "last", "--type=merge", "-p", free], "");
    };
    release_it();
    pod.ready(&release);
    // Followed while it is there: with its container the log goes.
    let following = {
        let cluster = cluster.clone();
        std::thread::spawn(move || cluster.try_kubectl(&["-n", TEAM, "logs", "-f", "last", "-c", "app"], "").1)
    };
    cluster.kubectl(&["-n", TEAM, "delete", "pod", "last", "--wait=false"]);
    let ended = |list: &str, name: &str| {
        let path = format!("jsonpath={{.status.{list}[?(@.name==\"{name}\")].state.terminated.finishedAt}}");
        cluster.kubectl(&["-n", TEAM, "get", "pod", "last", "-o", &path])
    };
    eventually(START, "both have ended", || {
        !ended("containerStatuses", "app").is_empty() && !ended("initContainerStatuses", "cloakroom-agent").is_empty()
    });
    let (application, agent) = (ended("containerStatuses", "app"), ended("initContainerStatuses", "cloakroom-agent"));
    release_it();
    let said = following.join().unwrap();
    // In whole seconds, in a form that sorts.
    assert!(application <= agent, "the application ended at {application}, the agent at {agent}");
    assert!(said.contains("hook:{\"id\"") && said.contains("term:{\"id\""), "{said}");
    assert_eq!(said.matches(VALUE).count(), 2, "{said}");
}

#[test]
fn w10_an_agent_that_is_killed_fails_no_job() {
    let Some(release) = Release::installed() else { return };
    release.delete(TEAM, &["job", "killed"]);
    let command = format!(
        "until [ -e /tmp/go ]; do sleep 0.2; done; curl -sf --retry 20 --retry-delay 1 --retry-all-errors \
         --unix-socket {SOCKET} http://localhost{SECRET}"
    );
    release.cluster.apply(&job("killed", &command, ""));
    release.wait(TEAM, "job/killed", "jsonpath={.status.ready}=1");
    let pod = pod_of_job(&release, "killed");
    let uid = pod_uid(&release.cluster, TEAM, &pod);
    let first = processes(&uid, AGENT);
    assert_eq!(first.len(), 1);
    signal_when_there(&uid, AGENT, Signal::SIGKILL);
    release.cluster.kubectl(&["-n", TEAM, "exec", &pod, "-c", "app", "--", "touch", "/tmp/go"]);
    release.wait(TEAM, "job/killed", "condition=Complete");
    let said = release.cluster.kubectl(&["-n", TEAM, "logs", "job/killed", "-c", "app"]);
    assert!(said.contains(VALUE), "{said}");
    release.delete(TEAM, &["job", "killed"]);
}

#[test]
fn w10_a_pod_that_is_deleted_while_its_agent_does_not_get_ready_ends_within_its_grace() {
    let Some(release) = Release::installed() else { return };
    let pod = Pod::new("stuck");
    pod.created(&release);
    let uid = pod_uid(&release.cluster, TEAM, "stuck");
    signal_when_there(&uid, AGENT, Signal::SIGSTOP);
    let path = "jsonpath={.status.initContainerStatuses[0].started}";
    let started = || release.cluster.kubectl(&["-n", TEAM, "get", "pod", "stuck", "-o", path]);
    eventually(START, "the kubelet tells of the agent", || started() == "false");
    let began = Instant::now();
    release.delete(TEAM, &["pod", "stuck"]);
    let took = began.elapsed();
    println!("w10: a pod with a grace of 10 s whose agent answered nothing was gone after {took:?}");
    // Its grace, and what the kubelet needs to see that it has ended.
    assert!(took < Duration::from_secs(10 + 10), "{took:?}");
}
