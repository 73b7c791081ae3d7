//! B7: several writers of one slot of Conjur, which cannot compare and set.

use std::collections::BTreeMap;
use std::time::Duration;

use cloakroom_agent::backend::BackendError;
use cloakroom_agent::lease::Leases;
use cloakroom_tests::conjur::{FakeConjur, Fault, Kind, Moment, When};
use cloakroom_tests::conjur_agent::{ALL, ConjurAgent, Making, prepared, scope_in};
use futures_util::future::join_all;

const SCALAR: &str = "poc:team:app:clientSecret:";
const MAP: &str = "controlplane/poc/team/app/externalSecrets";

fn entry(key: &str) -> String {
    format!("poc:team:app:externalSecrets/{key}:")
}

async fn server() -> FakeConjur {
    let fake = prepared(&[("agent", ALL)]).await;
    scope_in(&fake, "poc/team/app");
    fake
}

async fn agent(fake: &FakeConjur, leases: &Leases) -> ConjurAgent {
    let making = Making { leases: leases.clone(), call: Duration::from_secs(20), ..Making::default() };
    ConjurAgent::logged_in(fake, making).await
}

/// What is stored.
fn map(fake: &FakeConjur) -> BTreeMap<String, String> {
    serde_json::from_slice(&fake.value(MAP).unwrap()).unwrap()
}

/// Writes so many entries one after the other; the keys that were acknowledged, and how many were not.
async fn entries(agent: &ConjurAgent, name: &str, count: usize) -> (Vec<String>, Vec<BackendError>) {
    let (mut kept, mut failed) = (Vec::new(), Vec::new());
    for number in 0..count {
        let key = format!("{name}-{number}");
        match agent.put(&entry(&key), "value").await {
            Ok(()) => kept.push(key),
            Err(error) => failed.push(error),
        }
    }
    (kept, failed)
}

fn expect_all(fake: &FakeConjur, acknowledged: &[(Vec<String>, Vec<BackendError>)]) {
    let stored = map(fake);
    let lost: Vec<&String> =
        acknowledged.iter().flat_map(|(kept, _)| kept).filter(|key| !stored.contains_key(*key)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
}

#[tokio::test]
async fn b7_two_agents_with_one_lock_lose_nothing_and_are_never_told_no() {
    let fake = server().await;
    let leases = Leases::none();
    let (one, two) = (agent(&fake, &leases).await, agent(&fake, &leases).await);
    let done = tokio::join!(entries(&one, "one", 100), entries(&two, "two", 100));
    assert!(done.0.1.is_empty() && done.1.1.is_empty(), "{:?} {:?}", done.0.1, done.1.1);
    assert_eq!(map(&fake).len(), 200);
}

#[tokio::test]
async fn b7_two_agents_without_a_lock_put_together_what_each_has_written() {
    let fake = server().await;
    let (one, two) = (agent(&fake, &Leases::none()).await, agent(&fake, &Leases::none()).await);
    let done = tokio::join!(entries(&one, "one", 60), entries(&two, "two", 60));
    assert!(done.0.1.is_empty() && done.1.1.is_empty(), "{:?} {:?}", done.0.1, done.1.1);
    expect_all(&fake, &[done.0, done.1]);
}

#[tokio::test]
async fn b7_whoever_writes_between_a_read_and_a_write_loses_nothing() {
    let fake = server().await;
    let agent = agent(&fake, &Leases::none()).await;
    // An entry that came a moment ago, and that the next writer does not have, might be one that he did not know of.
    agent.put(&entry("gone"), "1").await.unwrap();
    for number in 0..12 {
        agent.put(&entry("a"), &number.to_string()).await.unwrap();
    }
    let mut gate = fake.hold(Kind::Write, Moment::BeforeEffect);
    let key = entry("b");
    let writing = agent.put(&key, "2");
    let between = async {
        gate.reached().await;
        fake.set_value(MAP, r#"{"a":"changed","c":"3"}"#);
        gate.open();
    };
    assert_eq!(tokio::join!(writing, between).0, Ok(()));
    let expected = [("a", "changed"), ("b", "2"), ("c", "3")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(map(&fake), BTreeMap::from(expected));
}

#[tokio::test]
async fn b7_whoever_writes_again_while_it_is_put_together_loses_nothing_either() {
    let fake = server().await;
    let agent = agent(&fake, &Leases::none()).await;
    agent.put(&entry("a"), "1").await.unwrap();
    let (first, key) = (fake.hold(Kind::Write, Moment::BeforeEffect), entry("b"));
    // Written from the first version, and hidden by our write.
    let second = fake.hold(Kind::Write, Moment::BeforeEffect);
    let writing = agent.put(&key, "2");
    let between = async {
        let (mut first, mut second) = (first, second);
        first.reached().await;
        fake.set_value(MAP, r#"{"a":"1","c":"3"}"#);
        first.open();
        second.reached().await;
        // Somebody who knows of our write and of no other.
        fake.set_value(MAP, r#"{"a":"1","b":"2","d":"4"}"#);
        second.open();
    };
    assert_eq!(tokio::join!(writing, between).0, Ok(()));
    assert_eq!(map(&fake).into_keys().collect::<String>(), "abcd");
}

#[tokio::test]
async fn b7_whoever_wrote_the_very_same_hides_nobody_who_wrote_after_that() {
    let fake = server().await;
    let agent = agent(&fake, &Leases::none()).await;
    agent.put(&entry("a"), "1").await.unwrap();
    let mut gate = fake.hold(Kind::Write, Moment::BeforeEffect);
    let key = entry("b");
    let between = async {
        gate.reached().await;
        // The next version is what ours would be, and ours hides the one behind it.
        fake.set_value(MAP, r#"{"a":"1","b":"2"}"#);
        fake.set_value(MAP, r#"{"a":"1","b":"2","c":"3"}"#);
        gate.open();
    };
    assert_eq!(tokio::join!(agent.put(&key, "2"), between).0, Ok(()));
    assert_eq!(map(&fake).into_keys().collect::<String>(), "abc");
}

#[tokio::test]
async fn b7_the_only_writer_is_told_that_it_was_not_the_only_one() {
    let fake = server().await;
    let making = Making { single_writer: true, ..Making::default() };
    let agent = ConjurAgent::logged_in(&fake, making).await;
    agent.put(&entry("a"), "1").await.unwrap();
    let mut gate = fake.hold(Kind::Write, Moment::BeforeEffect);
    let key = entry("b");
    let between = async {
        gate.reached().await;
        fake.set_value(MAP, r#"{"a":"1","c":"3"}"#);
        gate.open();
    };
    assert_eq!(tokio::join!(agent.put(&key, "2"), between).0, Err(BackendError::VersionGap));
    assert_eq!(map(&fake).into_keys().collect::<String>(), "abc", "and it is put together all the same");
    agent.put(&entry("d"), "4").await.unwrap();
}

#[tokio::test]
async fn b7_what_is_deleted_is_absent_and_can_be_written_again() {
    let fake = server().await;
    let agent = agent(&fake, &Leases::none()).await;
    for (id, variable) in [(SCALAR.to_owned(), "controlplane/poc/team/app/clientSecret"), (entry("a"), MAP)] {
        agent.put(&id, "1").await.unwrap();
        agent.delete(&id).await.unwrap();
        assert_eq!(agent.read(&id).await, Err(BackendError::Absent));
        assert!(fake.value(variable).is_none_or(|value| value == "{}"), "nothing is left of it at Conjur");
        assert_eq!(agent.delete(&id).await, Err(BackendError::Absent));
        agent.put(&id, "2").await.unwrap();
        assert_eq!(agent.read(&id).await.as_deref(), Ok("2"));
    }
    agent.delete(SCALAR).await.unwrap();
    assert_eq!(fake.value("controlplane/poc/team/app/clientSecret"), None, "no empty value");
}

#[tokio::test]
async fn b7_a_collision_is_tried_again() {
    let fake = server().await;
    let agent = agent(&fake, &Leases::none()).await;
    for id in [SCALAR.to_owned(), entry("a")] {
        fake.fail(When::from(Kind::Write).times(3), Fault::status(500));
        fake.forget_calls();
        assert_eq!(agent.put(&id, "1").await, Ok(()));
        assert_eq!(fake.count(Kind::Write), 4);
    }
    // Plain writes of one slot, from agents that know nothing of each other: the double answers 500 to all but one.
    fake.set_latency(Duration::from_millis(3));
    let others = join_all((0..4).map(async |_| self::agent(&fake, &Leases::none()).await)).await;
    let written = join_all(others.iter().flat_map(|agent| (0..5).map(move |_| agent.put(SCALAR, "same")))).await;
    assert!(written.iter().all(Result::is_ok), "{written:?}");
}

#[tokio::test]
async fn b7_an_answer_that_is_lost_is_looked_up_and_neither_doubled_nor_lost() {
    let fake = server().await;
    let agent = agent(&fake, &Leases::none()).await;
    agent.put(&entry("a"), "1").await.unwrap();
    for fault in [Fault::StopAfterEffect, Fault::status(502), Fault::StopBeforeEffect] {
        let done_at_once = matches!(fault, Fault::StopAfterEffect);
        let (before, key) = (fake.versions(MAP).len(), entry(&format!("b-{}", fake.versions(MAP).len())));
        fake.forget_calls();
        fake.fail(When::from(Kind::Write).times(1), fault);
        assert_eq!(agent.put(&key, "2").await, Ok(()));
        assert_eq!(fake.versions(MAP).len(), before + 1, "one write is one version");
        assert_eq!(fake.count(Kind::Write), if done_at_once { 1 } else { 2 });
    }
    assert_eq!(map(&fake).len(), 4);
}
