//! N3, N6, N8: permit, record and deadline around each operation, with a backend that can be held.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cloakroom_agent::access::rate::{RateLimiter, RateSettings};
use cloakroom_agent::access::{Access, AccessError, Action, Decision, PermissionProvider, Subject, Target};
use cloakroom_agent::audit::{Audit, AuditMetrics, AuditSettings, SinkTarget};
use cloakroom_agent::backend::deadline::{DeadlineSettings, Deadlines};
use cloakroom_agent::backend::{Backend as _, BackendError, Freshness, Guard, Put};
use cloakroom_agent::cache::{Cache, CacheMetrics, CacheSettings};
use cloakroom_agent::clock::Clock;
use cloakroom_agent::id::{Scope, SecretId};
use cloakroom_agent::identity::Caller;
use cloakroom_agent::metrics::Metrics;
use cloakroom_agent::operations::{Context, OperationError, Operations, PutValue};
use cloakroom_agent::peer::Peer;
use cloakroom_agent::request_id::RequestIds;
use cloakroom_agent::secret::SecretValue;
use cloakroom_agent::slots::{Catalogue, Generator};
use cloakroom_tests::backend::{Scripted, read_permit, write_permit};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

const ID: &str = "poc:team:app:clientSecret:";
const ABSENT: &str = "poc:team:app:externalSecrets/none:";
const ALLOWED: u32 = 1;
const DENIED: u32 = 2;

/// Everything to one uid, nothing to any other.
struct OnlyOne;

#[async_trait]
impl PermissionProvider for OnlyOne {
    fn name(&self) -> &'static str {
        "one"
    }

    fn known(&self, subject: &Subject, _: Action, _: Target<'_>) -> Option<Decision> {
        Some(if subject.as_str() == format!("uid:{ALLOWED}") { Decision::Allow } else { Decision::Deny })
    }

    async fn ask(&self, _: &Subject, _: Action, _: &Scope) -> Result<Decision, AccessError> {
        Err(AccessError::Unavailable)
    }
}

/// The operations over a scripted backend.
struct Bench {
    operations: Arc<Operations>,
    backend: Scripted,
    requests: RequestIds,
    records: Option<TempDir>,
}

impl Bench {
    /// With records in a file.
    fn new(request_timeout: Duration) -> Self {
        let directory = TempDir::new().unwrap();
        let sink = SinkTarget::File(directory.path().join("audit"));
        Self { records: Some(directory), ..Self::with(AuditSettings::new(sink), request_timeout) }
    }

    /// With a sink that takes no record.
    fn unrecorded() -> Self {
        let timeout = Duration::from_millis(20);
        let settings = AuditSettings { timeout, ..AuditSettings::new(SinkTarget::File("/dev/full".into())) };
        Self::with(settings, Duration::from_mins(1))
    }

    fn with(audit: AuditSettings, request_timeout: Duration) -> Self {
        let (backend, tasks) = (Scripted::default(), TaskTracker::new());
        let settings = CacheSettings {
            max_bytes: 1 << 20,
            max_entries: 1000,
            ttl: Duration::from_mins(5),
            negative_ttl: Duration::from_mins(5),
            stale_if_error: Duration::ZERO,
            refresh_ahead: 0.0,
        };
        let spawner = {
            let tasks = tasks.clone();
            Arc::new(move |work| drop(tasks.spawn(work)))
        };
        let clock = Clock::manual();
        let rate = RateSettings { per_second: 1, burst: 100_000, subjects_max: 10 };
        let cache = Cache::new(settings, clock.clone(), Arc::new(backend.clone()), spawner, CacheMetrics::default());
        let operations = Arc::new(Operations {
            access: Access::new(Arc::new(OnlyOne)),
            cache,
            audit: Audit::open(audit, AuditMetrics::default()).unwrap(),
            rate: RateLimiter::new(rate, clock),
            catalogue: Arc::new(Catalogue::default()),
            generator: Generator::default(),
            metrics: Metrics::default(),
            tasks,
            value_bytes: 64 * 1024,
            request_timeout,
            load_timeout: request_timeout,
            written: Arc::new(|_| {}),
        });
        Self { operations, backend, requests: RequestIds::new().unwrap(), records: None }
    }

    fn context(&self, uid: u32) -> Context {
        let peer = Peer { uid, gid: uid, pid: None };
        let caller = Arc::new(Caller::new(Ok(Subject::from_uid(uid).unwrap()), None, peer));
        Context { request: self.requests.next(), caller }
    }

    async fn get(&self, uid: u32, id: &str) -> Result<String, OperationError> {
        let served = self.operations.get(&self.context(uid), SecretId::parse(id).unwrap(), false).await?;
        Ok(served.entry.value().expose().to_owned())
    }

    async fn get_many(&self, uid: u32, ids: &[&str]) -> Result<usize, OperationError> {
        let ids = ids.iter().map(|id| SecretId::parse(id).unwrap()).collect();
        self.operations.get_many(&self.context(uid), ids).await.map(|all| all.len())
    }

    async fn put(&self, id: &str, value: &str) -> Result<(), OperationError> {
        let (context, location) = (self.context(ALLOWED), SecretId::parse(id).unwrap().into_parts().0);
        let operation = cloakroom_agent::audit::Operation::Put;
        let permit = self.operations.permit_write(&context, operation, location).await?;
        let value = PutValue::Literal(SecretValue::new(value.to_owned()));
        self.operations.put(&context, permit, value, Guard::None).await.map(drop)
    }

    /// The phases on record so far.
    fn phases(&self) -> Vec<String> {
        let path = self.records.as_ref().unwrap().path().join("audit");
        let text = std::fs::read_to_string(path).unwrap();
        let phase =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["phase"].as_str().map(str::to_owned);
        text.lines().filter_map(phase).collect()
    }
}

fn denied<T>(answer: &Result<T, OperationError>) -> bool {
    matches!(answer, Err(OperationError::Access(AccessError::Denied)))
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn n3_who_is_denied_sees_no_memory_joins_no_fetch_and_reaches_no_backend() {
    let bench = Arc::new(Bench::new(Duration::from_mins(1)));
    bench.backend.set(ID, Some("value"));
    assert!(denied(&bench.get(DENIED, ID).await), "nothing is known yet");
    assert!(denied(&bench.get_many(DENIED, &[ID, ABSENT]).await));
    assert_eq!(bench.backend.calls(), [], "a denied request reached the backend");
    bench.backend.open(false);
    let reader = {
        let bench = Arc::clone(&bench);
        TaskTracker::new().spawn(async move { bench.get(ALLOWED, ID).await })
    };
    until(|| bench.backend.fetches() == 1).await;
    // The fetch is held: whoever joined it would wait with it.
    assert!(denied(&bench.get(DENIED, ID).await), "a fetch is under way");
    assert!(denied(&bench.get_many(DENIED, &[ID]).await));
    bench.backend.open(true);
    assert_eq!(reader.await.unwrap().unwrap(), "value");
    assert!(bench.get(ALLOWED, ABSENT).await.is_err());
    let calls = bench.backend.calls();
    for id in [ID, ABSENT] {
        assert!(denied(&bench.get(DENIED, id).await), "{id}: memory knows the value, and the absence");
        assert!(denied(&bench.get_many(DENIED, &[id]).await), "{id}");
    }
    assert_eq!(bench.backend.calls(), calls);
}

#[tokio::test]
async fn n6_what_cannot_be_recorded_is_not_begun_and_not_answered() {
    let bench = Bench::unrecorded();
    bench.backend.set(ID, Some("value"));
    let unavailable = |answer: Result<(), OperationError>| matches!(answer, Err(OperationError::AuditUnavailable));
    assert!(unavailable(bench.get(ALLOWED, ID).await.map(drop)));
    assert!(unavailable(bench.get_many(ALLOWED, &[ID, ABSENT]).await.map(drop)));
    assert!(unavailable(bench.put(ID, "new").await));
    assert_eq!(bench.backend.calls(), [], "an attempt that is not on record reached the backend");
    assert!(unavailable(bench.get(DENIED, ID).await.map(drop)), "a denial is on record or is no answer");
    assert!(unavailable(bench.get_many(DENIED, &[ID]).await.map(drop)));
    // What memory has needs one record, and there is none.
    drop(bench.operations.cache.get(read_permit(ID).await, cloakroom_agent::id::Checksum::default()).await);
    assert!(unavailable(bench.get(ALLOWED, ID).await.map(drop)));
    assert!(unavailable(bench.get_many(ALLOWED, &[ID]).await.map(drop)));
}

#[tokio::test]
async fn n6_the_attempt_of_a_read_is_on_record_before_the_backend_is_asked() {
    let bench = Arc::new(Bench::new(Duration::from_mins(1)));
    bench.backend.open(false);
    for (number, batch) in [(1, false), (2, true)] {
        let reader = {
            let bench = Arc::clone(&bench);
            TaskTracker::new().spawn(async move {
                let id = format!("poc:team:app:externalSecrets/{number}:");
                if batch {
                    bench.get_many(ALLOWED, &[&id]).await.is_ok()
                } else {
                    bench.get(ALLOWED, &id).await.is_ok()
                }
            })
        };
        until(|| bench.backend.fetches() == number).await;
        assert_eq!(bench.phases(), vec!["attempt"; number]);
        drop(reader);
    }
}

#[tokio::test]
async fn n6_a_caller_that_hangs_up_leaves_no_write_without_its_outcome() {
    let bench = Arc::new(Bench::new(Duration::from_mins(1)));
    bench.backend.open(false);
    let writer = {
        let bench = Arc::clone(&bench);
        TaskTracker::new().spawn(async move { bench.put(ID, "new").await })
    };
    until(|| bench.backend.calls().len() == 1).await;
    writer.abort();
    assert!(writer.await.unwrap_err().is_cancelled());
    bench.backend.open(true);
    bench.operations.tasks.close();
    bench.operations.tasks.wait().await;
    assert_eq!(bench.phases(), ["attempt", "outcome"]);
    assert_eq!(bench.get(ALLOWED, ID).await.unwrap(), "new", "what was begun ended whole");
}

/// More than every deadline here. Time is paused, so it passes as soon as nothing else can happen.
const PATIENCE: Duration = Duration::from_hours(1);

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("a deadline must end it")
}

#[tokio::test(start_paused = true)]
async fn n8_a_request_ends_at_its_deadline_also_where_the_backend_does_not() {
    // A sink that needs no thread, because paused time runs ahead of one.
    let sink = AuditSettings::new(SinkTarget::File("/dev/null".into()));
    let bench = Bench::with(sink, Duration::from_secs(10));
    bench.backend.open(false);
    assert!(matches!(in_time(bench.get(ALLOWED, ID)).await, Err(OperationError::Deadline)));
    assert!(matches!(in_time(bench.get_many(ALLOWED, &[ABSENT])).await, Err(OperationError::Deadline)));
    assert!(matches!(in_time(bench.put(ID, "new")).await, Err(OperationError::OutcomeUnknown)));
}

#[tokio::test(start_paused = true)]
async fn n8_a_call_ends_at_its_deadline_and_a_late_write_goes_on() {
    let (backend, tasks) = (Scripted::default(), TaskTracker::new());
    let five = Duration::from_secs(5);
    let settings = DeadlineSettings { call: five, delete: five, onboard: five };
    let bounded = Deadlines::new(Arc::new(backend.clone()), settings, tasks.clone());
    backend.open(false);
    let permits = [read_permit(ID).await];
    let fetched = in_time(bounded.fetch(&permits, Freshness::Any)).await.remove(0);
    assert!(matches!(fetched, Err(BackendError::Unavailable { .. })));
    let permit = write_permit(ID).await;
    let put = Put { value: SecretValue::new("late".to_owned()), guard: Guard::None, keep_previous: None };
    assert!(matches!(in_time(bounded.put(&permit, put)).await, Err(BackendError::OutcomeUnknown)), "nobody knows");
    assert_eq!(tasks.len(), 1, "a write that is late is not cut off in the middle");
    let deleted = in_time(bounded.delete(&permit, Guard::None)).await;
    assert!(matches!(deleted, Err(BackendError::OutcomeUnknown)));
    backend.open(true);
    tasks.close();
    in_time(tasks.wait()).await;
}
