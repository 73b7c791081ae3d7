//! Conjur as backend: the conformance cases on a double that is as stubborn as the real one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cloakroom_agent::access::{OnboardPermit, ReadPermit, Right, WritePermit};
use cloakroom_agent::backend::{Backend, BackendError, BackendKind, Entries, Fetched, Freshness, Guard, Put, Written};
use cloakroom_agent::id::Checksum;
use cloakroom_agent::lease::Leases;
use cloakroom_agent::secret::SecretValue;
use cloakroom_agent::slots::{OnboardRequest, OnboardedItem, Strategy};
use cloakroom_tests::backend::{onboard_permit, read_permit, write_permit};
use cloakroom_tests::conformance::{Harness, cases};
use cloakroom_tests::conjur::{FakeConjur, Fault, Kind, Moment, When};
use cloakroom_tests::conjur_agent::{ALL, ConjurAgent, Making, prepared};
use tokio_util::task::TaskTracker;

/// Agents that share a double, and one lock between them.
struct Agents {
    fake: FakeConjur,
    leases: Leases,
    follower: bool,
    all: Mutex<Vec<ConjurAgent>>,
}

impl Agents {
    fn one_more(&self) -> Arc<dyn Backend> {
        let making = Making { follower: self.follower, leases: self.leases.clone(), ..Making::default() };
        let agent = ConjurAgent::new(&self.fake, making);
        let backend = Arc::clone(&agent.backend);
        self.all.lock().unwrap().push(agent);
        backend
    }
}

impl Harness for Agents {
    fn backend(&self) -> Arc<dyn Backend> {
        self.one_more()
    }

    fn another_agent(&self) -> Arc<dyn Backend> {
        self.one_more()
    }
}

async fn every_case(follower: bool, lag: Duration) {
    let mut failed = Vec::new();
    for case in cases() {
        let fake = prepared(&[("agent", ALL)]).await;
        fake.set_lag(lag);
        let agents = Arc::new(Agents { fake, leases: Leases::none(), follower, all: Mutex::default() });
        // Each in a task of its own, so that one that fails does not hide the others.
        if TaskTracker::new().spawn((case.run)(agents)).await.is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn conjur_passes_every_conformance_case() {
    every_case(false, Duration::ZERO).await;
}

#[tokio::test]
async fn conjur_passes_every_conformance_case_beside_a_follower() {
    every_case(true, Duration::ZERO).await;
}

#[tokio::test]
async fn conjur_passes_every_conformance_case_beside_a_follower_that_is_late() {
    every_case(true, Duration::from_secs(5)).await;
}

/// Writes as one host, and reads as another that is only in `readers`.
struct Split {
    writer: Arc<dyn Backend>,
    reader: Arc<dyn Backend>,
}

#[async_trait]
impl Backend for Split {
    fn kind(&self) -> BackendKind {
        self.writer.kind()
    }

    async fn fetch(&self, permits: &[ReadPermit], freshness: Freshness) -> Vec<Result<Fetched, BackendError>> {
        self.reader.fetch(permits, freshness).await
    }

    async fn put(&self, permit: &WritePermit, put: Put) -> Result<Written, BackendError> {
        self.writer.put(permit, put).await
    }

    async fn put_entries(&self, permit: &WritePermit, entries: Entries) -> Result<Vec<Checksum>, BackendError> {
        self.writer.put_entries(permit, entries).await
    }

    async fn delete(&self, permit: &WritePermit, guard: Guard) -> Result<(), BackendError> {
        self.writer.delete(permit, guard).await
    }

    async fn onboard(
        &self,
        permit: &OnboardPermit,
        request: OnboardRequest,
    ) -> Result<Vec<OnboardedItem>, BackendError> {
        self.writer.onboard(permit, request).await
    }

    async fn offboard(&self, permit: &OnboardPermit) -> Result<(), BackendError> {
        self.writer.offboard(permit).await
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.reader.probe().await
    }
}

/// Agents that write, each beside one that only reads.
struct Pairs {
    agents: Agents,
}

impl Harness for Pairs {
    fn backend(&self) -> Arc<dyn Backend> {
        let agent = ConjurAgent::new(&self.agents.fake, Making { account: "reader", ..Making::default() });
        let reader = Arc::clone(&agent.backend);
        self.agents.all.lock().unwrap().push(agent);
        Arc::new(Split { writer: self.agents.one_more(), reader })
    }

    fn another_agent(&self) -> Arc<dyn Backend> {
        self.backend()
    }
}

#[tokio::test]
async fn a_second_host_that_is_only_a_reader_sees_every_case_as_the_writer_does() {
    let mut failed = Vec::new();
    for case in cases() {
        let fake = prepared(&[("agent", ALL), ("reader", &[Right::SecretsRead])]).await;
        let agents = Agents { fake, leases: Leases::none(), follower: false, all: Mutex::default() };
        if TaskTracker::new().spawn((case.run)(Arc::new(Pairs { agents }))).await.is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn a_host_that_is_only_a_reader_is_refused_every_write_by_conjur_itself() {
    let fake = prepared(&[("agent", ALL), ("reader", &[Right::SecretsRead])]).await;
    let writer = ConjurAgent::new(&fake, Making::default());
    onboard(&*writer.backend, APP).await;
    let reader = ConjurAgent::new(&fake, Making { account: "reader", ..Making::default() });
    for id in ["poc:eni--hyperion:my-app:clientSecret:", "poc:eni--hyperion:my-app:externalSecrets/a:"] {
        let put = Put { value: SecretValue::new("v".to_owned()), guard: Guard::None, keep_previous: None };
        assert_eq!(reader.backend.put(&write_permit(id).await, put).await, Err(BackendError::Denied), "{id}");
    }
    let scalar = write_permit("poc:eni--hyperion:my-app:clientSecret:").await;
    assert_eq!(reader.backend.delete(&scalar, Guard::None).await, Err(BackendError::LoadRefused));
    assert_eq!(reader.backend.offboard(&onboard_permit(APP).await).await, Err(BackendError::LoadRefused));
}

const APP: &str = "poc/eni--hyperion/my-app";

async fn onboard(backend: &dyn Backend, scope: &str) {
    let permit = onboard_permit(scope).await;
    let catalogue = cloakroom_agent::slots::Catalogue::default();
    let request = OnboardRequest::new(Strategy::Merge, Vec::new(), &catalogue, permit.scope().kind()).unwrap();
    backend.onboard(&permit, request).await.unwrap();
}

async fn put_entry(backend: &dyn Backend, key: &str) -> bool {
    let permit = write_permit(&format!("poc:eni--hyperion:my-app:externalSecrets/{key}:")).await;
    let put = Put { value: SecretValue::new("v".to_owned()), guard: Guard::None, keep_previous: None };
    backend.put(&permit, put).await.is_ok()
}

fn entries(fake: &FakeConjur) -> Vec<String> {
    let stored = fake.value(&format!("controlplane/{APP}/externalSecrets")).unwrap();
    let map: std::collections::BTreeMap<String, String> = serde_json::from_slice(&stored).unwrap();
    map.into_keys().collect()
}

#[tokio::test]
async fn b7_a_write_that_arrives_long_after_its_agent_gave_it_up_hides_nothing_for_long() {
    let fake = prepared(&[("agent", ALL)]).await;
    fake.set_collisions(false);
    let (leases, call) = (Leases::none(), Duration::from_secs(1));
    let agent = |leases: &Leases| ConjurAgent::new(&fake, Making { leases: leases.clone(), call, ..Making::default() });
    let (first, second) = (agent(&leases), agent(&leases));
    onboard(&*first.backend, APP).await;
    let late = fake.hold(Kind::Write, Moment::BeforeEffect);
    let told = put_entry(&*first.backend, "a").await;
    assert!(put_entry(&*second.backend, "b").await && put_entry(&*second.backend, "c").await);
    late.open();
    let mut seen = Vec::new();
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        seen = entries(&fake);
        if seen == ["a", "b", "c"] && fake.versions(&format!("controlplane/{APP}/externalSecrets")).len() > 3 {
            break;
        }
    }
    assert!(seen.ends_with(&["b".to_owned(), "c".to_owned()]), "what was acknowledged is there: {seen:?}");
    assert!(!told || seen[0] == "a");
}

#[tokio::test]
async fn a_read_whose_connection_breaks_is_sent_once_more_and_a_write_is_not() {
    let fake = prepared(&[("agent", ALL)]).await;
    let agent = ConjurAgent::new(&fake, Making::default());
    onboard(&*agent.backend, APP).await;
    fake.forget_calls();
    fake.fail(When::from(Kind::Read).times(1), Fault::Reset);
    let permit = read_permit("poc:eni--hyperion:my-app:clientSecret:").await;
    assert!(agent.backend.fetch(&[permit], Freshness::Latest).await.remove(0).is_ok());
    assert_eq!(fake.count(Kind::Read), 2);
    fake.forget_calls();
    fake.fail(When::from(Kind::Write).times(1), Fault::StopAfterEffect);
    assert!(put_entry(&*agent.backend, "a").await, "found by its version");
    assert_eq!(fake.count(Kind::Write), 1);
}
