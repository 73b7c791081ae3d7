//! `helm test`, and what the release says when a user looks at it.

use cloakroom_tests::agent::eventually;

use super::release::{RELEASE, Release, START};

#[test]
fn helm_test_says_that_a_pod_gets_its_agent_and_when_it_would_not_what_to_look_at() {
    let Some(release) = Release::installed() else { return };
    let said = release.helm(&["test", RELEASE, "--logs", "--timeout", "90s"]);
    for line in ["ok: the API server is 1.", "ok: 1 nodes, all new enough", "ok: a pod in namespace default"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    release.cluster.kubectl(&["-n", RELEASE, "scale", "deployment", RELEASE, "--replicas=0"]);
    eventually(START, "there is none", || release.injectors().is_empty());
    let (good, said) = release.try_helm(&["test", RELEASE, "--logs", "--timeout", "90s"]);
    assert!(!good && said.contains("not so: ") && said.contains("cannot call the injector"), "{said}");
    release.cluster.kubectl(&["-n", RELEASE, "scale", "deployment", RELEASE, "--replicas=2"]);
    release.answers(START);
}

#[test]
fn what_helm_prints_after_an_installation_can_be_typed() {
    let Some(release) = Release::installed() else { return };
    let notes = release.helm(&["get", "notes", RELEASE]);
    let commands: Vec<&str> = notes.lines().map(str::trim).filter(|line| line.starts_with("kubectl ")).collect();
    assert_eq!(commands.len(), 4, "{notes}");
    for command in commands {
        let typed = command
            .replace("NAMESPACE", super::release::TEAM)
            .replace("SCOPE", super::release::SCOPE)
            .replace("ACCOUNT", super::release::ACCOUNT)
            .replace(" NAME", " as-the-notes-say");
        let words: Vec<&str> = typed.split_whitespace().skip(1).collect();
        let (done, said) = release.cluster.try_kubectl(&words, "");
        assert!(done, "{typed}: {said}");
    }
    release.cluster.kubectl(&["label", "namespace", super::release::TEAM, "cloakroom.dev/injection-"]);
    release.delete(super::release::SCOPE, &["rolebinding", "as-the-notes-say", "as-the-notes-say-secrets"]);
}
