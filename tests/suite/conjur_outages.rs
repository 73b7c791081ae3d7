//! B2, B4: while Conjur cannot be reached or trusted, and the moment after.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloakroom_agent::backend::BackendError;
use cloakroom_tests::conjur::{Certificate, FakeConjur, Fault, Kind, When};
use cloakroom_tests::conjur_agent::{ALL, ConjurAgent, Making, prepared, scope_in};
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

const ID: &str = "poc:team:app:clientSecret:";
const UNAVAILABLE: BackendError = BackendError::Unavailable { retry_after: Duration::from_secs(1) };

async fn server() -> FakeConjur {
    let fake = prepared(&[("agent", ALL)]).await;
    for team in ["team", "other"] {
        scope_in(&fake, &format!("poc/{team}/app"));
        fake.set_value(&format!("controlplane/poc/{team}/app/clientSecret"), "value");
    }
    fake
}

async fn agent(fake: &FakeConjur) -> ConjurAgent {
    let agent = ConjurAgent::logged_in(fake, Making::default()).await;
    fake.forget_calls();
    agent
}

async fn well_within(limit: Duration, agent: &ConjurAgent) {
    let well = async {
        while agent.read(ID).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(limit, well).await.expect("no recovery in time");
}

/// The warnings of a thread.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn with(&self, part: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn b2_an_outage_is_told_to_everybody_who_asks_and_costs_conjur_one_call_for_each() {
    let fake = server().await;
    let agent = agent(&fake).await;
    for (fault, expected) in [
        (Fault::later(503, 3), BackendError::Unavailable { retry_after: Duration::from_secs(3) }),
        (Fault::later(429, 3), BackendError::Unavailable { retry_after: Duration::from_secs(3) }),
        // Nobody is sent away for longer than a minute.
        (Fault::later(503, 86_400), BackendError::Unavailable { retry_after: Duration::from_mins(1) }),
        (Fault::status(500), UNAVAILABLE),
        (Fault::Reset, UNAVAILABLE),
    ] {
        fake.fail(When::any(), fault);
        let answers = join_all((0..200).map(|_| agent.read(ID))).await;
        assert!(answers.iter().all(|answer| *answer == Err(expected)), "{:?}", answers[0]);
        // One more: of the first whose connection broke nobody knows whether it was only an old one.
        assert!(fake.calls().len() <= 201, "{} calls for 200 requests", fake.calls().len());
        assert!(fake.max_in_flight() <= 4, "{} at once", fake.max_in_flight());
        fake.clear_faults();
        well_within(Duration::from_secs(2), &agent).await;
        fake.forget_calls();
    }
}

#[tokio::test]
async fn b2_what_fails_for_one_team_does_not_fail_for_another() {
    let fake = server().await;
    let agent = agent(&fake).await;
    for fault in [Fault::status(502), Fault::Reset, Fault::Html, Fault::status(403), Fault::Truncated] {
        fake.fail(When::any().path("team%2Fapp"), fault);
        let ids: Vec<String> = ["team", "other"].map(|team| format!("poc:{team}:app:clientSecret:")).into();
        let both = join_all((0..50).map(|at| agent.read(&ids[at % 2]))).await;
        assert!(both.iter().step_by(2).all(Result::is_err));
        assert!(both.iter().skip(1).step_by(2).all(|answer| answer.as_deref() == Ok("value")), "{both:?}");
        fake.clear_faults();
    }
}

#[tokio::test]
async fn b2_a_connection_that_conjur_has_closed_meanwhile_fails_no_request() {
    let fake = server().await;
    let agent = agent(&fake).await;
    for _ in 0..5 {
        assert_eq!(agent.read(ID).await.as_deref(), Ok("value"));
        fake.cut_connections();
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(fake.count(Kind::Login), 0);
}

#[tokio::test]
async fn b4_a_certificate_that_is_not_conjurs_is_refused_with_a_sentence() {
    let warnings = Warnings::default();
    let _heard = tracing::subscriber::set_default(warnings.clone());
    let fake = server().await;
    let agent = agent(&fake).await;
    for (shown, sentence) in [
        (Certificate::Expired, "has expired"),
        (Certificate::WrongName, "is for another name"),
        (Certificate::UnknownAuthority, "is by no authority in backend.conjur.caFile"),
    ] {
        fake.set_certificate(shown);
        let sentences = async {
            while warnings.with(sentence) == 0 {
                assert_eq!(agent.read(ID).await, Err(UNAVAILABLE), "{shown:?}");
            }
        };
        timeout(Duration::from_secs(5), sentences).await.expect("no sentence");
        let asked = fake.calls().len();
        for _ in 0..10 {
            assert_eq!(agent.read(ID).await, Err(UNAVAILABLE), "{shown:?}");
        }
        assert_eq!(warnings.with(sentence), 1, "the same is told once a minute");
        assert_eq!(fake.calls().len(), asked, "something was sent to a stranger");
        fake.set_certificate(Certificate::Good);
        well_within(Duration::from_secs(2), &agent).await;
    }
}

#[tokio::test]
async fn b4_an_authority_that_is_exchanged_on_disk_is_believed_within_ten_seconds() {
    let fake = server().await;
    let agent = agent(&fake).await;
    fake.rotate_ca();
    while agent.read(ID).await.is_ok() {}
    assert_eq!(agent.read(ID).await, Err(UNAVAILABLE));
    // Half-written, it leaves those in use that there were.
    let whole = fake.ca_pem();
    std::fs::write(agent.ca_file(), &whole[..whole.len() / 2]).unwrap();
    assert_eq!(agent.read(ID).await, Err(UNAVAILABLE));
    std::fs::write(agent.ca_file(), whole).unwrap();
    well_within(Duration::from_secs(10), &agent).await;
}

#[tokio::test]
async fn b4_a_bundle_of_the_old_and_the_new_authority_works_before_and_after() {
    let old = server().await;
    let new = server().await;
    for (fake, other) in [(&old, &new), (&new, &old)] {
        let making = Making { also_trusts: Some(other.ca_pem()), ..Making::default() };
        let agent = ConjurAgent::logged_in(fake, making).await;
        assert_eq!(agent.read(ID).await.as_deref(), Ok("value"));
    }
}
