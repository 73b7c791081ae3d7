//! Three ways to ask who may do what: the agent, `cloakroom can-i`, and the call that README shows for kubectl.

use std::process::Command;
use std::time::Duration;

use cloakroom_tests::agent::{Agent, binary, eventually};
use cloakroom_tests::cluster::{Account, Cluster};
use cloakroom_tests::wire::Connection;
use serde_json::Value;

use super::place::{NAMESPACE, prepared};

/// The scopes that are asked about: the environment, the team, and the application in its own namespace.
const SCOPES: [&str; 3] = ["poc", "poc/eni--hyperion", "poc/eni--hyperion/my-app"];
const RIGHTS: [&str; 3] = ["secrets_read", "secrets_write", "onboarding_write"];

/// What the agent says, by right.
fn of_agent(agent: &Agent, scope: &str) -> Option<Value> {
    let target = format!("/api/v1/whoami?scope={}", scope.replace('/', "%2F"));
    let answer = Connection::open(&agent.socket()).request("GET", &target, &[], b"");
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    (answer.status == 200).then(|| body["rights"].clone())
}

/// `cloakroom can-i` with nothing in its environment but these, and with kubectl's cache outside the tree.
fn command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary());
    command.env_clear().env("KUBECACHEDIR", std::env::temp_dir().join("cloakroom-tests-kubectl"));
    command.envs(variables.iter().copied()).arg("can-i");
    command
}

fn user(account: &Account) -> String {
    format!("system:serviceaccount:{}:{}", account.namespace, account.name)
}

/// `cloakroom can-i`: what it printed, what it complained of, and its exit status.
fn can_i(cluster: &Cluster, arguments: &[&str]) -> (String, String, i32) {
    let variables = [("PATH", &*cluster.path()), ("KUBECONFIG", cluster.kubeconfig().to_str().unwrap())];
    let output = command(&variables).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

/// What README has people type, about another user and scope.
fn by_kubectl(cluster: &Cluster, user: &str, namespace: &str, name: &str) -> bool {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("kubectl create --raw ").unwrap();
    let (path, rest) = rest.split_once(" -f - <<'JSON'\n").unwrap();
    let (document, _) = rest.split_once("\nJSON\n").unwrap();
    let mut document: Value = serde_json::from_str(document).unwrap();
    document["spec"]["user"] = user.into();
    document["spec"]["resourceAttributes"]["namespace"] = namespace.into();
    document["spec"]["resourceAttributes"]["name"] = name.into();
    let (asked, said) = cluster.try_kubectl(&["create", "--raw", path, "-f", "-"], &document.to_string());
    assert!(asked, "{said}");
    let answer: Value = serde_json::from_str(&said).unwrap();
    answer["status"]["allowed"].as_bool().unwrap()
}

#[test]
fn can_i_and_the_documented_call_say_what_the_agent_does() {
    let (cluster, account) = prepared();
    let agent = Agent::start(cluster.agent_options(&account));
    let user = user(&account);
    let roles = ["cloakroom-reader", "cloakroom-writer", "cloakroom-onboarder"];
    for granted in 0..=roles.len() {
        if let Some(role) = granted.checked_sub(1).and_then(|index| roles.get(index)) {
            cluster.bind(&account, NAMESPACE, &[role]);
        }
        for scope in SCOPES {
            for (index, right) in RIGHTS.into_iter().enumerate() {
                // Bound in the application's namespace only.
                let wanted = index < granted && scope == "poc/eni--hyperion/my-app";
                eventually(Duration::from_secs(10), "the agent has heard of it", || {
                    of_agent(&agent, scope).is_some_and(|rights| rights[right] == wanted)
                });
                let (printed, complaint, status) = can_i(&cluster, &[right, scope, "--as", &user]);
                assert_eq!((printed.as_str(), status), if wanted { ("yes\n", 0) } else { ("no\n", 3) }, "{complaint}");
            }
        }
        let reads = of_agent(&agent, "poc/eni--hyperion/my-app").unwrap()["secrets_read"] == true;
        assert_eq!(by_kubectl(&cluster, &user, NAMESPACE, "my-app"), reads);
    }
}

#[test]
fn can_i_says_what_is_missing_and_who_may_not_ask_about_others_is_told() {
    let (cluster, account) = prepared();
    let scope = "poc/eni--hyperion/my-app";
    let (printed, complaint, status) = can_i(&cluster, &["secrets_write", scope, "--as", &user(&account), "--json"]);
    let answer: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&answer["allowed"], &answer["subject"], status), (&false.into(), &user(&account).into(), 3));
    assert_eq!(answer["missing"][0]["verb"], "update");
    assert!(complaint.contains("`update` on `secrets` of cloakroom.dev named `my-app` in namespace"), "{complaint}");

    // The administrator of the tests may do everything, and asks about itself.
    assert_eq!(can_i(&cluster, &["onboarding_write", "poc"]).0, "yes\n");

    let (own, path) = (account.kubeconfig(&cluster), cluster.path());
    let variables = [("PATH", &*path), ("KUBECONFIG", own.path().to_str().unwrap())];
    let ask = |arguments: &[&str]| command(&variables).args(arguments).output().unwrap();
    assert_eq!(ask(&["secrets_read", scope]).status.code(), Some(3), "about itself everybody may ask");
    let refused = ask(&["secrets_read", scope, "--as", "system:serviceaccount:poc:other"]);
    let complaint = String::from_utf8(refused.stderr).unwrap();
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(3), 0), "{complaint}");
    assert!(complaint.contains("system:auth-delegator"), "{complaint}");
}

#[test]
fn can_i_that_cannot_ask_says_why() {
    let path = Cluster::get().path();
    let ask = |arguments: &[&str], variables: &[(&str, &str)]| {
        let output = command(variables).args(arguments).output().unwrap();
        (String::from_utf8(output.stderr).unwrap(), output.status.code())
    };
    let (complaint, status) = ask(&["secrets_read", "poc"], &[("PATH", "/nowhere")]);
    assert!(complaint.contains("cannot run kubectl") && status == Some(1), "{complaint}");
    let (complaint, status) = ask(&["secrets_read", "poc"], &[("PATH", &path), ("KUBECONFIG", "/nowhere")]);
    assert!(complaint.contains("kubectl could not ask: ") && status == Some(5), "{complaint}");
    let (complaint, status) = ask(&["secrets_read", "a/b/c/d"], &[]);
    assert!(complaint.contains("ENV/TEAM/APP") && status == Some(2), "{complaint}");
    let (complaint, status) = ask(&["secrets_read", "poc", "--as", "uid:1"], &[]);
    assert!(complaint.contains("system:serviceaccount:NAMESPACE:NAME") && status == Some(2), "{complaint}");
}
