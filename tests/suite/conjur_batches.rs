//! Conjur's batches: few calls for many secrets, and no secret that suffers from its neighbour.

use std::time::Duration;

use cloakroom_agent::backend::BackendError;
use cloakroom_tests::conjur::{FakeConjur, Kind};
use cloakroom_tests::conjur_agent::{ALL, ConjurAgent, Making, prepared, scope_in};

fn id(app: usize) -> String {
    format!("poc:team:app-{app}:clientSecret:")
}

/// So many applications with a value each, readable by the agent, and `holes` without one.
async fn apps(count: usize, holes: &[usize]) -> FakeConjur {
    let fake = prepared(&[("agent", ALL)]).await;
    scope_in(&fake, "poc/team");
    let text = |app| {
        format!(
            "- !policy app-{app}\n- !variable app-{app}/clientSecret\n- !permit\n  role: !group readers\n  privileges: [read, \
             execute]\n  resource: !variable app-{app}/clientSecret\n"
        )
    };
    for some in (0..count).collect::<Vec<_>>().chunks(250) {
        fake.admin_load("controlplane/poc/team", &some.iter().map(text).collect::<String>());
    }
    for app in (0..count).filter(|app| !holes.contains(app)) {
        fake.set_value(&format!("controlplane/poc/team/app-{app}/clientSecret"), format!("value {app}"));
    }
    fake
}

/// An agent that has nothing to do but what it is told.
async fn agent(fake: &FakeConjur) -> ConjurAgent {
    let making = Making { call: Duration::from_secs(20), ..Making::default() };
    let agent = ConjurAgent::logged_in(fake, making).await;
    fake.forget_calls();
    agent
}

fn expect_all(answers: &[Result<String, BackendError>], but: &[usize]) {
    for (app, answer) in answers.iter().enumerate().filter(|(app, _)| !but.contains(app)) {
        assert_eq!(answer.as_deref(), Ok(&*format!("value {app}")));
    }
}

#[tokio::test]
async fn ten_thousand_secrets_take_two_hundred_calls() {
    let fake = apps(10_000, &[]).await;
    let agent = agent(&fake).await;
    let ids: Vec<String> = (0..10_000).map(id).collect();
    for (at, hundred) in ids.chunks(100).enumerate() {
        let answers = agent.read_all(hundred).await;
        for (app, answer) in answers.iter().enumerate() {
            assert_eq!(answer.as_deref(), Ok(&*format!("value {}", at * 100 + app)));
        }
    }
    assert_eq!((fake.count(Kind::Batch), fake.calls().len()), (200, 200));
    assert!(fake.max_in_flight() <= 4);
}

#[tokio::test]
async fn a_secret_that_is_asked_for_twice_is_asked_for_once() {
    let fake = apps(3, &[]).await;
    let agent = agent(&fake).await;
    let ids: Vec<String> = [0, 1, 2, 1, 0, 0].map(id).into();
    let answers = agent.read_all(&ids).await;
    let expected = [0, 1, 2, 1, 0, 0].map(|app| Ok(format!("value {app}")));
    assert_eq!(answers, expected);
    let calls = fake.calls();
    assert_eq!(calls.len(), 1, "Conjur would answer 500 to the same id twice");
    assert_eq!(calls[0].path_and_query.matches("clientSecret").count(), 3);
}

#[tokio::test]
async fn a_batch_with_one_that_is_missing_leaves_the_others_readable_in_few_calls() {
    let fake = apps(50, &[17]).await;
    let agent = agent(&fake).await;
    let answers = agent.read_all(&(0..50).map(id).collect::<Vec<_>>()).await;
    expect_all(&answers, &[17]);
    assert_eq!(answers[17], Err(BackendError::Absent));
    assert!(fake.calls().len() <= 15, "{} calls", fake.calls().len());
}

#[tokio::test]
async fn a_batch_with_one_that_is_denied_leaves_the_others_readable_in_few_calls() {
    let fake = apps(50, &[]).await;
    fake.admin_patch(
        "controlplane/poc/team",
        "- !deny\n  role: !group readers\n  privileges: [execute]\n  resource: !variable app-17/clientSecret\n",
    );
    let agent = agent(&fake).await;
    let answers = agent.read_all(&(0..50).map(id).collect::<Vec<_>>()).await;
    expect_all(&answers, &[17]);
    assert_eq!(answers[17], Err(BackendError::Denied));
    // Each refusal is confirmed with a new login, and there is at most one of those a second.
    assert!(fake.calls().len() <= 20, "{} calls", fake.calls().len());
    assert!(fake.count(Kind::Login) <= 1);
}

#[tokio::test]
async fn a_proxy_that_takes_no_long_targets_costs_calls_and_no_secret() {
    let fake = apps(50, &[]).await;
    fake.set_target_limit(Some(1000));
    let agent = agent(&fake).await;
    let answers = agent.read_all(&(0..50).map(id).collect::<Vec<_>>()).await;
    expect_all(&answers, &[]);
    assert!(fake.calls().len() <= 15, "{} calls", fake.calls().len());
    // Too short for even two of them.
    fake.set_target_limit(Some(120));
    fake.forget_calls();
    let answers = agent.read_all(&(0..50).map(id).collect::<Vec<_>>()).await;
    expect_all(&answers, &[]);
    assert!(fake.calls().len() <= 100, "{} calls", fake.calls().len());
    assert!(fake.max_in_flight() <= 4);
}
