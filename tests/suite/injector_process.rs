//! U3 and the command line of the injector: the real binary, its probes, its signals and its exit status.

use std::process::{Command, Output};
use std::time::Duration;

use cloakroom_tests::agent::eventually;
use cloakroom_tests::injector::{Reviewer, SETTINGS, injector_binary, review};
use cloakroom_tests::replica::Replica;
use http::{Method, StatusCode};
use nix::sys::signal::Signal;
use tempfile::TempDir;

const START: Duration = Duration::from_secs(20);

fn run(arguments: &[&str]) -> Output {
    Command::new(injector_binary()).args(arguments).env_clear().output().unwrap()
}

struct Injector {
    replica: Replica,
    ca: String,
}

impl Injector {
    fn start(drain_delay: &str) -> Self {
        let (replica, ca) = Replica::with_pair(SETTINGS, drain_delay);
        Self { replica, ca }
    }

    fn reviewer(&self) -> Reviewer {
        Reviewer::new(self.replica.listen, &self.ca, "injector.cloakroom.svc", true)
    }
}

#[test]
fn u3_a_wrong_configuration_ends_with_64_and_everything_that_is_wrong_before_anything_listens() {
    let directory = TempDir::new().unwrap();
    let config = directory.path().join("injector.yaml");
    std::fs::write(&config, "noSuchKey: 1\n").unwrap();
    let config = config.to_str().unwrap();
    let serve =
        ["serve", "--config", config, "--namespace", "n", "--certificate-dir", "/nowhere", "--without-pod-count"];
    for arguments in [&serve[..], &["config", "check", config]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("noSuchKey"), "{output:?}");
    }
}

#[test]
fn what_is_typed_wrong_ends_with_2_and_what_is_asked_for_is_printed() {
    let directory = TempDir::new().unwrap();
    let config = directory.path().join("injector.yaml");
    std::fs::write(&config, SETTINGS).unwrap();
    let config = config.to_str().unwrap();
    for wrong in [
        &["serve"][..],
        &["serve", "--config", config, "--namespace", "n"],
        &["serve", "--config", config, "--namespace", "n", "--certificate-dir", "d", "--admin", "x"],
        &[
            "serve",
            "--config",
            config,
            "--namespace",
            "n",
            "--service",
            "a/b",
            "--secret",
            "s",
            "--webhook-configuration",
            "w",
        ],
        &["frobnicate"],
    ] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let version = run(&["version"]);
    assert!(version.status.success() && version.stdout.starts_with(b"cloakroom-injector "));
    assert!(String::from_utf8(run(&["--help"]).stdout).unwrap().contains("serve"));
    assert!(!run(&["completions", "bash"]).stdout.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w1_nothing_of_a_review_is_in_the_log_and_all_of_it_is_counted() {
    let mut injector = Injector::start("0s");
    let reviewer = injector.reviewer();
    reviewer.review("canary-uid").await.unwrap();
    let mut body = review("canary-uid");
    body["request"]["object"]["spec"]["containers"] = "canary-container".into();
    let (status, said) = reviewer.ask(Method::POST, "/inject/asked", body.to_string()).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert!(String::from_utf8_lossy(&said).contains("\"allowed\":false"));
    reviewer.ask(Method::POST, "/inject/asked", "canary-body").await.unwrap();

    let metrics = injector.replica.get("/metrics").unwrap();
    for line in [
        "cloakroom_injector_reviews_total{decision=\"denied\",reason=\"no-containers\"} 1",
        "cloakroom_injector_reviews_total{decision=\"refused\",reason=\"not-json\"} 1",
        "cloakroom_injector_review_duration_seconds_count 3",
        "# TYPE cloakroom_injector_uninjected_pods gauge",
        "process_resident_memory_bytes",
        "cloakroom_build_info",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let families: std::collections::BTreeSet<&str> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    insta::assert_snapshot!("injector_metrics", families.into_iter().collect::<Vec<_>>().join("\n"));
    let left = metrics.lines().find_map(|line| line.strip_prefix("cloakroom_injector_certificate_expiry_seconds "));
    assert!(left.unwrap().parse::<i64>().unwrap() > 0);
    assert!(injector.replica.get("/status").unwrap().contains("\"ready\": true"));
    assert!(!metrics.contains("canary"));

    injector.replica.signal(Signal::SIGTERM);
    assert!(injector.replica.wait().success());
    let log = injector.replica.log();
    assert!(log.contains("injector has stopped") && !log.contains("canary"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_fails_readiness_first_and_reviews_go_on_until_the_delay_has_passed() {
    let mut injector = Injector::start("2s");
    let reviewer = injector.reviewer();
    reviewer.review("one").await.unwrap();
    injector.replica.signal(Signal::SIGTERM);
    eventually(START, "not ready", || {
        injector.replica.get("/readyz").is_some_and(|said| said.starts_with("HTTP/1.1 503"))
    });
    reviewer.review("two").await.unwrap();
    injector.reviewer().review("three").await.unwrap();
    assert!(injector.replica.wait().success());
}
