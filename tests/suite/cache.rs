//! K1, K5, K6, N7, N8, and the explorer: what may be answered from memory.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_agent::backend::{BackendError, Guard, Put};
use cloakroom_agent::cache::{Cache, CacheMetrics, CacheSettings, Served, Source};
use cloakroom_agent::clock::Clock;
use cloakroom_agent::id::Checksum;
use cloakroom_agent::secret::SecretValue;
use cloakroom_tests::backend::{
    Call, Latest, Scripted, UNAVAILABLE, checksum, onboard_permit, read_permit, write_permit,
};
use cloakroom_tests::explorer::{Search, explore, scenarios};
use nix::time::{ClockId, clock_gettime};
use tokio_util::task::TaskTracker;

const ID: &str = "poc:team:app:clientSecret:";

/// A cache over a scripted backend, with a clock that is moved.
struct Bench {
    cache: Cache,
    backend: Scripted,
    clock: Clock,
    metrics: CacheMetrics,
}

fn plain() -> CacheSettings {
    CacheSettings {
        max_bytes: 1 << 20,
        max_entries: 1000,
        ttl: Duration::from_mins(5),
        negative_ttl: Duration::from_secs(1),
        stale_if_error: Duration::ZERO,
        refresh_ahead: 0.0,
    }
}

fn bench(settings: CacheSettings) -> Bench {
    let (backend, clock, metrics) = (Scripted::default(), Clock::manual(), CacheMetrics::default());
    let tasks = TaskTracker::new();
    let spawner = Arc::new(move |work| drop(tasks.spawn(work)));
    let cache = Cache::new(settings, clock.clone(), Arc::new(backend.clone()), spawner, metrics.clone());
    Bench { cache, backend, clock, metrics }
}

impl Bench {
    async fn get(&self, asked: &Checksum) -> Result<Served, BackendError> {
        let permit = read_permit(ID).await;
        match self.cache.peek(&permit, asked) {
            Some(answer) => answer,
            None => self.cache.get(permit, asked.clone()).await,
        }
    }

    async fn value(&self) -> Result<(String, Source), BackendError> {
        self.get(&Checksum::default()).await.map(|served| (served.entry.value().expose().to_owned(), served.source))
    }
}

fn foreign(number: usize) -> Checksum {
    Checksum::parse(&format!("{number:012}")).unwrap()
}

fn of(value: &str, source: Source) -> Result<(String, Source), BackendError> {
    Ok((value.to_owned(), source))
}

#[tokio::test]
async fn k1_a_checksum_that_matches_costs_no_call_and_one_that_differs_costs_one() {
    let bench = bench(plain());
    bench.backend.set(ID, Some("one"));
    assert_eq!(bench.value().await, of("one", Source::Backend));
    for _ in 0..100 {
        assert_eq!(bench.get(&checksum(ID, "one")).await.unwrap().source, Source::Cache);
    }
    assert_eq!(bench.backend.fetches(), 1);
    bench.backend.set(ID, Some("two"));
    let served = bench.get(&checksum(ID, "two")).await.unwrap();
    assert_eq!((served.entry.value().expose(), served.source), ("two", Source::Backend));
    assert_eq!(
        bench.backend.calls().last(),
        Some(&Call::Fetch(vec![ID.trim_end_matches(':').to_owned()], Latest::Yes))
    );
    for _ in 0..100 {
        assert_eq!(bench.get(&checksum(ID, "two")).await.unwrap().source, Source::Cache);
    }
    assert_eq!(bench.backend.fetches(), 2);
}

#[tokio::test]
async fn k1_a_foreign_checksum_asked_a_thousand_times_costs_one_call() {
    let bench = bench(plain());
    bench.backend.set(ID, Some("one"));
    bench.value().await.unwrap();
    for index in 0..1000 {
        bench.clock.advance(Duration::from_millis(20));
        let served = bench.get(&foreign(7)).await.unwrap();
        assert_eq!(served.entry.value().expose(), "one", "request {index}");
    }
    assert_eq!(bench.backend.fetches(), 2);
}

#[tokio::test]
async fn k1_a_thousand_foreign_checksums_cost_one_call_a_second() {
    let bench = bench(plain());
    bench.backend.set(ID, Some("one"));
    bench.value().await.unwrap();
    for number in 0..1000 {
        bench.clock.advance(Duration::from_millis(10));
        bench.get(&foreign(number)).await.unwrap();
    }
    let forced = bench.backend.fetches() - 1;
    assert!((9..=11).contains(&forced), "{forced} calls in ten seconds");
}

#[tokio::test]
async fn k1_who_asks_while_a_refetch_is_under_way_gets_its_answer() {
    let bench = Arc::new(bench(plain()));
    bench.backend.set(ID, Some("old"));
    bench.value().await.unwrap();
    bench.backend.set(ID, Some("new"));
    bench.backend.open(false);
    let wanted = checksum(ID, "new");
    let mut asking = Vec::new();
    for _ in 0..50 {
        let (bench, wanted) = (Arc::clone(&bench), wanted.clone());
        asking.push(TaskTracker::new().spawn(async move { bench.get(&wanted).await }));
        tokio::task::yield_now().await;
    }
    bench.backend.open(true);
    for task in asking {
        assert_eq!(task.await.unwrap().unwrap().entry.value().expose(), "new");
    }
    assert_eq!(bench.backend.fetches(), 2);
}

#[tokio::test]
async fn k1_a_refetch_that_fails_is_an_error_and_is_tried_again() {
    let bench = bench(plain());
    bench.backend.set(ID, Some("one"));
    bench.value().await.unwrap();
    bench.backend.fail(Some(UNAVAILABLE));
    assert!(bench.get(&foreign(1)).await.is_err(), "the old value would pass for the one that was asked for");
    bench.backend.fail(None);
    bench.backend.set(ID, Some("two"));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.get(&foreign(1)).await.unwrap().entry.value().expose(), "two");
}

#[tokio::test]
async fn k5_a_change_outside_the_agent_is_seen_within_the_time_to_live() {
    let bench = bench(plain());
    bench.backend.set(ID, Some("one"));
    assert_eq!(bench.value().await, of("one", Source::Backend));
    bench.backend.set(ID, Some("two"));
    bench.clock.advance(Duration::from_secs(299));
    let served = bench.get(&Checksum::default()).await.unwrap();
    assert_eq!((served.entry.value().expose(), served.age.as_secs(), served.ttl_left.as_secs()), ("one", 299, 1));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.value().await, of("two", Source::Backend));
}

#[tokio::test]
async fn k5_the_age_counts_from_the_beginning_of_the_fetch() {
    let bench = Arc::new(bench(plain()));
    bench.backend.set(ID, Some("one"));
    bench.backend.open(false);
    let slow = {
        let bench = Arc::clone(&bench);
        TaskTracker::new().spawn(async move { bench.get(&Checksum::default()).await })
    };
    while bench.backend.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    bench.clock.advance(Duration::from_secs(100));
    bench.backend.open(true);
    assert_eq!(slow.await.unwrap().unwrap().age, Duration::from_secs(100));
    bench.clock.advance(Duration::from_secs(200));
    assert_eq!(bench.value().await, of("one", Source::Backend), "the value is five minutes old");
}

#[tokio::test]
async fn k5_a_time_to_live_of_zero_is_no_cache() {
    let bench = bench(CacheSettings { ttl: Duration::ZERO, ..plain() });
    bench.backend.set(ID, Some("one"));
    for _ in 0..3 {
        let served = bench.get(&Checksum::default()).await.unwrap();
        assert!(served.source == Source::Backend && !served.stored);
    }
    assert_eq!(bench.backend.fetches(), 3);
    bench.backend.set(ID, None);
    for _ in 0..2 {
        assert_eq!(bench.value().await, Err(BackendError::Absent));
    }
    assert_eq!(bench.backend.fetches(), 5);
}

#[tokio::test]
async fn k5_an_absence_is_believed_for_a_second() {
    let bench = bench(plain());
    for _ in 0..10 {
        assert_eq!(bench.value().await, Err(BackendError::Absent));
    }
    assert_eq!(bench.backend.fetches(), 1);
    bench.backend.set(ID, Some("created"));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.value().await, of("created", Source::Backend));
}

#[test]
fn k5_time_is_that_of_the_clock_which_counts_suspend_and_which_nobody_sets() {
    let boot = || Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap());
    let before = boot();
    let now = Clock::Boot.now().since_boot();
    assert!((before..=boot()).contains(&now), "{now:?} is not the time since boot");
}

#[tokio::test]
async fn k5_a_failure_is_never_remembered() {
    let bench = bench(plain());
    for fault in [UNAVAILABLE, BackendError::Misbehaved, BackendError::Denied, BackendError::Unreadable] {
        bench.backend.fail(Some(fault));
        assert_eq!(bench.value().await, Err(fault));
        assert_eq!(bench.value().await, Err(fault));
    }
    assert_eq!(bench.backend.fetches(), 8);
    bench.backend.fail(None);
    bench.backend.set(ID, Some("one"));
    assert_eq!(bench.value().await, of("one", Source::Backend));
}

#[tokio::test]
async fn k6_stale_values_are_served_only_where_enabled_only_so_long_and_flagged() {
    let settings = CacheSettings { stale_if_error: Duration::from_mins(1), ..plain() };
    let (with, without) = (bench(settings), bench(plain()));
    for bench in [&with, &without] {
        bench.backend.set(ID, Some("one"));
        bench.value().await.unwrap();
        bench.backend.fail(Some(UNAVAILABLE));
        bench.clock.advance(Duration::from_secs(301));
    }
    assert_eq!(without.value().await, Err(UNAVAILABLE));
    let served = with.get(&Checksum::default()).await.unwrap();
    assert_eq!((served.source, served.age), (Source::Stale, Duration::from_secs(301)));
    let mut registry = prometheus_client::registry::Registry::default();
    with.metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("cache_stale_hits_total 1"), "{text}");
    with.backend.fail(Some(BackendError::Misbehaved));
    assert_eq!(with.value().await, Err(BackendError::Misbehaved), "only an unavailable backend excuses an old value");
    with.backend.fail(Some(UNAVAILABLE));
    assert_eq!(with.value().await, of("one", Source::Stale));
    with.clock.advance(Duration::from_mins(1));
    assert_eq!(with.value().await, Err(UNAVAILABLE));
}

#[tokio::test]
async fn k6_fifty_readers_wait_for_one_call_and_the_first_of_them_may_leave() {
    let bench = Arc::new(bench(plain()));
    bench.backend.set(ID, Some("one"));
    bench.backend.open(false);
    let mut readers = Vec::new();
    for _ in 0..50 {
        let bench = Arc::clone(&bench);
        readers.push(TaskTracker::new().spawn(async move { bench.value().await }));
        tokio::task::yield_now().await;
    }
    let leader = readers.remove(0);
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    bench.backend.open(true);
    for reader in readers {
        assert_eq!(reader.await.unwrap(), of("one", Source::Backend));
    }
    assert_eq!(bench.backend.fetches(), 1);
}

#[tokio::test]
async fn k6_a_million_distinct_ids_stay_within_the_cap() {
    let bench = bench(CacheSettings { max_bytes: 256 * 1024, max_entries: 500, ..plain() });
    for block in 0..10_000 {
        let mut wanted = Vec::new();
        for index in 0..100 {
            let id = format!("poc:team:app:externalSecrets/{}:", block * 100 + index);
            // One in ten exists: both kinds of entries are bounded.
            if index % 10 == 0 && block < 1000 {
                bench.backend.set(&id, Some("a value"));
            }
            wanted.push((read_permit(&id).await, Checksum::default()));
        }
        bench.cache.get_many(wanted).await;
    }
    let counters = bench.cache.counters();
    assert!(counters.misses >= 1_000_000);
    assert!(counters.entries <= 2 * 500 && counters.bytes <= 2 * 256 * 1024, "{counters:?}");
}

#[tokio::test]
async fn a_batch_is_one_call_and_a_name_that_stands_twice_is_asked_once() {
    let bench = bench(plain());
    let other = "poc:team:app:rotatedClientSecret:";
    bench.backend.set(ID, Some("one"));
    bench.backend.set(other, Some("two"));
    let mut wanted = Vec::new();
    for id in [ID, other, ID] {
        wanted.push((read_permit(id).await, Checksum::default()));
    }
    let answers = bench.cache.get_many(wanted).await;
    let values: Vec<String> = answers.into_iter().map(|a| a.unwrap().entry.value().expose().to_owned()).collect();
    assert_eq!(values, ["one", "two", "one"]);
    assert_eq!(bench.backend.fetches(), 1);
}

#[tokio::test]
async fn what_is_asked_for_near_the_end_of_its_time_is_fetched_ahead() {
    let bench = bench(CacheSettings { refresh_ahead: 0.2, ..plain() });
    bench.backend.set(ID, Some("one"));
    bench.value().await.unwrap();
    bench.clock.advance(Duration::from_secs(200));
    assert_eq!(bench.value().await, of("one", Source::Cache));
    assert_eq!(bench.backend.fetches(), 1, "two thirds of the time to live is not near its end");
    bench.clock.advance(Duration::from_secs(99));
    bench.backend.set(ID, Some("two"));
    assert_eq!(bench.value().await, of("one", Source::Cache), "nobody waits for a refresh");
    while bench.backend.fetches() < 2 {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    assert_eq!(bench.value().await, of("two", Source::Cache));
}

#[tokio::test]
async fn n7_a_fetch_that_began_before_a_write_fills_nothing() {
    let bench = Arc::new(bench(plain()));
    bench.backend.set(ID, Some("old"));
    bench.backend.open(false);
    let reader = {
        let bench = Arc::clone(&bench);
        TaskTracker::new().spawn(async move { bench.value().await })
    };
    while bench.backend.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    let writer = {
        let bench = Arc::clone(&bench);
        TaskTracker::new().spawn(async move {
            let put = Put { value: SecretValue::new("new".to_owned()), guard: Guard::None, keep_previous: None };
            bench.cache.put(&write_permit(ID).await, put).await
        })
    };
    while bench.backend.calls().len() < 2 {
        tokio::task::yield_now().await;
    }
    bench.backend.open(true);
    writer.await.unwrap().unwrap();
    reader.await.unwrap().unwrap();
    assert_eq!(bench.value().await.unwrap().0, "new");
}

#[tokio::test]
async fn k1_of_two_fetches_the_one_that_began_later_stays() {
    let bench = bench(CacheSettings { refresh_ahead: 1.0, ..plain() });
    bench.backend.set(ID, Some("old"));
    bench.value().await.unwrap();
    bench.backend.open_any(false);
    bench.clock.advance(Duration::from_secs(299));
    assert_eq!(bench.value().await, of("old", Source::Cache), "and a refresh begins");
    while bench.backend.fetches() < 2 {
        tokio::task::yield_now().await;
    }
    bench.backend.set(ID, Some("new"));
    assert_eq!(bench.get(&checksum(ID, "new")).await.unwrap().entry.value().expose(), "new");
    bench.backend.open_any(true);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.value().await.unwrap().0, "new", "the refresh had read the old one");
}

#[tokio::test]
async fn n3_what_the_backend_denies_now_is_not_served_from_memory_any_more() {
    let bench = bench(plain());
    bench.backend.set(ID, Some("one"));
    bench.value().await.unwrap();
    bench.backend.fail(Some(BackendError::Denied));
    assert!(bench.get(&foreign(1)).await.is_err());
    assert_eq!(bench.value().await, Err(BackendError::Denied));
}

#[tokio::test]
async fn k6_who_knows_of_a_newer_value_never_gets_the_stale_one() {
    let bench = bench(CacheSettings { stale_if_error: Duration::from_mins(1), ..plain() });
    bench.backend.set(ID, Some("one"));
    bench.value().await.unwrap();
    bench.backend.fail(Some(UNAVAILABLE));
    assert_eq!(bench.get(&foreign(1)).await.err(), Some(UNAVAILABLE));
}

/// Polls a future that is held once, so that it has begun.
async fn begin<T>(work: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T>
where
    T: Send + 'static,
{
    let task = TaskTracker::new().spawn(work);
    tokio::task::yield_now().await;
    assert!(!task.is_finished());
    task
}

#[tokio::test]
async fn n7_who_asks_during_a_write_joins_no_fetch_from_before_it() {
    for scope in [false, true] {
        let bench = Arc::new(bench(plain()));
        bench.backend.set(ID, Some("old"));
        bench.backend.open(false);
        let reading = |bench: &Arc<Bench>| {
            let bench = Arc::clone(bench);
            async move { bench.value().await }
        };
        let before = begin(reading(&bench)).await;
        while bench.backend.fetches() == 0 {
            tokio::task::yield_now().await;
        }
        let writer = {
            let bench = Arc::clone(&bench);
            begin(async move {
                if scope {
                    return bench.cache.offboard(&onboard_permit("poc/team/app").await).await;
                }
                let put = Put { value: SecretValue::new("new".to_owned()), guard: Guard::None, keep_previous: None };
                bench.cache.put(&write_permit(ID).await, put).await.map(drop)
            })
            .await
        };
        let during = begin(reading(&bench)).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.backend.fetches(), 2, "the fetch of before may bring what the write replaces");
        bench.backend.open(true);
        writer.await.unwrap().unwrap();
        before.await.unwrap().unwrap();
        during.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn n7_a_write_is_never_skipped_because_of_what_memory_knows() {
    let bench = bench(plain());
    bench.backend.set(ID, Some("same"));
    bench.value().await.unwrap();
    bench.backend.set(ID, Some("changed by another agent"));
    let put = Put { value: SecretValue::new("same".to_owned()), guard: Guard::None, keep_previous: None };
    bench.cache.put(&write_permit(ID).await, put).await.unwrap();
    assert_eq!(bench.value().await, of("same", Source::Backend));
    bench.backend.set(ID, None);
    bench.clock.advance(Duration::from_mins(5));
    assert_eq!(bench.value().await, Err(BackendError::Absent));
    bench.backend.set(ID, Some("created by another agent"));
    bench.cache.delete(&write_permit(ID).await, Guard::None).await.unwrap();
    assert_eq!(bench.value().await, Err(BackendError::Absent));
    let writes = bench.backend.calls().into_iter().filter(|call| !matches!(call, Call::Fetch(..))).count();
    assert_eq!(writes, 2);
}

#[tokio::test(start_paused = true)]
async fn n8_fetches_at_one_time_are_bounded_and_one_more_is_refused() {
    let bench = Arc::new(bench(plain()));
    bench.backend.open(false);
    let get = |number: usize| {
        let bench = Arc::clone(&bench);
        async move {
            let permit = read_permit(&format!("poc:team:app:externalSecrets/{number}:")).await;
            bench.cache.get(permit, Checksum::default()).await.map(drop)
        }
    };
    let mut held = Vec::new();
    for number in 0..1024 {
        held.push(begin(get(number)).await);
    }
    let refused = tokio::time::timeout(Duration::from_mins(1), get(1024)).await.expect("it is refused at once");
    assert_eq!(refused, Err(UNAVAILABLE));
    assert_eq!(bench.backend.fetches(), 1024);
    bench.backend.open(true);
    for reader in held {
        assert_eq!(reader.await.unwrap(), Err(BackendError::Absent));
    }
    assert_eq!(get(1024).await, Err(BackendError::Absent), "there is room again");
}

#[tokio::test]
async fn n8_the_cache_is_bounded_in_entries_and_in_bytes() {
    for (max_entries, max_bytes) in [(100, 1 << 20), (1 << 20, 16 * 1024)] {
        let bench = bench(CacheSettings { max_bytes, max_entries, ..plain() });
        for block in 0..100 {
            let mut wanted = Vec::new();
            for index in 0..50 {
                let id = format!("poc:team:app:externalSecrets/{block}.{index}:");
                bench.backend.set(&id, Some("a value"));
                wanted.push((read_permit(&id).await, Checksum::default()));
            }
            bench.cache.get_many(wanted).await;
        }
        let counters = bench.cache.counters();
        // The cache evicts behind its writers: what it has taken and not weighed yet comes on top.
        let within = |used: i64, limit: u64| u64::try_from(used).is_ok_and(|used| used <= limit);
        let (entries, bytes) = (max_entries + 1_000, max_bytes + 1_000 * 100);
        assert!(within(counters.entries, entries) && within(counters.bytes, bytes), "{counters:?}");
    }
}

#[tokio::test]
async fn n8_of_foreign_checksums_only_the_last_eight_are_remembered() {
    let bench = bench(plain());
    bench.backend.set(ID, Some("one"));
    bench.value().await.unwrap();
    for number in (0..9).chain([0]) {
        bench.clock.advance(Duration::from_secs(1));
        bench.get(&foreign(number)).await.unwrap();
    }
    assert_eq!(bench.backend.fetches(), 1 + 9 + 1, "the first one was forgotten and is asked again, at its rate");
}

#[tokio::test]
async fn x2_a_backend_that_panics_fails_its_readers_and_nobody_after_them() {
    let bench = bench(plain());
    bench.backend.set(ID, Some("one"));
    bench.backend.panic(true);
    assert!(bench.value().await.is_err());
    bench.backend.panic(false);
    assert_eq!(bench.value().await, of("one", Source::Backend));
}

#[test]
fn n3_n7_hold_on_every_explored_schedule() {
    let wanted: usize =
        std::env::var_os("CLOAKROOM_EXPLORER_SCHEDULES").map_or(40_000, |text| text.to_str().unwrap().parse().unwrap());
    let (small, large) = scenarios();
    let mut total = 0;
    for scenario in &small {
        let report = explore(scenario, Search::Exhaustive(wanted / 4));
        println!("{}: {report:?}", scenario.name);
        total += report.schedules;
    }
    let each = wanted.saturating_sub(total).div_ceil(large.len()).max(wanted / 10);
    for (index, scenario) in large.iter().enumerate() {
        let report = explore(scenario, Search::Sampled { seed: 1000 * (index as u64 + 1), schedules: each });
        println!("{}: {report:?}", scenario.name);
        total += report.schedules;
    }
    println!("{total} distinct schedules");
    assert!(total >= wanted.min(40_000), "only {total} schedules");
}
