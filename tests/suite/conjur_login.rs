//! B1, I8: one login for all, as seldom as it can be, and nothing for an identity that is not taken any more.

use std::time::{Duration, Instant};

use cloakroom_agent::backend::BackendError;
use cloakroom_agent::cache::Source;
use cloakroom_agent::clock::Clock;
use cloakroom_tests::conjur::{FakeConjur, Fault, Jwt, Kind, Moment, Side, When};
use cloakroom_tests::conjur_agent::{ALL, CachedConjur, ConjurAgent, Making, prepared, scope_in};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{sleep, timeout};

/// A token with one thing wrong about it, at this second.
type Spoiled = fn(Jwt, u64) -> Jwt;

const ID: &str = "poc:team:app:clientSecret:";
const VARIABLE: &str = "controlplane/poc/team/app/clientSecret";
const UNAVAILABLE: BackendError = BackendError::Unavailable { retry_after: Duration::from_secs(1) };

/// How long a token of Conjur is good for.
const TOKEN: Duration = Duration::from_mins(8);

async fn server() -> FakeConjur {
    let fake = prepared(&[("agent", ALL), ("heir", ALL)]).await;
    scope_in(&fake, "poc/team/app");
    fake.set_value(VARIABLE, "value");
    fake
}

/// An agent that may log in again at once.
async fn agent(fake: &FakeConjur) -> ConjurAgent {
    let agent = ConjurAgent::logged_in(fake, Making::default()).await;
    sleep(Duration::from_millis(1050)).await;
    fake.forget_calls();
    agent
}

/// Until it is well again; B2 gives it two seconds.
async fn recovers(agent: &ConjurAgent) {
    let well = async {
        while agent.read(ID).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(2), well).await.expect("no recovery in time");
}

#[tokio::test]
async fn b1_a_hundred_requests_on_a_token_that_has_ended_cause_one_login() {
    let fake = server().await;
    let agent = agent(&fake).await;
    fake.advance(TOKEN);
    let answers = join_all((0..100).map(|_| agent.read(ID))).await;
    assert!(answers.iter().all(|answer| answer.as_deref() == Ok("value")));
    assert_eq!(fake.count(Kind::Login), 1);
    // Those under way are sent twice; who came later has the new token.
    assert!(fake.count(Kind::Read) <= 104, "{} reads", fake.count(Kind::Read));
    assert!(fake.max_in_flight() <= 5, "{} at once", fake.max_in_flight());
}

#[tokio::test]
async fn b1_one_refusal_is_a_login_and_one_retry_and_a_second_one_is_an_error() {
    let fake = server().await;
    let agent = agent(&fake).await;
    fake.fail(When::from(Kind::Read).times(1), Fault::status(401));
    assert_eq!(agent.read(ID).await.as_deref(), Ok("value"));
    assert_eq!((fake.count(Kind::Login), fake.count(Kind::Read)), (1, 2));
    sleep(Duration::from_millis(1050)).await;
    fake.forget_calls();
    fake.fail(Kind::Read, Fault::status(401));
    assert_eq!(agent.read(ID).await, Err(BackendError::Misbehaved));
    assert_eq!((fake.count(Kind::Login), fake.count(Kind::Read)), (1, 2));
}

#[tokio::test]
async fn b1_a_refusal_right_after_a_login_is_still_one_login_and_one_retry() {
    let fake = server().await;
    let agent = ConjurAgent::logged_in(&fake, Making::default()).await;
    fake.forget_calls();
    fake.fail(When::from(Kind::Read).times(1), Fault::status(401));
    assert_eq!(agent.read(ID).await.as_deref(), Ok("value"));
    let calls: Vec<_> = fake.calls().into_iter().map(|call| call.endpoint).collect();
    assert_eq!(calls, [Kind::Read, Kind::Login, Kind::Read]);
}

#[tokio::test]
async fn a_refusal_that_no_new_login_can_confirm_is_not_taken_for_one() {
    let fake = server().await;
    let agent = agent(&fake).await;
    fake.fail(Kind::Read, Fault::status(403));
    fake.fail(Kind::Login, Fault::status(503));
    assert_eq!(agent.read(ID).await, Err(UNAVAILABLE));
}

#[tokio::test]
async fn b2_a_follower_that_fails_or_hangs_keeps_nobody_from_the_leader() {
    for fault in [Fault::status(500), Fault::status(503), Fault::Refuse, Fault::TlsStall] {
        let fake = server().await;
        fake.fail(When::any().on(Side::Follower), fault);
        let agent = ConjurAgent::new(&fake, Making { follower: true, ..Making::default() });
        agent.put(ID, "new").await.unwrap();
        assert_eq!(fake.value(VARIABLE).as_deref(), Some(b"new".as_slice()));
    }
}

#[tokio::test]
async fn b1_logins_that_fail_are_tried_once_a_second_whoever_asks() {
    let fake = server().await;
    let agent = agent(&fake).await;
    fake.advance(TOKEN);
    fake.fail(Kind::Login, Fault::status(401));
    let until = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < until {
        // Nobody waits for the next try: what the last one came to holds for all.
        let answers = join_all((0..25).map(|_| agent.read(ID))).await;
        assert!(answers.iter().all(|answer| *answer == Err(UNAVAILABLE)), "{answers:?}");
        sleep(Duration::from_millis(10)).await;
    }
    let logins: Vec<Instant> =
        fake.calls().into_iter().filter(|call| call.endpoint == Kind::Login).map(|call| call.time).collect();
    assert!((2..=3).contains(&logins.len()), "{} logins in two and a half seconds", logins.len());
    assert!(logins.windows(2).all(|two| two[1] - two[0] >= Duration::from_secs(1)), "{logins:?}");
    fake.clear_faults();
    recovers(&agent).await;
}

#[tokio::test]
async fn b1_a_token_is_renewed_before_it_ends_and_nobody_waits_for_that() {
    let fake = server().await;
    let life = Duration::from_secs(6);
    fake.set_token_ttl(life);
    // Conjur counts in whole seconds: a token that is made late in one lives shorter than it says.
    let second = Duration::from_secs(1).as_nanos();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() % second;
    fake.advance(Duration::from_nanos(u64::try_from(second - now).unwrap()));
    let agent = ConjurAgent::logged_in(&fake, Making::default()).await;
    let began = Instant::now();
    let mut gate = fake.hold(Kind::Login, Moment::BeforeAnswer);
    let mut renewing = 0;
    // Within the last part of its life there is somebody who logs in, and all who ask go on with what they have.
    while began.elapsed() < life.mul_f64(0.95) && renewing < 20 {
        assert_eq!(agent.read(ID).await.as_deref(), Ok("value"));
        renewing += usize::from(fake.count(Kind::Login) == 2);
        sleep(Duration::from_millis(10)).await;
    }
    timeout(life, gate.reached()).await.expect("nobody has renewed the token");
    assert!(renewing > 0, "nobody was served while the token was renewed");
    assert!(began.elapsed() >= life.mul_f64(0.75), "after {:?} already", began.elapsed());
    gate.open();
    while began.elapsed() < life + Duration::from_millis(100) {
        sleep(Duration::from_millis(20)).await;
        assert_eq!(agent.read(ID).await.as_deref(), Ok("value"));
    }
    assert_eq!(fake.count(Kind::Login), 2, "the first token has ended, and the second has not");
}

#[tokio::test]
async fn i8_a_token_that_is_not_for_conjur_serves_nobody() {
    let fake = server().await;
    let now = |fake: &FakeConjur| fake.jwt("poc", "agent");
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let wrong: [(&str, Spoiled); 5] = [
        ("audience", |jwt, _| jwt.claim("aud", json!(["https://kubernetes.default.svc"]))),
        ("expired", |jwt, now| jwt.claim("exp", json!(now - 1))),
        ("not yet", |jwt, now| jwt.claim("nbf", json!(now + 3600))),
        ("issuer", |jwt, _| jwt.claim("iss", json!("https://elsewhere.test"))),
        ("signature", |jwt, _| jwt.by_stranger()),
    ];
    let cases = wrong.map(async |(name, spoil)| {
        let agent = ConjurAgent::new(&fake, Making::default());
        // Whatever it logged in with first: it counts from the next login on.
        agent.conjur.ensure_login().await.unwrap();
        let cached = CachedConjur::new(&agent, Duration::from_mins(5), Clock::manual());
        assert_eq!(cached.get(ID).await.unwrap().1, Source::Backend);
        std::fs::write(agent.token_file(), spoil(now(&fake), seconds).sign()).unwrap();
        (name, agent, cached)
    });
    let agents = join_all(cases).await;
    sleep(Duration::from_millis(1050)).await;
    fake.advance(TOKEN);
    fake.forget_calls();
    for (name, agent, cached) in &agents {
        assert_eq!(agent.read(ID).await, Err(UNAVAILABLE), "{name}");
        assert_eq!(cached.get(ID).await.map(|answer| answer.1), Ok(Source::Cache), "{name}: within its time");
        cached.clock.advance(Duration::from_mins(5));
        assert_eq!(cached.get(ID).await.err(), Some(UNAVAILABLE), "{name}: past its time");
    }
    let subjects = fake.calls().into_iter().filter(|call| call.endpoint != Kind::Login && call.subject.is_none());
    assert_eq!(subjects.count(), 0, "nothing is asked without a token");
}

#[tokio::test]
async fn i8_a_host_that_is_deleted_reads_nothing_and_what_it_read_is_forgotten_at_the_next_poll() {
    let fake = server().await;
    let making = Making { version_poll: Duration::from_millis(300), ..Making::default() };
    let agent = ConjurAgent::logged_in(&fake, making).await;
    let cached = CachedConjur::new(&agent, Duration::from_hours(1), Clock::Boot);
    assert_eq!(cached.get(ID).await.unwrap().0, "value");
    fake.admin_patch("root", "- !delete\n  record: !host apps/system:serviceaccount:poc:agent\n");
    assert!(matches!(agent.read(ID).await, Err(BackendError::Denied | UNAVAILABLE)));
    let forgotten = async {
        while cached.get(ID).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), forgotten).await.expect("it is served as somebody who is gone");
    for _ in 0..3 {
        assert!(cached.get(ID).await.is_err());
        sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn i8_a_token_that_the_kubelet_renews_is_used_at_the_next_login() {
    let fake = server().await;
    let agent = agent(&fake).await;
    std::fs::write(agent.token_file(), fake.jwt("poc", "heir").sign()).unwrap();
    assert_eq!(agent.read(ID).await.as_deref(), Ok("value"));
    let subject = |fake: &FakeConjur| fake.calls().last().and_then(|call| call.subject.clone()).unwrap();
    assert!(subject(&fake).ends_with(":agent"), "the login that there is goes on");
    fake.advance(TOKEN);
    assert_eq!(agent.read(ID).await.as_deref(), Ok("value"));
    assert!(subject(&fake).ends_with(":heir"), "{}", subject(&fake));
}

#[tokio::test]
async fn i8_a_token_file_that_is_missing_for_a_moment_is_read_again() {
    let fake = server().await;
    let agent = agent(&fake).await;
    let token = std::fs::read(agent.token_file()).unwrap();
    std::fs::remove_file(agent.token_file()).unwrap();
    fake.advance(TOKEN);
    assert_eq!(agent.read(ID).await, Err(UNAVAILABLE));
    std::fs::write(agent.token_file(), "\n").unwrap();
    sleep(Duration::from_millis(1050)).await;
    assert_eq!(agent.read(ID).await, Err(UNAVAILABLE));
    assert_eq!(fake.count(Kind::Login), 0, "there is nothing to send");
    std::fs::write(agent.token_file(), token).unwrap();
    recovers(&agent).await;
}
