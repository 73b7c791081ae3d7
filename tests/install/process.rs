//! The processes of a pod, as the machine sees them: a node's namespaces are below the machine's own.

use std::time::{Duration, Instant};

use cloakroom_tests::cluster::Cluster;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The uid of a pod, by which the kubelet calls its cgroup.
pub(crate) fn pod_uid(cluster: &Cluster, namespace: &str, pod: &str) -> String {
    cluster.kubectl(&["-n", namespace, "get", "pod", pod, "-o", "jsonpath={.metadata.uid}"])
}

/// The processes of a pod whose command line begins with these words.
pub(crate) fn processes(uid: &str, words: &[&str]) -> Vec<Pid> {
    let begins = words.join("\0") + "\0";
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            read("cmdline").starts_with(&begins) && read("cgroup").contains(uid)
        })
        .map(Pid::from_raw)
        .collect()
}

/// Sends a signal to the first such process there is, as soon as there is one.
pub(crate) fn signal_when_there(uid: &str, words: &[&str], signal: Signal) {
    let began = Instant::now();
    loop {
        if let Some(pid) = processes(uid, words).first() {
            return kill(*pid, signal).unwrap();
        }
        assert!(began.elapsed() < Duration::from_mins(1), "the pod has no process {words:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
