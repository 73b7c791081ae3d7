//! W6, W7: what the cluster is like while no injector answers, and how it comes back by itself.

use std::time::{Duration, Instant};

use cloakroom_tests::agent::eventually;
use nix::sys::signal::{Signal, kill};

use super::pods::Pod;
use super::process::{pod_uid, processes, signal_when_there};
use super::release::{RELEASE, Release, START, TEAM};

/// The command line of an injector.
const INJECTOR: &[&str] = &["cloakroom-injector", "serve"];

/// How long the cluster may take to come back unaided.
const RECOVERY: Duration = Duration::from_mins(1);

/// The timeout of the webhook, and what is around it: a client that is started, and an answer on its way.
const TIMEOUT: Duration = Duration::from_secs(5 + 2);

fn uids(release: &Release) -> Vec<String> {
    release.injectors().iter().map(|pod| pod_uid(&release.cluster, RELEASE, pod)).collect()
}

fn ready_replicas(release: &Release) -> String {
    let path = "jsonpath={.status.readyReplicas}";
    release.cluster.kubectl(&["-n", RELEASE, "get", "deployment", RELEASE, "-o", path])
}

#[test]
fn w6_all_injectors_deleted_and_the_node_drained_recover_unaided() {
    let Some(release) = Release::installed() else { return };
    let cluster = &release.cluster;
    let dns = || {
        let path = "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
        cluster.kubectl(&["-n", "kube-system", "get", "pods", "-o", path])
    };
    let recovered = |what: &str| {
        let began = Instant::now();
        eventually(RECOVERY, what, || ready_replicas(&release) == "2" && !dns().is_empty() && !dns().contains("False"));
        release.answers(RECOVERY.saturating_sub(began.elapsed()));
        println!("w6: {what} after {:?}", began.elapsed());
    };
    let selector = "app.kubernetes.io/component=injector";
    cluster.kubectl(&["-n", RELEASE, "delete", "pods", "-l", selector, "--grace-period=0", "--force"]);
    recovered("all injectors were killed, and there are others");

    let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    // By deletion: on the only node an eviction would wait for another one, as the disruption budget says.
    let drain = ["--ignore-daemonsets", "--delete-emptydir-data", "--force", "--disable-eviction", "--timeout=60s"];
    cluster.kubectl(&[&["drain", &*node], &drain[..]].concat());
    cluster.kubectl(&["uncordon", &node]);
    recovered("the node was drained, and everything is back");
}

#[test]
fn w7_while_injectors_are_stopped_or_gone_a_pod_that_asks_is_refused_in_time_and_others_are_not_concerned() {
    let Some(release) = Release::installed() else { return };
    let uids = uids(&release);
    let others = |what: &str| {
        let pod = Pod::new("other").metadata("labels: {}").yaml();
        let (made, said) = release.cluster.try_kubectl(&["create", "--dry-run=server", "-f", "-"], &pod);
        assert!(made, "{what}: {said}");
    };
    let refused = |what: &str| {
        let began = Instant::now();
        let (made, said) = release.try_create("asks");
        let took = began.elapsed();
        println!("w7: {what}: refused after {took:?}");
        assert!(!made && said.contains("injection.cloakroom.dev"), "{what}: {said}");
        assert!(took <= TIMEOUT, "{what}: {took:?}");
        others(what);
    };
    for uid in &uids {
        signal_when_there(uid, INJECTOR, Signal::SIGSTOP);
    }
    refused("stopped");
    for pid in uids.iter().flat_map(|uid| processes(uid, INJECTOR)) {
        kill(pid, Signal::SIGCONT).unwrap();
    }
    release.answers(RECOVERY);
    release.cluster.kubectl(&["-n", RELEASE, "scale", "deployment", RELEASE, "--replicas=0"]);
    eventually(START, "there is none", || release.injectors().is_empty());
    refused("gone");
    release.cluster.kubectl(&["-n", RELEASE, "scale", "deployment", RELEASE, "--replicas=2"]);
    release.answers(RECOVERY);
}

#[test]
fn w7_with_ignore_pods_start_without_an_agent_and_the_policy_still_keeps_them_out_of_mandatory_namespaces() {
    let Some(release) = Release::with(&["--set", "webhook.failurePolicy=Ignore"]) else { return };
    let cluster = &release.cluster;
    cluster.namespace("mandatory");
    cluster.kubectl(&["label", "namespace", "mandatory", "cloakroom.dev/injection=required", "--overwrite"]);
    release.wait("mandatory", "serviceaccount/default", "create");
    cluster.kubectl(&["-n", RELEASE, "scale", "deployment", RELEASE, "--replicas=0"]);
    eventually(START, "there is none", || release.injectors().is_empty());

    let pod = Pod::new("naked").yaml();
    let (made, said) = cluster.try_kubectl(&["create", "--dry-run=server", "-o", "json", "-f", "-"], &pod);
    assert!(made && !said.contains("cloakroom-agent"), "{said}");
    let there = pod
        .replace(&format!("namespace: {TEAM}"), "namespace: mandatory")
        .replace("serviceAccountName: my-app", "serviceAccountName: default");
    let (made, said) = cluster.try_kubectl(&["create", "--dry-run=server", "-f", "-"], &there);
    assert!(!made && said.contains("ValidatingAdmissionPolicy"), "{said}");
    cluster.kubectl(&["-n", RELEASE, "scale", "deployment", RELEASE, "--replicas=2"]);
    release.upgrade(&[]);
    release.answers(RECOVERY);
    let (made, said) = cluster.try_kubectl(&["create", "--dry-run=server", "-o", "json", "-f", "-"], &there);
    assert!(made && said.contains("cloakroom-agent"), "{said}");
    release.delete("default", &["namespace", "mandatory"]);
}
