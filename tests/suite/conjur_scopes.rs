//! Scopes on Conjur: what credentials of different reach can make and take apart, and what stays.

use std::time::Duration;

use cloakroom_agent::backend::{Backend, BackendError, Freshness, Guard, Put};
use cloakroom_agent::secret::SecretValue;
use cloakroom_agent::slots::{Catalogue, OnboardEntry, OnboardRequest, OnboardedItem, Strategy};
use cloakroom_tests::backend::{onboard_permit, read_permit, write_permit};
use cloakroom_tests::conjur::{FakeConjur, JwtService, Kind};
use cloakroom_tests::conjur_agent::{ALL, ConjurAgent, Making, SERVICE, prepared, scope_in};

const APP: &str = "poc/team/app";

async fn onboard(agent: &ConjurAgent, scope: &str) -> Result<Vec<OnboardedItem>, BackendError> {
    let permit = onboard_permit(scope).await;
    let entry = |slot: &str| OnboardEntry { name: slot.to_owned(), value: SecretValue::new("given".to_owned()) };
    let entries = if permit.scope().team().is_some() { vec![entry("clientSecret")] } else { vec![entry("zones/eu")] };
    let request = OnboardRequest::new(Strategy::Merge, entries, &Catalogue::default(), permit.scope().kind()).unwrap();
    agent.backend.onboard(&permit, request).await
}

async fn read(agent: &ConjurAgent, id: &str) -> Result<String, BackendError> {
    let found = agent.backend.fetch(&[read_permit(id).await], Freshness::Latest).await.remove(0);
    found.map(|found| found.value.expose().to_owned())
}

async fn offboard(agent: &ConjurAgent, scope: &str) -> Result<(), BackendError> {
    agent.backend.offboard(&onboard_permit(scope).await).await
}

/// A double with one host that has `privileges` on the root branch and is in no group.
async fn with_privileges(privileges: &str) -> (FakeConjur, ConjurAgent) {
    let fake = FakeConjur::start().await;
    fake.enable_jwt(SERVICE, &JwtService::default());
    let host = fake.permit_jwt(SERVICE, "apps", "poc", "bare");
    let host = host.strip_prefix("host/").unwrap();
    if !privileges.is_empty() {
        let permit = format!(
            "- !permit\n  role: !host {host:?}\n  privileges: [{privileges}]\n  resource: !policy controlplane\n"
        );
        fake.admin_load("root", &permit);
    }
    let agent = ConjurAgent::new(&fake, Making { account: "bare", ..Making::default() });
    (fake, agent)
}

#[tokio::test]
async fn a_host_that_may_only_create_makes_a_scope_and_sets_its_first_values() {
    let (fake, agent) = with_privileges("create").await;
    onboard(&agent, APP).await.unwrap();
    assert_eq!(read(&agent, "poc:team:app:clientSecret:").await.as_deref(), Ok("given"));
    assert!(read(&agent, "poc:team:app:rotatedClientSecret:").await.is_ok());
    onboard(&agent, "poc/team/second").await.unwrap();
    onboard(&agent, "poc").await.unwrap();
    assert_eq!(offboard(&agent, APP).await, Err(BackendError::LoadRefused), "that takes update");
    assert_eq!(read(&agent, "poc:team:app:clientSecret:").await.as_deref(), Ok("given"));
    assert!(fake.exists("group", "controlplane/poc/team/app/readers"));
}

#[tokio::test]
async fn a_host_without_privileges_is_told_what_it_needs() {
    let (fake, agent) = with_privileges("").await;
    assert_eq!(onboard(&agent, APP).await.unwrap_err(), BackendError::LoadRefused);
    assert!(BackendError::LoadRefused.to_string().contains("`create`"));
    assert!(!fake.exists("policy", "controlplane/poc"));
}

#[tokio::test]
async fn a_host_that_owns_the_branch_joins_no_group() {
    let fake = FakeConjur::start().await;
    fake.enable_jwt(SERVICE, &JwtService::default());
    let host = fake.permit_jwt(SERVICE, "apps", "poc", "owner");
    let host = host.strip_prefix("host/").unwrap();
    fake.admin_load("root", &format!("- !policy\n  id: own\n  owner: !host {host:?}\n"));
    let making = Making { account: "owner", root: Some("own"), ..Making::default() };
    let agent = ConjurAgent::new(&fake, making);
    onboard(&agent, APP).await.unwrap();
    assert_eq!(read(&agent, "poc:team:app:clientSecret:").await.as_deref(), Ok("given"));
    offboard(&agent, APP).await.unwrap();
    assert!(!fake.exists("policy", "own/poc/team/app"));
    let joined = fake.calls().iter().filter(|call| call.path_and_query == "/whoami").count();
    assert_eq!(joined, 0, "it need not know who it is");
}

#[tokio::test]
async fn a_scope_that_was_made_by_hand_gets_its_groups_and_loses_nothing() {
    let fake = prepared(&[("agent", ALL), ("reader", &[cloakroom_agent::access::Right::SecretsRead])]).await;
    let by_hand = "- !policy\n  id: poc\n  body:\n  - !policy\n    id: team\n    body:\n    - !policy\n      id: app\n      \
                   body:\n      - !variable clientSecret\n      - !variable theirs\n";
    fake.admin_load("controlplane", by_hand);
    fake.set_value("controlplane/poc/team/app/clientSecret", "kept");
    fake.set_value("controlplane/poc/team/app/theirs", "theirs");
    let agent = ConjurAgent::new(&fake, Making::default());
    let request = OnboardRequest::new(
        Strategy::Merge,
        Vec::new(),
        &Catalogue::default(),
        cloakroom_agent::id::ScopeKind::Application,
    );
    agent.backend.onboard(&onboard_permit(APP).await, request.unwrap()).await.unwrap();
    let reader = ConjurAgent::new(&fake, Making { account: "reader", ..Making::default() });
    assert_eq!(read(&agent, "poc:team:app:clientSecret:").await.as_deref(), Ok("kept"));
    assert_eq!(read(&reader, "poc:team:app:clientSecret:").await.as_deref(), Ok("kept"), "the groups reach it");
    offboard(&agent, APP).await.unwrap();
    assert_eq!(fake.value("controlplane/poc/team/app/theirs").as_deref(), Some(&b"theirs"[..]), "hidden, and kept");
    assert!(!fake.exists("variable", "controlplane/poc/team/app/clientSecret"));
    assert!(!fake.exists("group", "controlplane/poc/team/app/readers"), "with all its members");
}

#[tokio::test]
async fn what_others_put_into_an_application_keeps_its_branch() {
    let fake = prepared(&[("agent", ALL)]).await;
    let agent = ConjurAgent::new(&fake, Making::default());
    onboard(&agent, APP).await.unwrap();
    let theirs = "- !variable theirs\n- !permit\n  role: !group writers\n  privileges: [read, execute]\n  resource: !variable theirs\n";
    fake.admin_load("controlplane/poc/team/app", theirs);
    fake.set_value("controlplane/poc/team/app/theirs", "theirs");
    offboard(&agent, APP).await.unwrap();
    assert_eq!(fake.value("controlplane/poc/team/app/theirs").as_deref(), Some(&b"theirs"[..]));
    assert!(!fake.exists("variable", "controlplane/poc/team/app/clientSecret"));
    assert_eq!(read(&agent, "poc:team:app:clientSecret:").await.unwrap_err(), BackendError::ScopeMissing);
}

#[tokio::test]
async fn a_team_that_goes_keeps_the_rights_of_its_applications() {
    let fake = prepared(&[("agent", ALL), ("reader", &[cloakroom_agent::access::Right::SecretsRead])]).await;
    let agent = ConjurAgent::new(&fake, Making::default());
    for scope in ["poc", "poc/team", APP] {
        onboard(&agent, scope).await.unwrap();
    }
    offboard(&agent, "poc/team").await.unwrap();
    let reader = ConjurAgent::new(&fake, Making { account: "reader", ..Making::default() });
    assert_eq!(read(&reader, "poc:team:app:clientSecret:").await.as_deref(), Ok("given"));
    assert_eq!(read(&reader, "poc:team::clientSecret:").await.unwrap_err(), BackendError::ScopeMissing);
    onboard(&agent, "poc/team").await.unwrap();
    assert_eq!(read(&reader, "poc:team::clientSecret:").await.as_deref(), Ok("given"), "it comes back with its rights");
}

#[tokio::test]
async fn onboarding_what_is_whole_loads_nothing() {
    let fake = prepared(&[("agent", ALL)]).await;
    let agent = ConjurAgent::new(&fake, Making::default());
    onboard(&agent, APP).await.unwrap();
    fake.forget_calls();
    onboard(&agent, APP).await.unwrap();
    assert_eq!((fake.count(Kind::PolicyLoad), fake.count(Kind::Write)), (0, 0));
}

#[tokio::test]
async fn loads_into_a_busy_branch_wait_for_as_long_as_they_are_told() {
    let fake = prepared(&[("agent", ALL)]).await;
    let agents: Vec<ConjurAgent> = (0..3).map(|_| ConjurAgent::new(&fake, Making::default())).collect();
    onboard(&agents[0], "poc/team").await.unwrap();
    fake.set_load_time(Duration::from_millis(300));
    let (one, two, three) = tokio::join!(
        onboard(&agents[0], "poc/team/one"),
        onboard(&agents[1], "poc/team/two"),
        onboard(&agents[2], "poc/team/three")
    );
    assert!(one.is_ok() && two.is_ok() && three.is_ok(), "{one:?} {two:?} {three:?}");
}

#[tokio::test]
async fn a_deleted_secret_is_gone_from_conjur_and_its_slot_takes_a_new_value() {
    let fake = prepared(&[("agent", ALL)]).await;
    let agent = ConjurAgent::new(&fake, Making::default());
    onboard(&agent, APP).await.unwrap();
    let id = "poc:team:app:clientSecret:";
    agent.backend.delete(&write_permit(id).await, Guard::None).await.unwrap();
    assert_eq!(fake.value("controlplane/poc/team/app/clientSecret"), None);
    assert_eq!(read(&agent, id).await.unwrap_err(), BackendError::Absent);
    assert!(fake.exists("variable", "controlplane/poc/team/app/clientSecret"), "who may only write can do so again");
    let put = Put { value: SecretValue::new("new".to_owned()), guard: Guard::None, keep_previous: None };
    agent.backend.put(&write_permit(id).await, put).await.unwrap();
    assert_eq!(read(&agent, id).await.as_deref(), Ok("new"));
}

#[tokio::test]
async fn who_reaches_one_variable_by_a_privilege_of_its_own_can_delete_its_value_in_a_few_loads() {
    let (fake, agent) = with_privileges("create, update").await;
    scope_in(&fake, APP);
    fake.set_value("controlplane/poc/team/app/clientSecret", "value");
    let host = "apps/system:serviceaccount:poc:bare";
    let permit = format!(
        "- !permit\n  role: !host /{host}\n  privileges: [read, execute, update]\n  resource: !variable clientSecret\n"
    );
    fake.admin_load("controlplane/poc/team/app", &permit);
    fake.forget_calls();
    agent.delete("poc:team:app:clientSecret:").await.unwrap();
    assert!(fake.exists("variable", "controlplane/poc/team/app/clientSecret"));
    assert_eq!(fake.value("controlplane/poc/team/app/clientSecret"), None);
    assert!(fake.count(Kind::PolicyLoad) <= 8, "{} loads", fake.count(Kind::PolicyLoad));
}

#[tokio::test]
async fn a_slot_whose_variable_somebody_deleted_is_made_again_by_the_next_write() {
    let fake = prepared(&[("agent", ALL)]).await;
    let agent = ConjurAgent::new(&fake, Making::default());
    onboard(&agent, APP).await.unwrap();
    fake.admin_patch("controlplane/poc/team", "- !delete\n  record: !variable app/clientSecret\n");
    let put = Put { value: SecretValue::new("new".to_owned()), guard: Guard::None, keep_previous: None };
    agent.backend.put(&write_permit("poc:team:app:clientSecret:").await, put).await.unwrap();
    assert_eq!(read(&agent, "poc:team:app:clientSecret:").await.as_deref(), Ok("new"));
}
