//! An API server that is too old; `tests/run compat` boots one.

use cloakroom_tests::agent::Agent;

use super::place::prepared;

#[test]
#[ignore = "needs an API server older than 1.30; `tests/run compat`"]
fn an_older_api_server_is_refused_at_start_with_a_sentence_that_says_so() {
    let (cluster, account) = prepared();
    let (status, said) = Agent::refused(&cluster.agent_options(&account));
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("the API server is Kubernetes 1.29, and the oldest that is supported is 1.30"), "{said}");
}
