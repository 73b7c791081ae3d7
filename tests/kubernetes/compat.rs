//! An API server that is too old; `tests/run compat` boots one.

use cloakroom_tests::agent::Agent;
use cloakroom_tests::replica::{Arguments, Replica};

use super::place::{NAMESPACE, prepared};

#[test]
#[ignore = "needs an API server older than 1.30; `tests/run compat`"]
fn w10_a_server_below_1_30_is_refused_by_the_injector_with_a_sentence_that_says_so() {
    let (cluster, account) = prepared();
    let arguments = [
        "--namespace=NAMESPACE",
        "--service=injector",
        "--secret=injector-certificate",
        "--webhook-configuration=injector",
        "--token-dir=DIRECTORY",
    ];
    let directory = account.directory.path().display().to_string();
    let arguments =
        arguments.map(|argument| argument.replace("NAMESPACE", NAMESPACE).replace("DIRECTORY", &directory)).into();
    let environment = cluster.agent_options(&account).environment;
    let mut replica = Replica::start(cloakroom_tests::injector::SETTINGS, Arguments { arguments, environment });
    let (ended, said) = (replica.wait(), replica.log());
    assert_eq!(ended.code(), Some(1), "{said}");
    assert!(said.contains("the API server is Kubernetes 1.29, and the oldest that is supported is 1.30"), "{said}");
    // It has left nothing behind that an API server would ask.
    assert_eq!(cluster.kubectl(&["-n", NAMESPACE, "get", "secrets", "-o", "name"]), "");
}

#[test]
#[ignore = "needs an API server older than 1.30; `tests/run compat`"]
fn an_older_api_server_is_refused_at_start_with_a_sentence_that_says_so() {
    let (cluster, account) = prepared();
    let (status, said) = Agent::refused(&cluster.agent_options(&account));
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("the API server is Kubernetes 1.29, and the oldest that is supported is 1.30"), "{said}");
}
