//! W7, U3: an injector that is away, stands still, or was configured wrong.

use std::time::Duration;

use cloakroom_tests::cluster::Cluster;
use cloakroom_tests::pods::{DRY_RUN, Refused};
use cloakroom_tests::replica::Replica;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::backend::eventually;
use super::injection::{HEARD, Injection, asking, has_agent, is_of_policy, plain};

/// The chart's `timeoutSeconds`, and what an answer takes on a machine that others use.
const TIMEOUT: Duration = Duration::from_secs(5 + 5);

/// What is done to every replica.
type Fault = fn(&mut Replica);

const FAULTS: [(&str, Fault); 2] =
    [("stopped in its tracks", |replica| replica.signal(Signal::SIGSTOP)), ("down", Replica::kill)];

impl Injection {
    async fn made(&self, namespace: &str, pod: &Value) -> Result<Value, Refused> {
        self.maker.create(namespace, pod, DRY_RUN).await
    }

    /// Pods that nobody wanted to have injected are not asked about, whatever has become of the injector.
    async fn leaves_others_alone(&self) {
        for (namespace, pod) in [
            ("injection-asked", plain()),
            ("injection-disabled", asking()),
            (super::injection::RELEASE, asking()),
            ("injection-enabled", declining()),
        ] {
            let pod = self.made(namespace, &pod).await.unwrap_or_else(|refused| panic!("{namespace}: {refused:?}"));
            assert!(!has_agent(&pod), "{namespace}");
        }
    }
}

fn declining() -> Value {
    let mut pod = plain();
    pod["metadata"]["labels"] = json!({"cloakroom.dev/inject": "false"});
    pod
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w7_an_injector_that_does_not_answer_is_a_clear_refusal_in_time_and_others_do_not_notice() {
    if Cluster::own().is_none() {
        return;
    }
    let mut injection = Injection::new(&json!({}), 2).await;
    for (what, fault) in FAULTS {
        injection.replicas.iter_mut().for_each(fault);
        injection.leaves_others_alone().await;
        let asked = [("asked", asking()), ("enabled", plain()), ("required", plain()), ("required", declining())];
        let began = tokio::time::Instant::now();
        let answers =
            asked.iter().map(async |(entry, pod)| (*entry, injection.made(&format!("injection-{entry}"), pod).await));
        let answers = futures_util::future::join_all(answers).await;
        let took = began.elapsed();
        assert!(took < TIMEOUT, "{what}: {took:?}");
        println!("w7: {what}: refused after {took:?}");
        for (entry, made) in answers {
            let refused = made.unwrap_err();
            let says = format!("failed calling webhook \"{entry}.injection.cloakroom.dev\": failed to call webhook: ");
            assert!(refused.status == 500 && refused.message.contains(&says), "{what}: {refused:?}");
        }
    }
    // Who comes back serves again, without anybody's help.
    for replica in &mut injection.replicas {
        replica.start_again();
    }
    injection.replicas.iter().for_each(Replica::becomes_ready);
    eventually(HEARD, "pods are admitted again", async || {
        injection.made("injection-asked", &asking()).await.is_ok_and(|pod| has_agent(&pod))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w7_with_ignore_the_policy_alone_keeps_bare_pods_out_of_mandatory_namespaces() {
    if Cluster::own().is_none() {
        return;
    }
    let values = json!({"webhook": {"failurePolicy": "Ignore", "timeoutSeconds": 1}});
    let mut injection = Injection::new(&values, 1).await;
    for (what, fault) in FAULTS {
        injection.replicas.iter_mut().for_each(fault);
        injection.leaves_others_alone().await;
        for pod in [plain(), asking(), declining()] {
            let refused = injection.made("injection-required", &pod).await.unwrap_err();
            assert!(is_of_policy(&refused), "{what}: {refused:?}");
            assert!(refused.message.contains("this namespace requires the Cloakroom agent"), "{what}: {refused:?}");
        }
        // What is only wanted gives way: that is what the value means.
        for (namespace, pod) in [("injection-asked", asking()), ("injection-enabled", plain())] {
            assert!(!has_agent(&injection.made(namespace, &pod).await.unwrap()), "{what}: {namespace}");
        }
    }
    // Nor is there a way around the webhook: without its configuration the policy stands.
    injection.configure(|configuration| configuration["webhooks"] = json!([]));
    let refused = injection.made("injection-required", &plain()).await.unwrap_err();
    assert!(is_of_policy(&refused), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u3_a_replica_with_bad_config_ends_with_64_before_it_is_ready_and_the_old_ones_go_on() {
    if Cluster::own().is_none() {
        return;
    }
    let injection = Injection::new(&json!({}), 2).await;
    let good = injection.settings();
    for (what, bad, named) in [
        ("an unknown key", format!("{good}\nnoSuchKey: 1\n"), "unknown key `noSuchKey`"),
        ("a key that agents do not know", good.replace("\"kubernetes\"", "\"kubernetes\",\"x\":1"), "unknown key `x`"),
        ("a kind that there is not", good.replace("\"kubernetes\"", "\"kubernets\""), "backend.kind: must be"),
        ("no YAML", format!("{good}\n}}"), "this is no YAML"),
        ("nothing", String::new(), "image: is missing"),
    ] {
        let mut replica = injection.replica(&bad);
        // A rollout waits until it is ready, which it never is.
        while replica.is_running() {
            assert!(!replica.is_ready(), "{what}");
            assert!(has_agent(&injection.made("injection-required", &plain()).await.unwrap()), "{what}");
        }
        let (ended, said) = (replica.wait(), replica.log());
        assert_eq!(ended.code(), Some(64), "{what}: {said}");
        assert!(said.contains(named), "{what}: {said}");
    }
    assert!(injection.replicas.iter().all(Replica::is_ready));
    assert!(has_agent(&injection.made("injection-required", &plain()).await.unwrap()));
}
