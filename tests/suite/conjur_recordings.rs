//! The double of Conjur, held to recordings of a real server: every exchange that a client like ours can cause.

mod compare;
mod exchange;
mod left_out;
mod markers;
mod prepare;
pub(crate) mod raw;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_tests::conjur::{FakeConjur, Gate, Kind, Moment, Settings, When};

use self::compare::Comparison;
use self::exchange::{Exchange, Recording};
use self::markers::Markers;
use self::raw::Reply;

/// What was recorded against one server, one after the other: later files build on what earlier ones did.
const FIRST: [&str; 40] = [
    "login",
    "authenticate-api-key",
    "authenticate-api-key-wrong",
    "authn-jwt-ok",
    "authn-jwt-wrong-audience",
    "authn-jwt-expired",
    "authn-jwt-invalid-token",
    "authn-jwt-unknown-host",
    "authn-jwt-status",
    "policy-load-post",
    "policy-load-patch",
    "policy-load-put",
    "policy-load-invalid",
    "policy-load-forbidden",
    "whoami",
    "server-info",
    "secret-set-ok",
    "ids-encoding",
    "secret-get-ok",
    "secret-get-errors",
    "secret-set-errors",
    "secret-set-empty",
    "batch-get-ok",
    "batch-get-errors",
    "secret-binary",
    "batch-get-limits",
    "secret-versions",
    "secret-large",
    "policy-delete-branch",
    "policy-delete-variable",
    "resource-list",
    "resource-show",
    "permission-check",
    "roles",
    "api-key-rotation",
    "token-format",
    "policy-load-conflict",
    "token-errors",
    "policy-replace-own-branch",
    "policy-created-roles",
];

/// The rest of that day, on the same server.
const LATER: [&str; 5] =
    ["policy-load-size", "authn-jwt-enable-by-api", "conditional-get", "error-bodies-by-accept", "privileges"];

/// A second server, with nested scopes.
const GROUPS: [&str; 18] = [
    "groups-layout",
    "groups-load-privileges",
    "groups-load-escape",
    "groups-access",
    "groups-batch",
    "groups-role-members",
    "groups-delete",
    "groups-delete-scope",
    "groups-load-repeat",
    "groups-variable-versions",
    "groups-single-privileges",
    "groups-metadata-poll",
    "groups-load-concurrent",
    "groups-onboarder-variants",
    "groups-more",
    "groups-create-means-all",
    "groups-load-traffic",
    "groups-delete-race",
];

#[tokio::test]
async fn the_double_of_conjur_answers_what_a_real_server_answered() {
    let (mut replayed, mut failures) = (0, Vec::new());
    let (mut reasons, mut files) = (Vec::new(), BTreeSet::new());
    let first: Vec<&str> = FIRST.iter().chain(&LATER).copied().collect();
    for series in [first, GROUPS.to_vec()] {
        let fake = FakeConjur::with(Settings { tls: false, branch: None, ..Settings::default() }).await;
        let mut replay = Replay { fake: Arc::new(fake), markers: Markers::default() };
        for name in series {
            files.insert(name.to_owned());
            let (done, left) = replay.file(name, &mut failures).await;
            replayed += done;
            reasons.extend(left);
        }
    }
    for (exchange, reason) in &reasons {
        println!("left out: {exchange}: {reason}");
    }
    println!("{replayed} exchanges replayed, {} left out", reasons.len());
    assert_eq!(files, exchange::files(), "every recording is replayed");
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}

struct Replay {
    fake: Arc<FakeConjur>,
    markers: Markers,
}

impl Replay {
    /// Replays a file; how many exchanges were, and which were not for what reason.
    async fn file(&mut self, name: &str, failures: &mut Vec<String>) -> (usize, Vec<(String, &'static str)>) {
        let recording = Recording::read(name);
        let mut comparison = Comparison::default();
        let (mut replayed, mut left) = (0, Vec::new());
        prepare::file(&self.fake, name);
        self.markers.meet(&self.fake);
        let mut at = 0;
        while at < recording.exchanges.len() {
            let group: Vec<&Exchange> = recording.group(at);
            at += group.len();
            let (out, group): (Vec<&Exchange>, Vec<&Exchange>) =
                group.into_iter().partition(|one| left_out::reason(name, &one.name).is_some());
            for one in out {
                let label = format!("{name}: {}", one.name);
                left.extend(left_out::reason(name, &one.name).map(|reason| (label, reason)));
            }
            for one in &group {
                prepare::exchange(&self.fake, name, &one.name);
            }
            let requests =
                group.iter().map(|one| self.markers.request(&self.fake, &recording, one)).collect::<Vec<_>>();
            let replies = match requests.len() {
                0 => Vec::new(),
                1 => vec![raw::send(&self.fake, &requests[0]).await],
                _ => together(&self.fake, &group, requests).await,
            };
            for (one, reply) in group.iter().zip(&replies) {
                replayed += 1;
                if let Err(told) = comparison.check(&mut self.markers, one, reply) {
                    failures.push(format!("{name}: {} ({} {}): {told}", one.name, one.method, one.short()));
                }
            }
        }
        (replayed, left)
    }
}

/// Brings about what happened by chance when requests ran at the same time: a gate decides who comes first.
async fn together(fake: &Arc<FakeConjur>, group: &[&Exchange], requests: Vec<Vec<u8>>) -> Vec<Reply> {
    let mut replies: Vec<Option<Reply>> = requests.iter().map(|_| None).collect();
    let start = |at: usize| {
        let (fake, request) = (Arc::clone(fake), requests[at].clone());
        tokio::spawn(async move { raw::send(&fake, &request).await })
    };
    let lost = |status: u16| group.iter().enumerate().filter(move |(_, one)| one.status == status).map(|(at, _)| at);
    let stop = |at: usize| {
        let path = group[at].short();
        fake.hold(When::any().method(&group[at].method).path(&path), Moment::BeforeEffect)
    };
    let load = |at: usize| group[at].path.starts_with("/policies");
    // A load that ended in a 500 was overtaken by the deletion of its branch; a write, by another write.
    let (overtaken, others): (Vec<usize>, Vec<usize>) = lost(500).partition(|at| load(*at));
    let late: Vec<usize> = others.into_iter().chain(lost(409)).collect();
    let mut winners: Vec<usize> = (0..group.len()).filter(|at| group[*at].status < 400).collect();
    let mut held = Vec::new();
    for at in overtaken {
        let mut gate = stop(at);
        let sent = start(at);
        arrived(&mut gate, &group[at].name).await;
        held.push((at, gate, sent));
    }
    if !late.is_empty() {
        let first = winners.remove(0);
        let mut gate = stop(first);
        let leading = start(first);
        arrived(&mut gate, &group[first].name).await;
        let before = fake.calls().len();
        let sent: Vec<_> = late.iter().map(|at| (*at, start(*at))).collect();
        // Who is too late has to be there before the first is done.
        while fake.calls().len() < before + sent.len() {
            tokio::task::yield_now().await;
        }
        gate.open();
        replies[first] = Some(leading.await.unwrap());
        for (at, sent) in sent {
            replies[at] = Some(sent.await.unwrap());
        }
    }
    // A read that saw a write comes after it; two writes that both counted, in the order of what was left.
    winners.sort_by_key(|at| (group[*at].method == "GET", group[*at].method == "PATCH"));
    for at in winners {
        replies[at] = Some(start(at).await.unwrap());
    }
    for (at, gate, sent) in held {
        gate.open();
        replies[at] = Some(sent.await.unwrap());
    }
    replies.into_iter().map(Option::unwrap).collect()
}

/// A request that is answered otherwise than expected never comes to its gate.
async fn arrived(gate: &mut Gate, name: &str) {
    tokio::time::timeout(Duration::from_secs(10), gate.reached())
        .await
        .unwrap_or_else(|_| panic!("{name} came to no gate"));
}

#[tokio::test]
async fn calls_are_logged_with_their_subject_and_without_values() {
    let fake = FakeConjur::with(Settings { tls: false, ..Settings::default() }).await;
    fake.admin_load("controlplane", "- !variable password\n");
    let request = format!(
        "POST /secrets/main/variable/controlplane%2Fpassword HTTP/1.1\r\nHost: c\r\nAuthorization: {}\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhunter",
        fake.authorization("admin")
    );
    assert_eq!(raw::send(&fake, request.as_bytes()).await.status, 201);
    let calls = fake.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].endpoint, calls[0].subject.as_deref()), (Kind::Write, Some("admin")));
    assert!(!format!("{calls:?}").contains("hunter"));
}
