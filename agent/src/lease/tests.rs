//! Leases against an API server in memory, with time that is moved.

mod crowd;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::fake::{Fault, Server};
use super::*;

const KEY: &str = "poc:team:app:externalSecrets";
const WAIT: Duration = Duration::from_millis(4500);

/// A server, and agents on one machine.
struct World {
    server: Arc<Server>,
    clock: Clock,
    tasks: TaskTracker,
}

impl World {
    /// Its clock goes as tokio's does, in milliseconds.
    fn new() -> Self {
        let world = Self { server: Arc::default(), clock: Clock::manual(), tasks: TaskTracker::new() };
        let clock = world.clock.clone();
        TaskTracker::new().spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(1));
            ticks.tick().await;
            loop {
                ticks.tick().await;
                clock.advance(Duration::from_millis(1));
            }
        });
        world
    }

    fn agent(&self) -> Leases {
        let store = Store::new(Api::Fake(Arc::clone(&self.server)), "cloakroom".to_owned(), "agent").unwrap();
        Leases::new(Some(store), self.clock.clone(), self.tasks.clone())
    }

    /// Until everything that was left to be given back is.
    async fn settle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}

async fn take(leases: &Leases) -> Result<Held, LeaseError> {
    leases.acquire(KEY, Instant::now() + WAIT).await
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_made_taken_and_given_back_and_known_the_second_time() {
    let world = World::new();
    let agent = world.agent();
    let held = take(&agent).await.unwrap();
    assert!(world.server.holder().starts_with("agent/"));
    assert!(held.left() > Duration::from_secs(7) && held.left() <= USED);
    held.release().await;
    assert_eq!(world.server.holder(), "");
    assert_eq!(world.server.calls(), [Method::GET, Method::POST, Method::PUT]);
    take(&agent).await.unwrap().release().await;
    assert_eq!(world.server.calls(), [Method::PUT, Method::PUT], "it is known to be free");
}

#[test]
fn the_name_is_that_of_the_digest() {
    // printf poc:team:app:externalSecrets | sha256sum
    assert_eq!(object::name(KEY), "cloakroom-63fdbffcdae560496ba272af3b0c3f36");
}

#[tokio::test(start_paused = true)]
async fn two_agents_of_one_name_and_two_requests_of_one_agent_exclude_each_other() {
    let world = World::new();
    let (one, two) = (world.agent(), world.agent());
    let held = take(&one).await.unwrap();
    let soon = Instant::now() + Duration::from_secs(1);
    assert_eq!(one.acquire(KEY, soon).await.err(), Some(LeaseError::Contention));
    assert_eq!(two.acquire(KEY, soon).await.err(), Some(LeaseError::Contention));
    assert!(two.acquire("another:slot", Instant::now() + WAIT).await.is_ok());
    drop(held);
    world.settle().await;
    assert!(take(&two).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_gone_is_forgotten_after_its_time_and_not_before() {
    let world = World::new();
    let (one, two) = (world.agent(), world.agent());
    let held = take(&one).await.unwrap();
    let taken = Instant::now();
    // Each request waits less than that: what has been seen is kept from one to the next.
    assert_eq!(take(&two).await.err(), Some(LeaseError::Contention));
    let next = take(&two).await.unwrap();
    assert!(taken.elapsed() >= LASTS && taken.elapsed() < LASTS + Duration::from_millis(300), "{:?}", taken.elapsed());
    assert_eq!(held.left(), Duration::ZERO);
    let mut held = held;
    assert_eq!(held.renew().await, Err(LeaseError::Contention));
    held.release().await;
    assert!(next.left() > Duration::from_secs(6), "who is late does not give back what is another's");
    assert!(!world.server.holder().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_renews_is_not_forgotten() {
    let world = World::new();
    let (one, two) = (world.agent(), world.agent());
    let mut held = take(&one).await.unwrap();
    for _ in 0..4 {
        assert_eq!(take(&two).await.err(), Some(LeaseError::Contention));
        held.renew().await.unwrap();
        assert!(held.left() > Duration::from_secs(7));
    }
    // Somebody's annotation is no other holder.
    world.server.touch();
    held.renew().await.unwrap();
    world.server.touch();
    held.release().await;
    assert_eq!(world.server.holder(), "");
}

#[tokio::test(start_paused = true)]
async fn who_sleeps_on_the_way_asks_again_and_counts_from_then() {
    let world = World::new();
    let one = world.agent();
    take(&one).await.unwrap().release().await;
    world.server.calls();
    let waking = async {
        sleep(Duration::from_millis(3)).await;
        world.clock.advance(LASTS);
    };
    let (held, ()) = tokio::join!(take(&one), waking);
    assert_eq!(world.server.calls(), [Method::PUT, Method::PUT], "what was asked for before counts from then");
    assert!(held.unwrap().left() > Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_no_lease_until_the_server_says_so() {
    for fault in [Fault::AnswerLost, Fault::Late(Duration::from_millis(30)), Fault::Late(Duration::from_millis(150))] {
        let world = World::new();
        let (one, two) = (world.agent(), world.agent());
        take(&one).await.unwrap().release().await;
        world.server.faults(&[fault]);
        let held = take(&one).await.unwrap();
        assert!(held.left() > Duration::from_secs(7), "it was asked for again");
        assert_eq!(two.acquire(KEY, Instant::now() + WAIT).await.err(), Some(LeaseError::Contention), "{fault:?}");
        held.release().await;
        assert!(take(&two).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn what_arrives_after_the_request_has_left_is_given_back() {
    let world = World::new();
    let (one, two) = (world.agent(), world.agent());
    take(&one).await.unwrap().release().await;
    for fault in [Fault::AnswerLost, Fault::Late(Duration::from_millis(300))] {
        world.server.faults(&[fault]);
        // Until nobody else is thought of: then what takes it is sent at once.
        sleep(Duration::from_secs(3)).await;
        let leaving = tokio::time::timeout(Duration::from_millis(7), take(&one));
        assert!(leaving.await.is_err());
        let began = Instant::now();
        world.settle().await;
        assert_eq!(world.server.holder(), "", "{fault:?}");
        assert!(began.elapsed() > Duration::from_millis(5), "somebody has looked");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(world.server.holder(), "", "{fault:?}");
        take(&two).await.unwrap().release().await;
        take(&one).await.unwrap().release().await;
        assert!(began.elapsed() < Duration::from_secs(3), "{fault:?}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_gets_no_answer_is_tried_again() {
    let world = World::new();
    let agent = world.agent();
    for fault in [Fault::AnswerLost, Fault::Unreachable, Fault::Status(StatusCode::CONFLICT)] {
        let held = take(&agent).await.unwrap();
        world.server.faults(&[fault]);
        held.release().await;
        assert_eq!(world.server.holder(), "", "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_name_what_is_missing_and_a_server_that_is_away_is_no_contention() {
    let world = World::new();
    let agent = world.agent();
    let namespace: Box<str> = "cloakroom".into();
    for (fault, error) in [
        (Fault::Unreachable, LeaseError::Unavailable { retry_after: Duration::from_secs(1) }),
        (Fault::AnswerLost, LeaseError::Unavailable { retry_after: Duration::from_secs(1) }),
        (Fault::Status(StatusCode::FORBIDDEN), LeaseError::Denied { namespace: namespace.clone() }),
        (Fault::Status(StatusCode::UNPROCESSABLE_ENTITY), LeaseError::Misbehaved),
        (Fault::Status(StatusCode::NOT_FOUND), LeaseError::NamespaceMissing { namespace }),
    ] {
        world.server.down(Some(fault));
        let (first, second) = tokio::join!(take(&agent), take(&agent));
        assert_eq!(first.err(), Some(error.clone()), "{fault:?}");
        assert_eq!(second.err(), Some(error), "{fault:?}: whoever waited in the queue hears the same");
    }
    let denied = LeaseError::Denied { namespace: "cloakroom".into() }.to_string();
    assert!(denied.contains("get, create and update leases") && denied.contains("namespace cloakroom"), "{denied}");
    world.server.down(None);
    assert!(take(&agent).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_deleted_is_made_anew() {
    let world = World::new();
    let agent = world.agent();
    take(&agent).await.unwrap().release().await;
    world.server.delete();
    take(&agent).await.unwrap().release().await;
    let held = take(&agent).await.unwrap();
    world.server.delete();
    held.release().await;
}

#[tokio::test(start_paused = true)]
async fn requests_of_one_agent_pass_the_lease_on_and_let_others_in_all_the_same() {
    let world = World::new();
    let (many, other) = (world.agent(), world.agent());
    let stop = Arc::new(AtomicBool::new(false));
    let sections = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (many, stop, sections) = (many.clone(), Arc::clone(&stop), Arc::clone(&sections));
            TaskTracker::new().spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let held = take(&many).await.unwrap();
                    assert!(held.left() > Duration::from_secs(5));
                    sleep(Duration::from_millis(10)).await;
                    sections.fetch_add(1, Ordering::SeqCst);
                    held.release().await;
                }
            })
        })
        .collect();
    sleep(Duration::from_secs(2)).await;
    let (alone, calls) = (sections.load(Ordering::SeqCst), world.server.calls().len());
    assert!(alone > 100 && calls < alone, "{alone} sections took {calls} calls");
    for _ in 0..20 {
        take(&other).await.unwrap().release().await;
    }
    stop.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.unwrap();
    }
    world.settle().await;
    assert_eq!(world.server.holder(), "");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_passed_on_to_somebody_who_leaves_is_given_back() {
    for leaves in [0, 1, 2, 5, 10] {
        let world = World::new();
        let agent = world.agent();
        let held = take(&agent).await.unwrap();
        {
            let waiter = take(&agent);
            tokio::pin!(waiter);
            assert!(tokio::time::timeout(Duration::from_millis(1), &mut waiter).await.is_err());
            let mut release = Box::pin(held.release());
            drop(tokio::time::timeout(Duration::from_millis(leaves), &mut release).await);
        }
        world.settle().await;
        assert_eq!(world.server.holder(), "", "{leaves}");
    }
}

#[tokio::test]
async fn the_only_writer_asks_nobody_and_its_requests_wait_for_one_another() {
    let leases = Leases::none();
    let mut held = take(&leases).await.unwrap();
    assert_eq!(held.left(), Duration::MAX);
    assert_eq!(held.renew().await, Ok(()));
    let soon = Instant::now() + Duration::from_millis(20);
    assert_eq!(leases.acquire(KEY, soon).await.err(), Some(LeaseError::Contention));
    held.release().await;
    assert!(take(&leases).await.is_ok());
}

#[tokio::test]
async fn no_more_slots_are_remembered_than_the_cap_and_none_in_use_is_forgotten() {
    let leases = Leases::none();
    let first = take(&leases).await.unwrap();
    let mut all = Vec::new();
    for number in 0..slots::SLOTS_MAX * 2 {
        drop(leases.acquire(&format!("idle:{number}"), Instant::now() + WAIT).await.unwrap());
    }
    let soon = Instant::now() + Duration::from_millis(20);
    assert_eq!(leases.acquire(KEY, soon).await.err(), Some(LeaseError::Contention));
    for number in 1..slots::SLOTS_MAX {
        all.push(leases.acquire(&format!("used:{number}"), Instant::now() + WAIT).await.unwrap());
    }
    assert_eq!(leases.acquire("one:more", Instant::now() + WAIT).await.err(), Some(LeaseError::Contention));
    drop(first);
    assert!(leases.acquire("one:more", Instant::now() + WAIT).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_was_overtaken_takes_the_slot_again_in_the_same_turn_when_it_is_free_and_not_before() {
    let world = World::new();
    let (first, second) = (world.agent(), world.agent());
    let mut held = take(&first).await.unwrap();
    sleep(LASTS).await;
    assert_eq!(held.left(), Duration::ZERO);
    held.take_again(Instant::now() + WAIT).await.unwrap();
    assert!(held.left() + CALL >= USED, "nobody had taken it");
    sleep(LASTS).await;
    let other = second.acquire(KEY, Instant::now() + LASTS * 2).await.unwrap();
    assert_eq!(held.take_again(Instant::now() + Duration::from_secs(1)).await, Err(LeaseError::Contention));
    assert_eq!(held.left(), Duration::ZERO);
    other.release().await;
    held.take_again(Instant::now() + WAIT).await.unwrap();
    assert!(held.left() + CALL >= USED);
    held.release().await;
    assert_eq!(world.server.holder(), "");
}
