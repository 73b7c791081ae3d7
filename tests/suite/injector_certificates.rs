//! C1, C2, C4 and N15: replicas that share certificates, with moved clocks and an API server that keeps versions.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use cloakroom_agent::clock::Clock;
use cloakroom_injector::certificate::serving::Serving;
use cloakroom_injector::certificate::{Lifetimes, service_names};
use cloakroom_injector::publish::{Keeper, Names, Progress, Publication};
use cloakroom_tests::injector::provider;
use cloakroom_tests::injector_objects::ObjectServer;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;

const START: i64 = 1_800_000_000;
const DAY: i64 = 24 * 3600;

/// The clocks of one machine park.
#[derive(Clone)]
struct Clocks {
    boot: Clock,
    wall: Arc<AtomicI64>,
}

impl Clocks {
    fn new() -> Self {
        Self { boot: Clock::manual(), wall: Arc::new(AtomicI64::new(START)) }
    }

    fn now(&self) -> i64 {
        self.wall.load(Ordering::Relaxed)
    }

    fn pass(&self, seconds: i64) {
        self.boot.advance(Duration::from_secs(seconds.unsigned_abs()));
        self.wall.fetch_add(seconds, Ordering::Relaxed);
    }
}

struct Replica {
    keeper: Keeper,
    serving: Arc<Serving>,
    publication: Arc<Publication>,
}

impl Replica {
    fn new(server: &ObjectServer, clocks: &Clocks) -> Self {
        let names = Names {
            configuration: "cloakroom".into(),
            namespace: "cloakroom".into(),
            secret: "certificates".into(),
            hosts: service_names("injector", "cloakroom"),
        };
        let (serving, publication) = (Arc::<Serving>::default(), Publication::new(clocks.boot.clone()));
        let wall = Arc::clone(&clocks.wall);
        let keeper = Keeper::new(
            server.api(),
            names,
            Lifetimes::default(),
            provider(),
            Arc::clone(&serving),
            Arc::clone(&publication),
        )
        .with_clocks(clocks.boot.clone(), move || Timestamp::from_second(wall.load(Ordering::Relaxed)).unwrap());
        Self { keeper, serving, publication }
    }

    /// Looks until nothing is due.
    async fn settle(&mut self) {
        for _ in 0..200 {
            if self.keeper.look().await.unwrap() == Progress::Rest {
                return;
            }
        }
        panic!("it never rests");
    }
}

/// Whether a client that has this bundle accepts what is served.
fn trusts(bundle: &str, shown: &CertificateDer<'_>, now: i64) -> bool {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()).filter_map(Result::ok) {
        roots.add(certificate).unwrap();
    }
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build() else {
        return false;
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.unsigned_abs()));
    let name = ServerName::try_from("injector.cloakroom.svc").unwrap();
    verifier.verify_server_cert(shown, &[], &name, &[], now).is_ok()
}

/// Whether every entry trusts every replica.
fn all_trusted(server: &ObjectServer, replicas: &[Replica], now: i64) -> bool {
    let bundles = server.objects().bundles();
    replicas.iter().all(|replica| {
        replica.serving.certificate().is_some_and(|shown| bundles.iter().all(|bundle| trusts(bundle, &shown, now)))
    })
}

async fn started(count: usize) -> (ObjectServer, Clocks, Vec<Replica>) {
    let (server, clocks) = (ObjectServer::start().await, Clocks::new());
    let mut replicas: Vec<Replica> = (0..count).map(|_| Replica::new(&server, &clocks)).collect();
    for replica in &mut replicas {
        replica.settle().await;
    }
    (server, clocks, replicas)
}

#[tokio::test]
async fn c2_fifty_replicas_that_start_together_make_one_authority() {
    let (server, clocks) = (ObjectServer::start().await, Clocks::new());
    let mut replicas: Vec<Replica> = (0..50).map(|_| Replica::new(&server, &clocks)).collect();
    futures_util::future::join_all(replicas.iter_mut().map(Replica::settle)).await;
    assert!(all_trusted(&server, &replicas, clocks.now()));
    assert!(replicas.iter().all(|replica| replica.publication.is_good()));
    let objects = server.objects();
    assert_eq!(objects.writes, ["POST secret", "PATCH configuration"], "one authority, published once");
    assert_eq!(objects.state()["authorities"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn c2_a_damaged_or_deleted_secret_is_repaired_and_nobody_who_serves_notices() {
    let damage: [fn(&mut Value); 6] = [
        |state| *state = Value::Null,
        |state| state["authorities"][0]["key"] = state["leaf"]["key"].clone(),
        |state| state["authorities"][0]["certificate"] = state["leaf"]["certificate"].clone(),
        |state| state["authorities"] = Value::Array(Vec::new()),
        |state| state["leaf"]["key"] = "-".into(),
        |state| state["leaf"] = Value::Null,
    ];
    for (case, damage) in damage.into_iter().map(Some).chain([None]).enumerate() {
        let (server, clocks, mut replicas) = started(2).await;
        let shown = replicas[0].serving.certificate();
        match damage {
            Some(damage) => {
                let mut state = server.objects().state();
                damage(&mut state);
                server.objects().edit(state.to_string().as_bytes());
            }
            None => server.objects().secret = None,
        }
        for _ in 0..2 {
            for replica in &mut replicas {
                replica.settle().await;
            }
            assert!(all_trusted(&server, &replicas, clocks.now()), "case {case}");
        }
        assert_eq!(replicas[0].serving.certificate(), shown, "case {case}: what is served stays");
        // And one that knows nothing finds what it can use.
        let mut newcomer = [Replica::new(&server, &clocks)];
        newcomer[0].settle().await;
        assert!(all_trusted(&server, &newcomer, clocks.now()), "case {case}");
        // A minute later the new authority has taken over.
        clocks.pass(61);
        for replica in &mut replicas {
            replica.settle().await;
        }
        assert_ne!(replicas[0].serving.certificate(), shown, "case {case}");
        assert!(all_trusted(&server, &replicas, clocks.now()), "case {case}");
    }
}

#[tokio::test]
async fn c2_where_all_start_anew_on_a_damaged_or_ended_state_a_new_one_is_made() {
    let (server, clocks, replicas) = started(1).await;
    drop(replicas);
    server.objects().edit(b"half of");
    let mut replicas = [Replica::new(&server, &clocks)];
    replicas[0].settle().await;
    assert!(all_trusted(&server, &replicas, clocks.now()));
    clocks.pass(400 * DAY);
    let mut replicas = [Replica::new(&server, &clocks), Replica::new(&server, &clocks)];
    for replica in &mut replicas {
        replica.settle().await;
    }
    assert!(all_trusted(&server, &replicas, clocks.now()));
}

#[tokio::test]
async fn c4_an_overwritten_bundle_is_repaired_at_once_and_then_once_a_minute() {
    for placeholder in ["", "\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let (server, clocks, mut replicas) = started(3).await;
        let patches = || server.objects().writes.iter().filter(|write| **write == "PATCH configuration").count();
        let before = patches();
        clocks.pass(10);
        server.objects().overwrite(1, placeholder);
        replicas[2].settle().await;
        assert!(all_trusted(&server, &replicas, clocks.now()), "repaired by the first who looks");
        // Somebody writes against us every ten seconds, for ten minutes.
        for _ in 0..60 {
            clocks.pass(10);
            server.objects().overwrite(0, placeholder);
            for replica in &mut replicas {
                replica.settle().await;
            }
        }
        let fought = patches() - before;
        assert!((9..=11).contains(&fought), "{fought} patches in ten minutes");
    }
}

#[tokio::test]
async fn c1_n15_over_two_years_no_moment_comes_at_which_a_replica_is_not_trusted() {
    let (server, clocks, mut replicas) = started(3).await;
    let mut served_since: Vec<(String, i64)> = Vec::new();
    let (mut leaves, mut authorities) = (1, 1);
    let mut known: Option<(CertificateDer<'static>, String)> = None;
    let mut turn = 0;
    while clocks.now() < START + 2 * 365 * DAY {
        // A day passes, or a machine sleeps through three; then everybody looks for some minutes.
        turn += 1;
        clocks.pass(if turn % 40 == 0 { 3 * DAY } else { DAY });
        for _ in 0..9 {
            for replica in &mut replicas {
                replica.settle().await;
            }
            clocks.pass(10);
            let now = clocks.now();
            assert!(all_trusted(&server, &replicas, now), "day {}", (now - START) / DAY);
            let bundle = server.objects().bundles().remove(0);
            if served_since.last().is_none_or(|(last, _)| *last != bundle) {
                served_since.push((bundle.clone(), now));
                authorities = authorities.max(served_since.len());
            }
            let shown = replicas[0].serving.certificate().unwrap();
            if let Some((last, _)) = &known
                && *last != shown
            {
                leaves += 1;
                // The bundle that trusts it has been there for a minute.
                let since = served_since.iter().find(|(bundle, _)| trusts(bundle, &shown, now)).unwrap().1;
                assert!(now - since >= 60, "served {} s after its authority was published", now - since);
            }
            known = Some((shown, bundle));
            let state = server.objects().state();
            let settled = state.get("next").is_none_or(Value::is_null);
            if settled {
                break;
            }
        }
        assert!(server.objects().state()["authorities"].as_array().unwrap().len() <= 3);
    }
    assert!(leaves > 60, "{leaves}");
    assert!(authorities >= 5, "{authorities} bundles: authorities come and go");
}
