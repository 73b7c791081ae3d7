//! Many agents at one Lease: none starves, and whatever goes wrong, no two of them may change the slot at one time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::clock::Moment;
use crate::jitter;

/// What a crowd saw.
#[derive(Default)]
struct Seen {
    took: Duration,
    waits: Vec<Duration>,
    refused: usize,
    calls: usize,
}

/// So many agents with so many workers each, each with so many sections of ten milliseconds.
async fn crowd(agents: usize, workers: usize, count: usize) -> Seen {
    let world = World::new();
    let began = Instant::now();
    let inside = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for _ in 0..agents {
        let agent = world.agent();
        for _ in 0..workers {
            let (agent, inside) = (agent.clone(), Arc::clone(&inside));
            tasks.push(TaskTracker::new().spawn(async move {
                let mut seen = Seen::default();
                while seen.waits.len() < count {
                    let asked = Instant::now();
                    match take(&agent).await {
                        Ok(held) => {
                            seen.waits.push(asked.elapsed());
                            assert!(!inside.swap(true, Ordering::SeqCst), "two at one time");
                            sleep(Duration::from_millis(10)).await;
                            inside.store(false, Ordering::SeqCst);
                            held.release().await;
                        }
                        Err(error) => {
                            assert_eq!(error, LeaseError::Contention);
                            seen.refused += 1;
                        }
                    }
                }
                seen
            }));
        }
    }
    let mut all = Seen::default();
    for task in tasks {
        let seen = task.await.unwrap();
        all.waits.extend(seen.waits);
        all.refused += seen.refused;
    }
    all.waits.sort();
    Seen { took: began.elapsed(), calls: world.server.calls().len(), ..all }
}

#[tokio::test(start_paused = true)]
async fn agents_that_crowd_never_overlap_and_none_starves() {
    for (agents, workers, count) in [(2, 1, 300), (10, 1, 200), (10, 4, 50), (2, 8, 50), (30, 1, 30)] {
        let seen = crowd(agents, workers, count).await;
        let sections = u32::try_from(seen.waits.len()).unwrap();
        let at = |part: usize| seen.waits[(seen.waits.len() - 1) * part / 1000];
        println!(
            "{agents} agents, {workers} workers: {:?} and {:.1} calls a section, {} refused; p50 {:?}, p99 {:?}, most {:?}",
            seen.took / sections,
            f64::from(u32::try_from(seen.calls).unwrap()) / f64::from(sections),
            seen.refused,
            at(500),
            at(990),
            at(1000)
        );
        // Moved time and a server that always takes the same: what differs is only the jitter.
        assert!(seen.refused * 100 <= seen.waits.len(), "{agents} {workers}: {} refused", seen.refused);
        assert!(at(990) < Duration::from_secs(4), "{agents} {workers}: {:?}", at(990));
    }
}

/// Until when somebody may change the slot, and who.
type Changing = Arc<std::sync::Mutex<Option<(usize, Moment)>>>;

/// A request that may die, sleep, or leave at any point.
async fn change(leases: &Leases, clock: &Clock, changing: &Changing, me: usize) -> Option<Held> {
    let wait = jitter::up_to(WAIT * 2);
    let held = leases.acquire(KEY, Instant::now() + wait).await.ok()?;
    let left = held.left();
    if left.is_zero() {
        return None;
    }
    let until = clock.now() + left;
    let before = changing.lock().unwrap().replace((me, until));
    if let Some((other, until)) = before {
        assert!(until <= clock.now(), "{me} changes what {other} still may");
    }
    sleep(jitter::up_to(Duration::from_millis(40))).await;
    Some(held)
}

fn over(changing: &Changing, me: usize) {
    let mut changing = changing.lock().unwrap();
    if changing.is_some_and(|(who, _)| who == me) {
        *changing = None;
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_dies_sleeps_leaves_or_gets_lost_no_two_may_change_it_at_one_time() {
    let world = World::new();
    let changing = Changing::default();
    let done = Arc::new(AtomicUsize::new(0));
    let mut agents = Vec::new();
    for me in 0..6 {
        let (server, clock, tasks) = (Arc::clone(&world.server), world.clock.clone(), world.tasks.clone());
        let (changing, done) = (Arc::clone(&changing), Arc::clone(&done));
        agents.push(TaskTracker::new().spawn(async move {
            let agent = || {
                let store = Store::new(Api::Fake(Arc::clone(&server)), "cloakroom".to_owned(), "agent").unwrap();
                Leases::new(Some(store), clock.clone(), tasks.clone())
            };
            let mut leases = agent();
            for _ in 0..80 {
                match jitter::up_to(Duration::from_secs(16)).as_secs() {
                    0 => server.faults(&[Fault::AnswerLost]),
                    1 => server.faults(&[Fault::Late(jitter::up_to(Duration::from_secs(12)))]),
                    2 => server.faults(&[Fault::Late(jitter::up_to(Duration::from_millis(300)))]),
                    3 => server.touch(),
                    _ => {}
                }
                let end = jitter::up_to(Duration::from_secs(16)).as_secs();
                let change = change(&leases, &clock, &changing, me);
                let held = match end {
                    // The caller leaves, whatever has been sent.
                    0 | 1 => match tokio::time::timeout(jitter::up_to(Duration::from_millis(60)), change).await {
                        Ok(held) => held,
                        Err(_elapsed) => {
                            over(&changing, me);
                            continue;
                        }
                    },
                    _ => change.await,
                };
                let Some(mut held) = held else { continue };
                match end {
                    // Killed: nothing is given back, and another process takes its place.
                    2 => {
                        std::mem::forget(held);
                        leases = agent();
                        continue;
                    }
                    // Stopped for longer than its time.
                    3 => {
                        sleep(LASTS + jitter::up_to(LASTS)).await;
                        assert_eq!(held.left(), Duration::ZERO);
                    }
                    4 if held.renew().await.is_ok() && !held.left().is_zero() => {
                        let until = clock.now() + held.left();
                        let before = changing.lock().unwrap().replace((me, until));
                        assert!(before.is_none_or(|(who, _)| who == me), "renewed past somebody else");
                        sleep(Duration::from_secs(3)).await;
                    }
                    _ => {}
                }
                done.fetch_add(1, Ordering::SeqCst);
                over(&changing, me);
                if end.is_multiple_of(2) { drop(held) } else { held.release().await }
            }
        }));
    }
    for agent in agents {
        agent.await.unwrap();
    }
    assert!(done.load(Ordering::SeqCst) > 20, "{done:?}");
    world.settle().await;
    let last = world.agent();
    let taken = async { take(&last).await.is_ok() || take(&last).await.is_ok() || take(&last).await.is_ok() };
    assert!(taken.await, "nothing stays locked");
}
