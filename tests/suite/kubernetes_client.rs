//! The client of the API server, identity and permissions, against a double that answers what a real one does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cloakroom_agent::access::kubernetes::KubernetesRbac;
use cloakroom_agent::access::{AccessError, Action, Decision, PermissionProvider as _, Subject};
use cloakroom_agent::clock::Clock;
use cloakroom_agent::id::Scope;
use cloakroom_agent::identity::pod::PodIdentity;
use cloakroom_agent::kubernetes::{Answer, ApiServer, CallError, TooOld};
use cloakroom_tests::agent::{Agent, Options};
use cloakroom_tests::canary::{Canary, Sink, sweep};
use cloakroom_tests::kubernetes::{FakeKubernetes, answer, cut, watch, who};
use cloakroom_tests::wire::Connection;
use http::{Request, Response, StatusCode};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Far more than an answer takes.
const WITHIN: Duration = Duration::from_secs(20);

fn request(path: &str) -> Request<Vec<u8>> {
    Request::get(path).body(Vec::new()).unwrap()
}

async fn call(api: &ApiServer) -> Result<Answer, CallError> {
    api.call(request("/any"), WITHIN).await
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(WITHIN, held).await.is_ok(), "{what}");
}

#[tokio::test]
async fn n8_no_redirect_is_followed_and_none_is_an_answer() {
    let (fake, other) = (FakeKubernetes::start().await, FakeKubernetes::start().await);
    let api = fake.api();
    for status in [301, 302, 303, 307, 308] {
        let there = format!("https://{}/there", other.address());
        fake.script(move |_, _| {
            let response = Response::builder().status(status).header("Location", there.clone());
            Some(response.body(json!({"status": {"allowed": true}}).to_string().into()).unwrap())
        });
        assert_eq!(call(&api).await.err(), Some(CallError::Misbehaved), "{status}");
    }
    assert_eq!((fake.seen().len(), other.seen().len()), (5, 0), "the token goes nowhere else");
}

#[tokio::test]
async fn n8_an_answer_and_a_line_of_a_watch_have_their_size() {
    let fake = FakeKubernetes::start().await;
    fake.script(|_, _| Some(Response::new(vec![b'x'; (4 << 20) + 1].into())));
    let api = fake.api();
    assert_eq!(call(&api).await.err(), Some(CallError::Misbehaved));
    let mut lines = api.lines(request("/any"), WITHIN).await.unwrap().unwrap();
    assert_eq!(lines.next().await.err(), Some(CallError::Misbehaved));
    fake.script(|_, _| Some(Response::new(vec![b'x'; 4 << 20].into())));
    assert_eq!(call(&api).await.unwrap().body().len(), 4 << 20);
}

#[tokio::test]
async fn b2_what_the_server_says_instead_of_an_answer_is_told_apart() {
    let fake = FakeKubernetes::start().await;
    let api = fake.api();
    let busy = |seconds| CallError::Busy(Duration::from_secs(seconds));
    for (status, retry_after, error) in [
        (429, Some("7"), busy(7)),
        (429, Some("86400"), busy(60)),
        (429, Some("soon"), busy(1)),
        (503, None, busy(1)),
        (500, None, CallError::Failed),
        (504, None, CallError::Failed),
    ] {
        fake.script(move |_, _| {
            let mut response = answer(status, &json!({}));
            if let Some(value) = retry_after {
                response.headers_mut().insert("retry-after", value.parse().unwrap());
            }
            Some(response)
        });
        assert_eq!(call(&api).await.err(), Some(error), "{status}");
    }
    fake.script(|_, _| Some(cut()));
    assert_eq!(call(&api).await.err(), Some(CallError::Lost));
}

#[tokio::test]
async fn n8_calls_at_one_time_are_bounded_and_each_ends_at_its_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::<AtomicUsize>::default();
    let accepted = Arc::clone(&connections);
    let tasks = TaskTracker::new();
    // Somebody who takes connections and says nothing.
    let silent = tasks.spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
            accepted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let fake = FakeKubernetes::start().await;
    let api = fake.api_at(&address.ip().to_string(), address.port());
    let calls = |count: usize, within: Duration| {
        let begun = (0..count).map(|_| {
            let api = api.clone();
            tasks.spawn(async move { api.call(request("/any"), within).await.err().unwrap() })
        });
        futures_util::future::join_all(begun.collect::<Vec<_>>())
    };
    let silently = calls(64, Duration::from_secs(2));
    eventually("64 are under way", || connections.load(Ordering::Relaxed) == 64).await;
    for refused in calls(16, Duration::from_millis(100)).await {
        assert!(matches!(refused.unwrap(), CallError::Busy(_)), "one more waits, and is told");
    }
    let ended = tokio::time::timeout(WITHIN, silently).await.expect("each call ends");
    assert!(ended.into_iter().all(|error| error.unwrap() == CallError::Lost));
    assert_eq!(connections.load(Ordering::Relaxed), 64);
    silent.abort();
}

#[tokio::test]
async fn b2_a_connection_serves_one_call_after_another_whatever_the_answer_says() {
    let fake = FakeKubernetes::start().await;
    let api = fake.api();
    for _ in 0..10 {
        assert_eq!(call(&api).await.unwrap().status, StatusCode::NOT_FOUND);
    }
    assert_eq!(fake.connections(), 1);
    for status in [429, 500, 301, 401] {
        fake.script(move |_, _| Some(answer(status, &json!({"kind": "Status"}))));
        for _ in 0..10 {
            call(&api).await.err().unwrap();
            // The rest of such an answer is read when nobody waits for it.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(fake.connections() < 20, "{} connections for 40 answers", fake.connections());
}

#[tokio::test]
async fn b2_a_connection_that_the_server_closes_is_not_used_again() {
    let fake = FakeKubernetes::start().await;
    let api = fake.api();
    fake.script(|_, _| {
        let mut last = answer(200, &json!({}));
        last.headers_mut().insert("connection", "close".parse().unwrap());
        Some(last)
    });
    for count in 1..=5 {
        assert_eq!(call(&api).await.unwrap().status, StatusCode::OK);
        assert_eq!(fake.connections(), count);
    }
}

#[tokio::test]
async fn n8_a_connection_that_nobody_has_used_for_a_minute_is_not_used_again() {
    let fake = FakeKubernetes::start().await;
    let api = fake.api();
    call(&api).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(59)).await;
    tokio::time::resume();
    call(&api).await.unwrap();
    assert_eq!(fake.connections(), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_mins(1)).await;
    tokio::time::resume();
    call(&api).await.unwrap();
    assert_eq!(fake.connections(), 2);
}

#[tokio::test]
async fn n7_what_is_still_to_come_of_an_answer_that_was_given_up_is_no_answer_to_the_next_call() {
    let fake = FakeKubernetes::start().await;
    let api = fake.api();
    fake.script(|seen, _| {
        let status = if seen.path == "/late" { watch(&[]) } else { answer(200, &json!({"for": seen.path})) };
        Some(status)
    });
    for number in 0..3 {
        let late = api.call(request("/late"), Duration::from_millis(100)).await;
        assert_eq!(late.err(), Some(CallError::Lost));
        let path = format!("/{number}");
        let next: serde_json::Value = api.call(request(&path), WITHIN).await.unwrap().json().unwrap();
        assert_eq!(next, json!({"for": path}));
    }
    assert_eq!(fake.seen().len(), 6);
    assert!(fake.connections() >= 4, "each that was given up is closed");
}

#[tokio::test]
async fn i9_after_a_401_the_token_is_read_again_once_and_the_same_one_is_not_sent_twice() {
    let fake = FakeKubernetes::start().await;
    let api = fake.api();
    fake.script(|seen, _| (seen.authorization != "Bearer second").then(|| answer(401, &json!({}))));
    assert_eq!(call(&api).await.err(), Some(CallError::NotAuthenticated));
    assert_eq!(fake.seen().len(), 1, "there is no other token");
    assert_eq!(api.lines(request("/any"), WITHIN).await.err(), Some(CallError::NotAuthenticated));
    fake.replace("token", "not yet");
    assert_eq!(call(&api).await.err(), Some(CallError::NotAuthenticated));
    assert_eq!(fake.seen().len(), 4, "once more, and no oftener");
    std::fs::remove_file(fake.directory().join("token")).unwrap();
    fake.replace("ca.crt", "half-written");
    assert_eq!(call(&api).await.err(), Some(CallError::NotAuthenticated), "the last good token and bundle stay");
    assert_eq!(fake.seen().last().unwrap().authorization, "Bearer not yet");
    fake.replace("token", "second");
    assert_eq!(call(&api).await.unwrap().status, StatusCode::NOT_FOUND, "the new token is used at once");
    fake.replace("token", "third");
    fake.script(|seen, _| (seen.authorization != "Bearer third").then(|| answer(401, &json!({}))));
    assert_eq!(api.lines(request("/any"), WITHIN).await.err(), Some(CallError::NotAuthenticated));
    assert_eq!(api.token_generation(), 4, "a watch that is turned away reads the token too");
    // However often it is replaced: one call asks twice at most.
    let (file, mut number) = (fake.directory().join("token"), 0);
    fake.script(move |_, _| {
        number += 1;
        std::fs::write(&file, format!("token-{number}")).unwrap();
        Some(answer(401, &json!({})))
    });
    let before = fake.seen().len();
    assert_eq!(call(&api).await.err(), Some(CallError::NotAuthenticated));
    assert_eq!(fake.seen().len() - before, 2);
}

#[tokio::test]
async fn b4_a_certificate_for_another_name_or_of_another_authority_is_refused_before_the_token_is_sent() {
    let (other, fake) = (FakeKubernetes::named("other.default.svc").await, FakeKubernetes::start().await);
    assert_eq!(call(&other.api()).await.err(), Some(CallError::Unreachable), "its address is in it, and is not enough");
    fake.replace("ca.crt", &std::fs::read_to_string(other.directory().join("ca.crt")).unwrap());
    let api = fake.api();
    assert_eq!(call(&api).await.err(), Some(CallError::Unreachable));
    assert_eq!((other.seen().len(), fake.seen().len()), (0, 0));
}

/// Who the pod is, once the double has been asked by `fake`'s answers.
fn keep(api: &ApiServer) -> (Arc<PodIdentity>, tokio::task::JoinHandle<Result<(), TooOld>>) {
    let identity = Arc::<PodIdentity>::default();
    let keeping = TaskTracker::new().spawn(Arc::clone(&identity).keep(api.clone(), CancellationToken::new()));
    (identity, keeping)
}

#[tokio::test]
async fn w10_a_server_below_the_oldest_supported_is_refused_before_it_is_asked_who_we_are() {
    let fake = FakeKubernetes::start().await;
    fake.script(|seen, _| (seen.path == "/version").then(|| answer(200, &json!({"major": "1", "minor": "29+"}))));
    let (identity, keeping) = keep(&fake.api());
    let refused = tokio::time::timeout(WITHIN, keeping).await.expect("it ends").unwrap();
    assert_eq!(refused, Err(TooOld { minor: 29 }));
    assert_eq!(identity.now().0, Err(AccessError::Unavailable));
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn n13_only_a_service_account_is_a_subject_and_only_a_pods_name_is_recorded() {
    for (user, pod, subject, recorded) in [
        ("system:serviceaccount:poc:agent", "pod-1", Ok("system:serviceaccount:poc:agent"), Some("pod-1")),
        ("system:serviceaccount:poc:agent", "pod\n{\"forged\":1}", Ok("system:serviceaccount:poc:agent"), None),
        ("uid:0", "pod-1", Err(AccessError::NotAuthenticated), Some("pod-1")),
        ("kubernetes-admin", "pod-1", Err(AccessError::NotAuthenticated), Some("pod-1")),
    ] {
        let fake = FakeKubernetes::start().await;
        fake.script(move |seen, _| seen.path.ends_with("/selfsubjectreviews").then(|| answer(201, &who(user, pod))));
        let (identity, keeping) = keep(&fake.api());
        eventually("it is asked", || identity.now().0 != Err(AccessError::Unavailable)).await;
        let (found, name) = identity.now();
        let found = found.as_ref().map(Subject::as_str).map_err(|error| *error);
        assert_eq!((found, name.as_deref()), (subject, recorded), "{user} {pod}");
        keeping.abort();
    }
}

/// The provider, a clock that it goes by, and its subject.
fn rbac(fake: &FakeKubernetes) -> (Arc<KubernetesRbac>, Clock, Subject) {
    let clock = Clock::manual();
    let subject = Subject::parse("system:serviceaccount:poc:agent").unwrap();
    (Arc::new(KubernetesRbac::new(fake.api(), clock.clone(), WITHIN)), clock, subject)
}

const ALLOWED: Result<Decision, AccessError> = Ok(Decision::Allow);
const DENIED: Result<Decision, AccessError> = Ok(Decision::Deny);
const UNANSWERED: Result<Decision, AccessError> = Err(AccessError::Unavailable);

#[tokio::test]
async fn n3_an_allow_is_believed_for_30_seconds_a_denial_for_5_and_then_only_an_answer_counts() {
    let fake = FakeKubernetes::start().await;
    let (rbac, clock, subject) = rbac(&fake);
    let scope = Scope::parse("poc/eni--hyperion/my-app").unwrap();
    let ask = || rbac.ask(&subject, Action::Read, &scope);
    let milliseconds = Duration::from_millis;
    // Counted from before the question: the answer may have been made as long ago as that.
    let slow = clock.clone();
    fake.script(move |_, _| {
        slow.advance(milliseconds(10_000));
        None
    });
    assert_eq!(ask().await, ALLOWED);
    fake.script(|_, _| Some(answer(201, &json!({"status": {"allowed": false}}))));
    clock.advance(milliseconds(19_999));
    assert_eq!((ask().await, rbac.known(&subject, Action::Read, (&scope).into())), (ALLOWED, ALLOWED.ok()));
    clock.advance(milliseconds(1));
    assert_eq!(rbac.known(&subject, Action::Read, (&scope).into()), None);
    assert_eq!(ask().await, DENIED);
    fake.script(|_, _| None);
    clock.advance(milliseconds(4_999));
    assert_eq!(ask().await, DENIED);
    clock.advance(milliseconds(1));
    assert_eq!(ask().await, ALLOWED);
    fake.script(|_, _| Some(cut()));
    clock.advance(milliseconds(29_999));
    assert_eq!(ask().await, ALLOWED, "while the server is away an allow lives out its time");
    clock.advance(milliseconds(1));
    for _ in 0..3 {
        assert_eq!(ask().await, UNANSWERED, "and then nothing is allowed");
        clock.advance(milliseconds(500));
    }
}

#[tokio::test]
async fn n1_nothing_but_a_review_that_allows_is_an_allow() {
    let allowed = json!({"status": {"allowed": true}});
    for (status, body) in [
        (201, json!({"status": {"allowed": true, "denied": true}})),
        (201, json!({"status": {"allowed": "true"}})),
        (201, json!({"status": {}})),
        (201, json!({})),
        (202, allowed.clone()),
        (403, allowed.clone()),
        (404, allowed.clone()),
        (500, allowed.clone()),
        (302, allowed),
    ] {
        let fake = FakeKubernetes::start().await;
        let (rbac, _, subject) = rbac(&fake);
        let said = body.clone();
        fake.script(move |_, _| Some(answer(status, &said)));
        let answer = rbac.ask(&subject, Action::Read, &Scope::parse("poc").unwrap()).await;
        assert!(answer != ALLOWED, "{status} {body}");
    }
}

#[tokio::test]
async fn n3_a_decision_stands_for_its_own_subject_action_and_scope_and_is_asked_for_once() {
    let fake = FakeKubernetes::start().await;
    let (rbac, _, subject) = rbac(&fake);
    let scope = Scope::parse("poc/eni--hyperion/my-app").unwrap();
    let asked = futures_util::future::join_all((0..50).map(|_| rbac.ask(&subject, Action::Read, &scope))).await;
    assert!(asked.iter().all(|answer| *answer == ALLOWED));
    assert_eq!(fake.seen().len(), 1, "fifty who ask at once are one question");
    let question = json!({"group": "cloakroom.dev", "resource": "secrets", "verb": "get",
                          "namespace": "poc--eni--hyperion", "name": "my-app"});
    assert_eq!(fake.seen()[0].body["spec"]["resourceAttributes"], question);
    fake.script(|_, _| Some(answer(201, &json!({"status": {"allowed": false}}))));
    let other = Subject::parse("system:serviceaccount:poc:other").unwrap();
    assert_eq!(rbac.ask(&other, Action::Read, &scope).await, DENIED);
    for action in [Action::Write, Action::Delete, Action::Onboard, Action::Offboard] {
        assert_eq!(rbac.ask(&subject, action, &scope).await, DENIED, "{action:?}");
    }
    for scope in ["poc", "poc/eni--hyperion", "poc/eni--hyperion/other", "other/eni--hyperion/my-app"] {
        assert_eq!(rbac.ask(&subject, Action::Read, &Scope::parse(scope).unwrap()).await, DENIED, "{scope}");
    }
    fake.script(|_, _| Some(cut()));
    let before = fake.seen().len();
    let scope = Scope::parse("other").unwrap();
    let asked = futures_util::future::join_all((0..50).map(|_| rbac.ask(&subject, Action::Read, &scope))).await;
    assert!(asked.iter().all(|answer| *answer == UNANSWERED));
    assert_eq!(fake.seen().len() - before, 1, "and a server that does not answer is not asked fifty times");
}

/// A whole agent that takes the double for its API server.
fn agent(fake: &FakeKubernetes) -> Agent {
    let directory = fake.directory().display();
    Agent::start(Options {
        sources: Some(format!(
            "backend: {{kind: kubernetes}}\nidentity: {{kind: pod, tokenDir: {directory}}}\npermissions: {{kind: kubernetes}}"
        )),
        environment: vec![
            ("KUBERNETES_SERVICE_HOST".to_owned(), fake.address().ip().to_string()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), fake.address().port().to_string()),
        ],
        log: "trace",
        ..Options::default()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x5_nothing_that_an_api_server_says_beside_the_matter_reaches_a_sink() {
    let fake = FakeKubernetes::start().await;
    let canaries = [Canary::new(0), Canary::new(1)];
    let text = canaries[0].text().to_owned();
    // What of a canary may stand in a header; the sweep looks for its beginning too.
    let token: String = canaries[1].text().chars().take_while(char::is_ascii_alphanumeric).collect();
    fake.replace("token", &token);
    let agent = agent(&fake);
    let ask = |method: &str| {
        let target = "/api/v1/secrets/poc:eni--hyperion:my-app:clientSecret:";
        let headers = [("Content-Type", "application/json")];
        let answer = Connection::open(&agent.socket()).request(method, target, &headers, br#"{"value":"x"}"#);
        assert!(!String::from_utf8_lossy(&answer.body).contains(&text), "{}", answer.status);
        answer.status
    };
    eventually("the agent learns who it is", || ask("GET") == 404).await;
    let status = json!({"kind": "Status", "message": text, "details": {"name": text, "causes": [{"reason": text}]}});
    let secret = json!({"metadata": {"uid": "u", "resourceVersion": "1"}, "data": {"clientSecret": text}});
    for (code, body) in [
        (400, status.to_string()),
        (403, status.to_string()),
        (409, status.to_string()),
        (418, status.to_string()),
        (422, status.to_string()),
        (500, status.to_string()),
        (200, text.clone()),
        // No base64, no JSON.
        (200, secret.to_string()),
        (200, secret.to_string().replace('}', "")),
    ] {
        let watch = format!("{{\"type\": \"{text}\", \"object\": {body}}}\n");
        fake.script(move |seen, _| {
            let body = if seen.is_watch() { watch.clone() } else { body.clone() };
            seen.path.contains("/secrets").then(|| Response::builder().status(code).body(body.into()).unwrap())
        });
        assert!(ask("GET") >= 403 && ask("PUT") >= 403, "{code}");
    }
    let mut sinks = Sink::files(agent.directory(), &[]);
    for target in ["/metrics", "/status"] {
        let answer = Connection::open(&agent.admin()).request_plain("GET", target, &[], b"");
        sinks.push(Sink::new(target, answer.body));
    }
    assert_eq!(sweep(&canaries, &sinks), Vec::<String>::new());
}
