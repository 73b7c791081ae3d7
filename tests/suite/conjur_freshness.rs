//! B6, K5: a follower that is late, rights that end, and nobody who is shown what he may not see any more.

use std::time::{Duration, Instant};

use cloakroom_agent::backend::BackendError;
use cloakroom_agent::cache::Source;
use cloakroom_agent::clock::Clock;
use cloakroom_agent::id::Checksum;
use cloakroom_tests::backend::checksum;
use cloakroom_tests::conjur::{FakeConjur, Fault, Kind, Side, When};
use cloakroom_tests::conjur_agent::{ALL, CachedConjur, ConjurAgent, Making, prepared, scope_in};
use tokio::time::{sleep, timeout};

const ID: &str = "poc:team:app:clientSecret:";
const ENTRY: &str = "poc:team:app:externalSecrets/key:";
const VARIABLE: &str = "controlplane/poc/team/app/clientSecret";
const TTL: Duration = Duration::from_mins(5);
const LAG: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(400);

async fn server() -> FakeConjur {
    let fake = prepared(&[("agent", ALL), ("writer", ALL)]).await;
    scope_in(&fake, "poc/team/app");
    fake.set_value(VARIABLE, "old");
    fake.set_value("controlplane/poc/team/app/externalSecrets", r#"{"key":"old"}"#);
    fake
}

/// An agent that reads from the follower.
async fn agent(fake: &FakeConjur, account: &'static str, version_poll: Duration) -> (ConjurAgent, CachedConjur) {
    let making = Making { account, follower: true, version_poll, ..Making::default() };
    let agent = ConjurAgent::logged_in(fake, making).await;
    let cached = CachedConjur::new(&agent, TTL, Clock::Boot);
    (agent, cached)
}

async fn value(cached: &CachedConjur, id: &str) -> Result<String, BackendError> {
    cached.get(id).await.map(|answer| answer.0)
}

#[tokio::test]
async fn b6_whoever_wrote_reads_it_back_from_a_follower_that_is_late() {
    let fake = server().await;
    fake.set_lag(LAG);
    let (_agent, cached) = agent(&fake, "writer", Duration::ZERO).await;
    for (id, text) in [(ID, "one"), (ID, "two"), (ENTRY, "one"), (ENTRY, "two")] {
        assert!(value(&cached, id).await.is_ok());
        cached.put(id, text).await.unwrap();
        for _ in 0..3 {
            assert_eq!(value(&cached, id).await.as_deref(), Ok(text));
        }
    }
    // Without the leader there is no newer value to be had, and the older one is not shown.
    cached.put(ID, "three").await.unwrap();
    fake.fail(When::any().on(Side::Leader), Fault::Refuse);
    assert!(matches!(value(&cached, ID).await, Err(BackendError::Unavailable { .. })));
    fake.clear_faults();
    assert_eq!(value(&cached, ID).await.as_deref(), Ok("three"));
}

#[tokio::test]
async fn b6_whose_id_names_a_newer_value_gets_that_or_an_error() {
    let fake = server().await;
    fake.set_lag(LAG);
    let (_reads, reader) = agent(&fake, "agent", Duration::ZERO).await;
    let (_writes, writer) = agent(&fake, "writer", Duration::ZERO).await;
    assert_eq!(value(&reader, ID).await.as_deref(), Ok("old"));
    writer.put(ID, "new").await.unwrap();
    let newer = checksum(ID, "new");
    fake.fail(When::any().on(Side::Leader), Fault::Refuse);
    assert!(matches!(reader.ask(ID, &newer).await, Err(BackendError::Unavailable { .. })));
    assert_eq!(value(&reader, ID).await.as_deref(), Ok("old"), "who knows of nothing newer");
    fake.clear_faults();
    // One such question a second; until then the last answer is the error, not the old value for the new one.
    sleep(Duration::from_millis(1050)).await;
    let (text, source, _) = reader.ask(ID, &newer).await.unwrap();
    assert_eq!((&*text, source), ("new", Source::Backend));
    // From then on everybody there is served it, and it does not fall back to what the follower has.
    assert_eq!(value(&reader, ID).await.as_deref(), Ok("new"));
    assert_eq!(reader.ask(ID, &Checksum::parse("000000000000").unwrap()).await.unwrap().0, "new");
}

#[tokio::test]
async fn b6_whose_id_names_a_newer_value_gets_it_also_of_an_agent_that_knows_nothing_yet() {
    const NEW: &str = "poc:team:app:rotatedClientSecret:";
    let fake = server().await;
    fake.set_lag(LAG);
    let (_writes, writer) = agent(&fake, "writer", Duration::ZERO).await;
    for id in [ID, NEW] {
        writer.put(id, "new").await.unwrap();
        let newer = checksum(id, "new");
        for ttl in [TTL, Duration::ZERO] {
            let (reads, _) = agent(&fake, "agent", Duration::ZERO).await;
            let reader = CachedConjur::new(&reads, ttl, Clock::Boot);
            fake.fail(When::any().on(Side::Leader), Fault::Refuse);
            assert!(matches!(reader.ask(id, &newer).await, Err(BackendError::Unavailable { .. })), "{id} {ttl:?}");
            // What is in memory is there for who knows of nothing newer; what is not is asked of the leader from now on.
            if !ttl.is_zero() {
                let before = if id == ID { Ok("old") } else { Err(&BackendError::Absent) };
                assert_eq!(value(&reader, id).await.as_deref(), before);
            }
            fake.clear_faults();
            // One such question a second.
            sleep(Duration::from_millis(1050)).await;
            assert_eq!(reader.ask(id, &newer).await.unwrap().0, "new", "{id} {ttl:?}");
        }
    }
}

#[tokio::test]
async fn b6_several_that_name_newer_values_are_asked_of_the_leader_together() {
    let fake = server().await;
    fake.set_lag(LAG);
    let (_writes, writer) = agent(&fake, "writer", Duration::ZERO).await;
    let (_reads, reader) = agent(&fake, "agent", Duration::ZERO).await;
    writer.put(ID, "new").await.unwrap();
    writer.put(ENTRY, "new").await.unwrap();
    fake.forget_calls();
    let third = "poc:team:app:externalSecrets/missing:";
    let wanted = [(ID, checksum(ID, "new")), (ENTRY, checksum(ENTRY, "new")), (third, Checksum::default())];
    let answers = reader.ask_all(&wanted).await;
    let texts: Vec<_> = answers.iter().map(|answer| answer.as_ref().map(|answer| answer.0.as_str())).collect();
    assert_eq!(texts, [Ok("new"), Ok("new"), Err(&BackendError::Absent)]);
    let to_leader: Vec<_> = fake.calls().into_iter().filter(|call| call.side == Side::Leader).collect();
    assert_eq!(to_leader.len(), 1, "{to_leader:?}");
}

#[tokio::test]
async fn an_id_that_is_merely_old_costs_the_leader_one_question_and_no_more() {
    let fake = server().await;
    let (_agent, reader) = agent(&fake, "agent", Duration::ZERO).await;
    fake.forget_calls();
    for _ in 0..3 {
        assert_eq!(reader.ask(ID, &checksum(ID, "older")).await.unwrap().0, "old");
    }
    let reads = fake.calls().into_iter().filter(|call| call.endpoint == Kind::Read);
    assert_eq!(reads.map(|call| call.side).collect::<Vec<_>>(), [Side::Follower, Side::Leader]);
}

#[tokio::test]
async fn b6_everybody_else_sees_it_within_the_lag_a_poll_and_a_second() {
    let fake = server().await;
    let lag = Duration::from_secs(2);
    fake.set_lag(lag);
    let (_agent, cached) = agent(&fake, "agent", POLL).await;
    let fetched = Instant::now();
    assert_eq!(value(&cached, ID).await.as_deref(), Ok("old"));
    // So that the poll knows the first version.
    sleep(POLL * 2).await;
    fake.set_value(VARIABLE, "new");
    let written = Instant::now();
    let shown = async {
        loop {
            let (text, source, age) = cached.get(ID).await.unwrap();
            if text == "new" {
                return written.elapsed();
            }
            assert_eq!(source, Source::Cache);
            assert!(age + Duration::from_millis(500) >= fetched.elapsed(), "{age:?} is younger than its fetch");
            sleep(Duration::from_millis(20)).await;
        }
    };
    let after = timeout(lag + POLL + Duration::from_secs(1), shown).await.expect("not seen in time");
    assert!(after + POLL >= lag, "the follower is not late at all: {after:?}");
}

#[tokio::test]
async fn b6_a_change_between_the_read_and_the_first_poll_is_seen_too() {
    let fake = server().await;
    let (_agent, cached) = agent(&fake, "agent", POLL).await;
    assert_eq!(value(&cached, ID).await.as_deref(), Ok("old"));
    fake.set_value(VARIABLE, "new");
    let shown = async {
        while value(&cached, ID).await.as_deref() != Ok("new") {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(POLL + Duration::from_secs(1), shown).await.expect("not seen in time");
}

#[tokio::test]
async fn k5_a_poll_asks_for_versions_and_never_for_values() {
    let fake = server().await;
    let (_agent, cached) = agent(&fake, "agent", POLL).await;
    assert_eq!(value(&cached, ID).await.as_deref(), Ok("old"));
    // The first look compares the value once: nobody knows which version it was.
    sleep(POLL * 3).await;
    fake.forget_calls();
    sleep(POLL * 4).await;
    let calls = fake.calls();
    assert!((1..=6).contains(&calls.len()), "{} calls", calls.len());
    assert!(calls.iter().all(|call| call.endpoint == Kind::Metadata && call.side == Side::Follower));
}

#[tokio::test]
async fn k5_a_refusal_of_conjur_is_confirmed_by_one_login_and_ends_what_is_cached() {
    let fake = server().await;
    let (agent, cached) = agent(&fake, "agent", Duration::ZERO).await;
    assert_eq!(value(&cached, ID).await.as_deref(), Ok("old"));
    sleep(Duration::from_millis(1050)).await;
    fake.forget_calls();
    fake.fail(Kind::Read, Fault::status(403));
    assert_eq!(agent.read(ID).await, Err(BackendError::Denied));
    assert_eq!((fake.count(Kind::Login), fake.count(Kind::Read)), (1, 2));
    for _ in 0..10 {
        assert_eq!(agent.read(ID).await, Err(BackendError::Denied));
    }
    assert_eq!(fake.count(Kind::Login), 1, "one a second");
    // Who asks for something newer hears the refusal, and from then on nobody is served the old value.
    assert_eq!(value(&cached, ID).await.as_deref(), Ok("old"));
    assert_eq!(cached.ask(ID, &checksum(ID, "new")).await.err(), Some(BackendError::Denied));
    assert_eq!(value(&cached, ID).await, Err(BackendError::Denied));
    fake.clear_faults();
    assert_eq!(value(&cached, ID).await.as_deref(), Ok("old"));
}

#[tokio::test]
async fn k5_a_right_that_is_taken_away_is_noticed_by_the_next_poll() {
    let whole = "- !revoke\n  role: !group controlplane/readers\n  member: !host apps/system:serviceaccount:poc:agent\n\
                 - !revoke\n  role: !group controlplane/writers\n  member: !host apps/system:serviceaccount:poc:agent\n";
    let deny = |group: &str| {
        format!(
            "- !deny\n  role: !group poc/team/app/{group}\n  privileges: [execute]\n  resource: !variable \
             poc/team/app/clientSecret\n"
        )
    };
    let one = deny("readers") + &deny("writers");
    for (branch, text) in [("root", whole), ("controlplane", &one)] {
        let fake = server().await;
        let (_agent, cached) = agent(&fake, "agent", POLL).await;
        assert_eq!(value(&cached, ID).await.as_deref(), Ok("old"));
        sleep(POLL * 2).await;
        fake.admin_patch(branch, text);
        let login = "host/apps/system:serviceaccount:poc:agent";
        assert!(!fake.allowed(login, "execute", "variable", VARIABLE), "it is not taken away: {text}");
        let noticed = async {
            while value(&cached, ID).await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(POLL + Duration::from_secs(1), noticed).await.unwrap_or_else(|_| panic!("not noticed in time: {text}"));
        let error = value(&cached, ID).await.err();
        let refused = matches!(error, Some(BackendError::Denied | BackendError::Absent | BackendError::ScopeMissing));
        assert!(refused, "{error:?}");
    }
}
