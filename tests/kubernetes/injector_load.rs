//! C1 and X1 of the injector: admissions at a pace, while certificates rotate and while replicas are killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_tests::cluster::Cluster;
use cloakroom_tests::injector::Reviewer;
use cloakroom_tests::pods::{DRY_RUN, Maker, Refused};
use cloakroom_tests::replica::Replica;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::task::TaskTracker;

use super::backend::eventually;
use super::injection::{Injection, RELEASE, asking, has_agent, plain};

/// Admissions a second.
const RATE: u32 = 200;

/// Admissions under way: a machine that cannot keep the pace is not drowned, and what it did is printed.
const OPEN: usize = 128;

/// Longer than a poll of the certificates, the minute that a new one waits, and another poll.
const ROTATED: Duration = Duration::from_mins(3);

/// What whoever was cut waits before asking again, doubled each time: the pace of a controller's queue.
/// <https://github.com/kubernetes/client-go/blob/master/util/workqueue/default_rate_limiters.go>
const BACKOFF: Duration = Duration::from_millis(5);

/// How often an admission is asked for while replicas are killed. The waits between come to five seconds.
const TRIES: u32 = 11;

/// What came of the admissions.
#[derive(Default)]
struct Outcome {
    taken: AtomicUsize,
    /// Taken, and without an agent.
    bare: AtomicUsize,
    /// Asked again, because the call of the webhook broke.
    cut: AtomicUsize,
    refused: Mutex<Vec<Refused>>,
    /// How long each answer took.
    waits: Mutex<Vec<Duration>>,
}

/// Makes pods at [`RATE`] until it is stopped, whether earlier ones have been answered or not.
///
/// In turn one that asks, one in a namespace that is enabled and one in a mandatory one, so that every entry is called.
struct Load {
    outcome: Arc<Outcome>,
    stop: Arc<AtomicBool>,
    pacing: tokio::task::JoinHandle<()>,
    began: tokio::time::Instant,
}

impl Load {
    /// Each is tried so often where what broke was the call of the webhook.
    fn start(maker: &Maker, tries: u32) -> Self {
        let (outcome, stop) = (Arc::<Outcome>::default(), Arc::<AtomicBool>::default());
        let pacing = TaskTracker::new().spawn(pace(maker.clone(), Arc::clone(&outcome), Arc::clone(&stop), tries));
        Self { outcome, stop, pacing, began: tokio::time::Instant::now() }
    }

    /// Ends it, waits for what is under way, and prints what there was.
    async fn end(self, what: &str) -> Arc<Outcome> {
        let lasted = self.began.elapsed();
        self.stop.store(true, Ordering::Relaxed);
        self.pacing.await.unwrap();
        let (taken, refused) = (self.outcome.taken.load(Ordering::Relaxed), self.outcome.refused.lock().await.len());
        let rate = f64::from(u32::try_from(taken + refused).unwrap()) / lasted.as_secs_f64();
        let mut waits = self.outcome.waits.lock().await.clone();
        waits.sort_unstable();
        let at = |part: usize| waits[(waits.len() - 1) * part / 100];
        println!(
            "{what}: {taken} admissions, {} of the webhook's calls cut, {refused} failures in {lasted:.0?}, {rate:.0} a \
             second; p50 {:.0?}, p99 {:.0?}",
            self.outcome.cut.load(Ordering::Relaxed),
            at(50),
            at(99)
        );
        assert_eq!(self.outcome.bare.load(Ordering::Relaxed), 0, "a pod without an agent");
        self.outcome
    }
}

async fn pace(maker: Maker, outcome: Arc<Outcome>, stop: Arc<AtomicBool>, tries: u32) {
    let (tasks, open) = (TaskTracker::new(), Arc::new(Semaphore::new(OPEN)));
    let mut pace = tokio::time::interval(Duration::from_secs(1) / RATE);
    let kinds = [("injection-asked", asking()), ("injection-enabled", plain()), ("injection-required", plain())];
    for (namespace, pod) in kinds.iter().cycle() {
        pace.tick().await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let room = Arc::clone(&open).acquire_owned().await.unwrap();
        let (maker, outcome, namespace, pod) = (maker.clone(), Arc::clone(&outcome), *namespace, pod.clone());
        tasks.spawn(async move {
            for asked in 1..=tries {
                let began = tokio::time::Instant::now();
                let made = maker.create(namespace, &pod, DRY_RUN).await;
                outcome.waits.lock().await.push(began.elapsed());
                match made {
                    Ok(pod) if has_agent(&pod) => drop(outcome.taken.fetch_add(1, Ordering::Relaxed)),
                    Ok(_) => drop(outcome.bare.fetch_add(1, Ordering::Relaxed)),
                    Err(refused) if asked < tries && is_cut(&refused) => {
                        outcome.cut.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(BACKOFF * 2_u32.pow(asked - 1)).await;
                        continue;
                    }
                    Err(refused) => outcome.refused.lock().await.push(refused),
                }
                break;
            }
            drop(room);
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// The state that the replicas share.
fn state(cluster: &Cluster) -> Value {
    let secret = format!("{RELEASE}-certificate");
    let found = cluster.kubectl(&["-n", RELEASE, "get", "secret", &secret, "-o", "json"]);
    let secret: Value = serde_json::from_str(&found).unwrap();
    serde_json::from_slice(&STANDARD.decode(secret["data"]["state.json"].as_str().unwrap()).unwrap()).unwrap()
}

/// Shakes hands anew with every replica all the time, and trusts what an API server trusts that heard of it a moment ago.
/// The API server itself keeps its connections, and would notice a wrong certificate late.
async fn shake_hands(injection: &Injection, bundle: &Mutex<Option<String>>, failures: &Mutex<Vec<String>>) {
    for replica in injection.replicas.iter().cycle() {
        let trusted = bundle.lock().await.clone().unwrap();
        let name = format!("{RELEASE}.{RELEASE}.svc");
        if let Err(why) = Reviewer::new(replica.listen, &trusted, &name, true).review("uid").await {
            failures.lock().await.push(why);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_certificates_rotate_over_three_replicas_under_admissions_at_a_pace_and_none_fails() {
    if Cluster::own().is_none() {
        return;
    }
    let injection = Injection::new(&json!({"replicas": 3}), 3).await;
    let pem = || {
        let bundle = injection.bundle()?;
        Some(String::from_utf8(STANDARD.decode(bundle).unwrap()).unwrap())
    };
    let (bundle, failures) = (Mutex::new(pem()), Mutex::new(Vec::new()));
    let first = bundle.lock().await.clone().unwrap();
    let load = Load::start(&injection.maker, 1);
    // Who takes the Secret away has all of it made anew: an authority, and a certificate of it.
    injection.cluster.kubectl(&["-n", RELEASE, "delete", "secret", &format!("{RELEASE}-certificate")]);
    let rotated = eventually(ROTATED, "the first authority is replaced everywhere", async || {
        let found = tokio::task::block_in_place(pem);
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Some(found) = found {
            *bundle.lock().await = Some(found);
        }
        // The new one alone is enough for each of them once it is served.
        let known = bundle.lock().await.clone().unwrap();
        let Some(newest) = known.split_inclusive("-----END CERTIFICATE-----\n").last() else { return false };
        newest != first && is_served_by_all(&injection, newest).await
    });
    tokio::select! {
        () = rotated => {}
        () = shake_hands(&injection, &bundle, &failures) => {}
    }
    let outcome = load.end("c1").await;
    assert_eq!(*outcome.refused.lock().await, Vec::new());
    assert_eq!(*failures.lock().await, Vec::<String>::new());
}

async fn is_served_by_all(injection: &Injection, authority: &str) -> bool {
    let name = format!("{RELEASE}.{RELEASE}.svc");
    for replica in &injection.replicas {
        if Reviewer::new(replica.listen, authority, &name, true).review("uid").await.is_err() {
            return false;
        }
    }
    true
}

/// What an API server says of a call that broke, or that found nobody: nothing was decided, and asking again is all.
fn is_cut(refused: &Refused) -> bool {
    refused.status == 500 && refused.message.contains("failed calling webhook")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x1_replicas_that_are_killed_again_and_again_admit_nothing_bare_and_leave_everything_whole() {
    if Cluster::own().is_none() {
        return;
    }
    let mut injection = Injection::bare(&json!({"replicas": 3}), None, 3).await;
    // While the certificates are made: whatever has been written by then is a state, or there is none.
    for round in 0..12_u32 {
        for replica in &mut injection.replicas {
            replica.kill();
            replica.start_again();
        }
        tokio::time::sleep(Duration::from_millis(40) * round).await;
    }
    injection.replicas.iter().for_each(Replica::becomes_ready);
    let made = state(&injection.cluster);
    eventually(super::injection::HEARD, "every entry is answered", async || {
        let of = async |namespace: &str, pod: &Value| {
            injection.maker.create(namespace, pod, DRY_RUN).await.is_ok_and(|pod| has_agent(&pod))
        };
        of("injection-asked", &asking()).await
            && of("injection-enabled", &plain()).await
            && of("injection-required", &plain()).await
    })
    .await;

    // While pods are made: one of three at a time, at no particular moment.
    // A kill breaks what is under way in one replica. Whoever was cut asks again, as every controller does.
    let load = Load::start(&injection.maker, TRIES);
    let mut kills = 0;
    for round in 0..30_u64 {
        let replica = &mut injection.replicas[usize::try_from(round % 3).unwrap()];
        replica.kill();
        kills += 1;
        tokio::time::sleep(Duration::from_millis(round * 37 % 200)).await;
        replica.start_again();
        replica.becomes_ready();
    }
    let outcome = load.end(&format!("x1: {kills} kills")).await;
    assert_eq!(*outcome.refused.lock().await, Vec::new());
    // One replica is enough.
    for replica in &mut injection.replicas[1..] {
        replica.kill();
    }
    let load = Load::start(&injection.maker, TRIES);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let outcome = load.end("x1: one replica of three").await;
    assert_eq!(*outcome.refused.lock().await, Vec::new());
    assert_eq!(state(&injection.cluster), made, "nobody has made anything anew");
}
