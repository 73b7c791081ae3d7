//! Watching a secret, over a backend that can be held and a time that is moved: what is told, when, and to whom.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cloakroom_agent::access::rate::{RateLimiter, RateSettings};
use cloakroom_agent::access::{Access, AccessError, Action, Decision, PermissionProvider, Subject, Target};
use cloakroom_agent::audit::{Audit, AuditMetrics, AuditSettings, SinkTarget};
use cloakroom_agent::backend::{BackendError, Guard, Put};
use cloakroom_agent::cache::{Cache, CacheMetrics, CacheSettings};
use cloakroom_agent::clock::Clock;
use cloakroom_agent::id::{Scope, SecretId};
use cloakroom_agent::identity::Caller;
use cloakroom_agent::metrics::Metrics;
use cloakroom_agent::operations::{Change, Context, Operations, Watch};
use cloakroom_agent::peer::Peer;
use cloakroom_agent::request_id::RequestIds;
use cloakroom_agent::secret::SecretValue;
use cloakroom_agent::slots::{Catalogue, Generator};
use cloakroom_tests::backend::{Scripted, UNAVAILABLE, checksum, read_permit, write_permit};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

const ID: &str = "poc:team:app:clientSecret:";
const TTL: Duration = Duration::from_mins(5);

/// Everything to everybody, until it is taken away.
struct Revocable(Arc<AtomicBool>);

#[async_trait]
impl PermissionProvider for Revocable {
    fn name(&self) -> &'static str {
        "revocable"
    }

    fn known(&self, _: &Subject, _: Action, _: Target<'_>) -> Option<Decision> {
        Some(if self.0.load(Ordering::SeqCst) { Decision::Allow } else { Decision::Deny })
    }

    async fn ask(&self, _: &Subject, _: Action, _: &Scope) -> Result<Decision, AccessError> {
        Err(AccessError::Unavailable)
    }
}

struct Bench {
    operations: Arc<Operations>,
    backend: Scripted,
    clock: Clock,
    allowed: Arc<AtomicBool>,
    /// Who is on the connection.
    caller: Arc<Mutex<Arc<Caller>>>,
}

fn caller(subject: Result<u32, AccessError>) -> Arc<Caller> {
    let subject = subject.map(|uid| Subject::from_uid(uid).unwrap());
    Arc::new(Caller::new(subject, None, Peer { uid: 1, gid: 1, pid: None }))
}

impl Bench {
    fn new(ttl: Duration) -> Self {
        let (backend, tasks, clock) = (Scripted::default(), TaskTracker::new(), Clock::manual());
        backend.set(ID, Some("v0"));
        let settings = CacheSettings {
            max_bytes: 1 << 20,
            max_entries: 1000,
            ttl,
            negative_ttl: Duration::from_secs(1),
            stale_if_error: Duration::ZERO,
            refresh_ahead: 0.0,
        };
        let spawner = {
            let tasks = tasks.clone();
            Arc::new(move |work| drop(tasks.spawn(work)))
        };
        let cache = Cache::new(settings, clock.clone(), Arc::new(backend.clone()), spawner, CacheMetrics::default());
        let allowed = Arc::new(AtomicBool::new(true));
        let sink = AuditSettings::new(SinkTarget::File("/dev/null".into()));
        let operations = Arc::new(Operations {
            access: Access::new(Arc::new(Revocable(Arc::clone(&allowed)))),
            cache,
            audit: Audit::open(sink, AuditMetrics::default()).unwrap(),
            rate: RateLimiter::new(RateSettings { per_second: 1000, burst: 1000, subjects_max: 10 }, clock.clone()),
            catalogue: Arc::new(Catalogue::default()),
            generator: Generator::default(),
            metrics: Metrics::default(),
            tasks,
            value_bytes: 1024,
            request_timeout: Duration::from_secs(10),
            load_timeout: Duration::from_secs(10),
            written: Arc::new(|_| {}),
        });
        Self { operations, backend, clock, allowed, caller: Arc::new(Mutex::new(caller(Ok(1)))) }
    }

    /// A watch of which the first event has been taken.
    async fn watch(&self) -> Watch {
        let who = {
            let caller = Arc::clone(&self.caller);
            Box::new(move || Arc::clone(&caller.lock().unwrap()))
        };
        let context = Context { request: RequestIds::new().unwrap().next(), caller: caller(Ok(1)) };
        let mut watch = self.operations.watch(&context, SecretId::parse(ID).unwrap(), who).await.unwrap();
        assert_eq!(watch.next().await, Some(is("v0")));
        watch
    }

    async fn put(&self, value: &str) {
        let put = Put { value: SecretValue::new(value.to_owned()), guard: Guard::None, keep_previous: None };
        self.operations.cache.put(&write_permit(ID).await, put).await.unwrap();
    }

    /// Lets both times pass.
    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        tokio::time::advance(time).await;
    }
}

fn is(value: &str) -> Change {
    Change::Is(SecretId::new(SecretId::parse(ID).unwrap().into_parts().0, checksum(ID, value)))
}

fn gone() -> Change {
    Change::Gone(SecretId::parse(ID).unwrap().into_parts().0)
}

/// What comes within a time in which nothing but a change does.
async fn soon(watch: &mut Watch) -> Option<Option<Change>> {
    timeout(Duration::from_millis(900), watch.next()).await.ok()
}

#[tokio::test(start_paused = true)]
async fn own_writes_are_told_one_by_one_without_asking_the_backend() {
    let bench = Bench::new(TTL);
    let mut watch = bench.watch().await;
    assert_eq!(soon(&mut watch).await, None);
    let fetches = bench.backend.fetches();
    for value in ["v1", "v2", "v3"] {
        bench.put(value).await;
    }
    for value in ["v1", "v2", "v3"] {
        assert_eq!(soon(&mut watch).await, Some(Some(is(value))));
    }
    bench.put("v3").await;
    assert_eq!(soon(&mut watch).await, None, "the same value is no change");
    bench.operations.cache.delete(&write_permit(ID).await, Guard::None).await.unwrap();
    assert_eq!(soon(&mut watch).await, Some(Some(gone())));
    assert_eq!(bench.backend.fetches(), fetches);
}

#[tokio::test(start_paused = true)]
async fn n7_of_writes_at_one_time_nothing_older_is_told_after_what_is_newer() {
    let bench = Arc::new(Bench::new(TTL));
    let mut watch = bench.watch().await;
    assert_eq!(soon(&mut watch).await, None);
    // Two writes are held after they have been stored; neither knows which one came last.
    bench.backend.open(false);
    let tasks = TaskTracker::new();
    for value in ["v1", "v2"] {
        let bench = Arc::clone(&bench);
        tasks.spawn(async move { bench.put(value).await });
        tokio::task::yield_now().await;
    }
    tasks.close();
    bench.backend.open(true);
    tasks.wait().await;
    assert_eq!(soon(&mut watch).await, Some(Some(is("v2"))));
    assert_eq!(soon(&mut watch).await, None);
}

#[tokio::test(start_paused = true)]
async fn k5_a_change_by_others_is_told_when_it_is_heard_of_and_at_the_end_of_its_time_at_the_latest() {
    let bench = Bench::new(TTL);
    let mut watch = bench.watch().await;
    assert_eq!(soon(&mut watch).await, None);
    bench.backend.set(ID, Some("v1"));
    assert_eq!(soon(&mut watch).await, None, "nobody has told of it");
    bench.operations.cache.scope_changed(&Scope::parse("poc/team/app").unwrap());
    assert_eq!(soon(&mut watch).await, Some(Some(is("v1"))));
    // Another reader has found it.
    bench.backend.set(ID, Some("v2"));
    bench.pass(TTL / 2).await;
    let asked = bench.operations.cache.get(read_permit(ID).await, checksum(ID, "v2")).await.unwrap();
    assert_eq!(asked.entry.value().expose(), "v2");
    assert_eq!(soon(&mut watch).await, Some(Some(is("v2"))));
    bench.backend.set(ID, None);
    let began = Instant::now();
    bench.clock.advance(TTL);
    loop {
        match watch.next().await {
            Some(Change::Nothing) => {}
            other => break assert_eq!(other, Some(gone())),
        }
    }
    assert!(began.elapsed() <= TTL + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn without_a_cache_the_secret_is_looked_at_again_and_again() {
    let bench = Bench::new(Duration::ZERO);
    let mut watch = bench.watch().await;
    assert_eq!(soon(&mut watch).await, None);
    bench.backend.set(ID, Some("v1"));
    assert_eq!(timeout(Duration::from_secs(6), watch.next()).await, Ok(Some(is("v1"))));
}

#[tokio::test(start_paused = true)]
async fn while_nothing_changes_something_is_told_every_fifteen_seconds() {
    let bench = Bench::new(TTL);
    let mut watch = bench.watch().await;
    for _ in 0..3 {
        let began = Instant::now();
        assert_eq!(watch.next().await, Some(Change::Nothing));
        assert_eq!(began.elapsed(), Duration::from_secs(15));
    }
}

#[tokio::test(start_paused = true)]
async fn n3_a_watch_ends_within_a_second_when_its_right_or_its_caller_is_gone() {
    let take_away: [fn(&Bench); 4] = [
        |bench| bench.allowed.store(false, Ordering::SeqCst),
        |bench| *bench.caller.lock().unwrap() = caller(Err(AccessError::NotAuthenticated)),
        |bench| *bench.caller.lock().unwrap() = caller(Err(AccessError::Unavailable)),
        |bench| *bench.caller.lock().unwrap() = caller(Ok(2)),
    ];
    for take_away in take_away {
        let bench = Bench::new(TTL);
        let mut watch = bench.watch().await;
        assert_eq!(soon(&mut watch).await, None);
        take_away(&bench);
        let fetches = bench.backend.fetches();
        assert_eq!(timeout(Duration::from_millis(1100), watch.next()).await, Ok(None));
        assert_eq!(bench.backend.fetches(), fetches);
    }
}

#[tokio::test(start_paused = true)]
async fn n3_what_waits_to_be_told_is_not_told_to_who_may_not_read_any_more() {
    let bench = Bench::new(TTL);
    let mut watch = bench.watch().await;
    assert_eq!(soon(&mut watch).await, None);
    for value in ["v1", "v2"] {
        bench.put(value).await;
    }
    assert_eq!(watch.next().await, Some(is("v1")));
    // Its reader takes a while.
    bench.allowed.store(false, Ordering::SeqCst);
    bench.pass(Duration::from_secs(2)).await;
    assert_eq!(watch.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn b2_a_backend_that_is_away_ends_no_watch_and_one_that_refuses_does() {
    let bench = Bench::new(TTL);
    let mut watch = bench.watch().await;
    bench.backend.fail(Some(UNAVAILABLE));
    let scope = Scope::parse("poc/team/app").unwrap();
    bench.operations.cache.scope_changed(&scope);
    assert_eq!(timeout(Duration::from_secs(10), watch.next()).await.ok(), None);
    bench.backend.set(ID, Some("v1"));
    bench.backend.fail(None);
    assert_eq!(timeout(Duration::from_secs(2), watch.next()).await, Ok(Some(is("v1"))));
    bench.backend.fail(Some(BackendError::Denied));
    bench.operations.cache.scope_changed(&scope);
    assert_eq!(watch.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn n8_who_is_too_far_behind_is_not_waited_for() {
    let bench = Bench::new(TTL);
    let mut watch = bench.watch().await;
    assert_eq!(soon(&mut watch).await, None);
    for number in 0..64 {
        bench.put(&format!("w{number}")).await;
    }
    for number in 0..64 {
        assert_eq!(watch.next().await, Some(is(&format!("w{number}"))));
    }
    for number in 0..65 {
        bench.put(&format!("x{number}")).await;
    }
    assert_eq!(watch.next().await, None);
}
