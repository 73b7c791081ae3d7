//! The Kubernetes backend against a double: races, losses and failures that a real API server shows only by chance.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cloakroom_agent::access::{Access, Subject};
use cloakroom_agent::backend::kubernetes::KubernetesSettings;
use cloakroom_agent::backend::{Backend as _, BackendError, Freshness, Guard, Put};
use cloakroom_agent::id::{Scope, SecretId};
use cloakroom_agent::secret::SecretValue;
use cloakroom_agent::slots::{Catalogue, OnboardEntry, OnboardRequest, Strategy};
use cloakroom_tests::backend::AllowAll;
use cloakroom_tests::cluster::{AgentBackend, settings};
use cloakroom_tests::kubernetes::{FakeKubernetes, Seen, answer, cut, watch, watch_that_ends};
use http::{Method, Response};
use serde_json::{Value, json};

const APP: &str = "poc/eni--hyperion/my-app";
const PATH: &str = "/api/v1/namespaces/poc--eni--hyperion/secrets/my-app";
const SECRET: &str = "poc:eni--hyperion:my-app:clientSecret:";
const FINALIZER: &str = "secret-manager/finalizer";

async fn started(settings: KubernetesSettings) -> (FakeKubernetes, AgentBackend) {
    let fake = FakeKubernetes::start().await;
    fake.stored(|stored| stored.put(PATH, &json!({"finalizers": [FINALIZER]}), &[("clientSecret", "one")]));
    let agent = AgentBackend::new(fake.api(), settings);
    (fake, agent)
}

fn access() -> (Access, Subject) {
    (Access::new(Arc::new(AllowAll)), Subject::from_uid(1).unwrap())
}

async fn fetch(agent: &AgentBackend, id: &str, freshness: Freshness) -> Result<String, BackendError> {
    let (access, subject) = access();
    let permit = access.read(&subject, SecretId::parse(id).unwrap().into_parts().0).await.unwrap();
    agent.backend.fetch(&[permit], freshness).await.remove(0).map(|fetched| fetched.value.expose().to_owned())
}

async fn read(agent: &AgentBackend) -> Result<String, BackendError> {
    fetch(agent, SECRET, Freshness::Any).await
}

async fn put(agent: &AgentBackend, value: &str) -> Result<(), BackendError> {
    let (access, subject) = access();
    let permit = access.write(&subject, SecretId::parse(SECRET).unwrap().into_parts().0).await.unwrap();
    let put = Put { value: SecretValue::new(value.to_owned()), guard: Guard::None, keep_previous: None };
    agent.backend.put(&permit, put).await.map(drop)
}

async fn delete(agent: &AgentBackend) -> Result<(), BackendError> {
    let (access, subject) = access();
    let permit = access.delete(&subject, SecretId::parse(SECRET).unwrap().into_parts().0).await.unwrap();
    agent.backend.delete(&permit, Guard::None).await
}

async fn merge(agent: &AgentBackend, entries: &[(&str, &str)]) -> Result<(), BackendError> {
    let (access, subject) = access();
    let scope = Scope::parse(APP).unwrap();
    let entry = |(name, value): &(&str, &str)| OnboardEntry {
        name: (*name).to_owned(),
        value: SecretValue::new((*value).to_owned()),
    };
    let entries = entries.iter().map(entry).collect();
    let request = OnboardRequest::new(Strategy::Merge, entries, &Catalogue::default(), scope.kind()).unwrap();
    let permit = access.onboard(&subject, scope).await.unwrap();
    agent.backend.onboard(&permit, request).await.map(drop)
}

async fn offboard(agent: &AgentBackend) -> Result<(), BackendError> {
    let (access, subject) = access();
    let permit = access.offboard(&subject, Scope::parse(APP).unwrap()).await.unwrap();
    agent.backend.offboard(&permit).await
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), held).await.is_ok(), "{what}");
}

/// What the double holds of the secret.
fn held(fake: &FakeKubernetes) -> Option<Value> {
    fake.stored(|stored| stored.objects.get(PATH).cloned())
}

/// The next write of this method is answered by `answer` after it was done.
fn answer_once(fake: &FakeKubernetes, method: &Method, answer: impl Fn() -> Response<Bytes> + Send + 'static) {
    let (method, done) = (method.clone(), AtomicBool::new(false));
    fake.script(move |seen, stored| {
        (seen.method == method && !done.swap(true, Ordering::Relaxed)).then(|| {
            drop(stored.act(seen));
            answer()
        })
    });
}

/// Waits until a watch confirms what is known, so that a read of `id` takes no get.
async fn watched(fake: &FakeKubernetes, agent: &AgentBackend, id: &str) {
    let at_work = async {
        loop {
            let before = fake.count(Seen::is_get);
            assert_eq!(fetch(agent, id, Freshness::Any).await.as_deref(), Ok("one"));
            if fake.count(Seen::is_get) == before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), at_work).await.is_ok(), "the watch is at work");
}

/// How often a watch has begun.
fn watches(fake: &FakeKubernetes) -> usize {
    fake.count(Seen::is_watch)
}

#[tokio::test]
async fn b7_a_write_is_for_the_version_and_the_object_that_it_was_worked_out_from() {
    let (fake, agent) = started(settings()).await;
    // Between the get and the patch another one writes; then another one makes the object anew.
    let (turns, uid) = (AtomicUsize::new(0), json!({"finalizers": [FINALIZER], "uid": "made-anew"}));
    fake.script(move |seen, stored| {
        if seen.method == Method::PATCH {
            let data = match turns.fetch_add(1, Ordering::Relaxed) {
                0 => json!({"externalSecrets": "eyJhIjoieCJ9"}),
                1 => {
                    stored.put(PATH, &uid, &[]);
                    json!({"externalSecrets": "eyJiIjoieCJ9"})
                }
                _ => return None,
            };
            let version = stored.next_version();
            let object = stored.objects.get_mut(PATH).unwrap();
            object["metadata"]["resourceVersion"] = version.into();
            object["data"] = data;
        }
        None
    });
    merge(&agent, &[("externalSecrets/own", "x")]).await.unwrap();
    assert_eq!(held(&fake).unwrap()["data"]["externalSecrets"], "eyJiIjoieCIsIm93biI6IngifQ==");
    let patches: Vec<Seen> = fake.seen().into_iter().filter(|seen| seen.method == Method::PATCH).collect();
    assert_eq!(patches.len(), 3);
    for patch in patches {
        let metadata = &patch.body["metadata"];
        assert!(metadata["resourceVersion"].is_string() && metadata["uid"].is_string(), "{metadata}");
    }
}

#[tokio::test]
async fn b7_a_deletion_is_of_the_state_that_was_seen_and_leaves_the_finalizers_of_others() {
    let (fake, agent) = started(settings()).await;
    let turns = AtomicUsize::new(0);
    fake.script(move |seen, stored| {
        if seen.method == Method::DELETE && turns.fetch_add(1, Ordering::Relaxed) == 0 {
            // Deleted and made anew by somebody else, who holds it too.
            stored.put(PATH, &json!({"finalizers": ["other/finalizer", FINALIZER]}), &[("clientSecret", "new")]);
        }
        None
    });
    offboard(&agent).await.unwrap();
    let methods: Vec<Method> =
        fake.seen().into_iter().map(|seen| seen.method).filter(|it| *it != Method::GET).collect();
    assert_eq!(
        methods,
        [Method::PATCH, Method::DELETE, Method::PATCH, Method::DELETE],
        "released before it is deleted"
    );
    for seen in fake.seen().iter().filter(|seen| seen.method == Method::DELETE) {
        let conditions = &seen.body["preconditions"];
        assert!(conditions["uid"].is_string() && conditions["resourceVersion"].is_string(), "{conditions}");
    }
    let left = held(&fake).unwrap();
    assert_eq!(left["metadata"]["finalizers"], json!(["other/finalizer"]));
    assert!(left["metadata"]["deletionTimestamp"].is_string());
    for freshness in [Freshness::Any, Freshness::Latest] {
        assert_eq!(fetch(&agent, SECRET, freshness).await, Err(BackendError::ScopeMissing), "for us it is gone");
    }
}

#[tokio::test]
async fn b7_a_release_that_raced_with_a_write_takes_nothing_away() {
    let (fake, agent) = started(settings()).await;
    let turns = AtomicUsize::new(0);
    fake.script(move |seen, stored| {
        if seen.method == Method::PATCH && turns.fetch_add(1, Ordering::Relaxed) == 0 {
            stored.put(PATH, &json!({"finalizers": [FINALIZER, "other/finalizer"]}), &[]);
        }
        None
    });
    offboard(&agent).await.unwrap();
    assert_eq!(held(&fake).unwrap()["metadata"]["finalizers"], json!(["other/finalizer"]));
}

#[tokio::test]
async fn b7_a_deletion_that_stopped_between_its_steps_left_a_scope_that_is_whole() {
    let (fake, agent) = started(settings()).await;
    fake.script(|seen, _| (seen.method == Method::DELETE).then(|| answer(403, &json!({}))));
    assert_eq!(offboard(&agent).await, Err(BackendError::Denied));
    put(&agent, "two").await.unwrap();
    assert_eq!(read(&agent).await.as_deref(), Ok("two"), "it is neither half-deleted nor on its way out");
    fake.script(|_, _| None);
    offboard(&agent).await.unwrap();
    assert_eq!(held(&fake), None);
}

#[tokio::test]
async fn b2_a_write_of_which_nobody_knows_is_looked_for_and_not_guessed() {
    for lost in [cut as fn() -> Response<Bytes>, || answer(500, &json!({})), || answer(504, &json!({}))] {
        let (fake, agent) = started(settings()).await;
        answer_once(&fake, &Method::PATCH, lost);
        delete(&agent).await.unwrap();
        assert_eq!(fake.count(|seen| seen.method == Method::PATCH), 1, "it was done, and is not done twice");
        assert_eq!(fetch(&agent, SECRET, Freshness::Latest).await, Err(BackendError::Absent));

        // Somebody else has written since: whether ours came first cannot be told.
        let (fake, agent) = started(settings()).await;
        let done = AtomicBool::new(false);
        fake.script(move |seen, stored| {
            (seen.method == Method::PATCH && !done.swap(true, Ordering::Relaxed)).then(|| {
                stored.put(PATH, &json!({"finalizers": [FINALIZER]}), &[("clientSecret", "another")]);
                lost()
            })
        });
        assert_eq!(delete(&agent).await, Err(BackendError::OutcomeUnknown));
        assert_eq!(read(&agent).await.as_deref(), Ok("another"), "and what they wrote is not deleted");
    }
    // Nor is it told that nothing happened, where nobody can look any more.
    let (fake, agent) = started(settings()).await;
    let away = AtomicBool::new(false);
    fake.script(move |seen, stored| {
        if seen.method == Method::PATCH {
            away.store(true, Ordering::Relaxed);
            drop(stored.act(seen));
        }
        away.load(Ordering::Relaxed).then(cut)
    });
    assert_eq!(put(&agent, "two").await, Err(BackendError::OutcomeUnknown));
}

#[tokio::test]
async fn b2_a_server_that_is_busy_is_left_alone_for_as_long_as_it_says() {
    let (fake, agent) = started(settings()).await;
    assert_eq!(read(&agent).await.as_deref(), Ok("one"));
    fake.script(|seen, _| {
        (seen.method == Method::PATCH).then(|| {
            let mut response = answer(429, &json!({}));
            response.headers_mut().insert("retry-after", "9".parse().unwrap());
            response
        })
    });
    assert_eq!(put(&agent, "two").await, Err(BackendError::Unavailable { retry_after: Duration::from_secs(9) }));
    assert_eq!(fake.count(|seen| seen.method == Method::PATCH), 1);
    // One that fails is asked again, further and further apart.
    fake.script(|seen, _| (seen.method == Method::PATCH).then(|| answer(500, &json!({}))));
    let before = fake.count(|seen| seen.method == Method::PATCH);
    let refused = put(&agent, "two").await;
    assert!(matches!(refused, Err(BackendError::Unavailable { .. })), "{refused:?}");
    let tries = fake.count(|seen| seen.method == Method::PATCH) - before;
    assert!((2..20).contains(&tries), "{tries}");
}

#[tokio::test]
async fn n7_an_older_event_of_a_watch_does_not_follow_an_own_write() {
    let (fake, agent) = started(settings()).await;
    let old = held(&fake).unwrap();
    // Each watch ends at once, so that the next one shows that its events were taken.
    fake.script(|seen, _| seen.is_watch().then(|| watch_that_ends(&[])));
    assert_eq!(read(&agent).await.as_deref(), Ok("one"));
    eventually("it is watched", || watches(&fake) > 0).await;
    put(&agent, "two").await.unwrap();
    let late = old.clone();
    fake.script(move |seen, _| seen.is_watch().then(|| watch_that_ends(&[("MODIFIED", &late)])));
    let before = watches(&fake);
    eventually("the late event is taken", || watches(&fake) >= before + 2).await;
    assert_eq!(read(&agent).await.as_deref(), Ok("two"));
    let gone = old;
    fake.script(move |seen, _| seen.is_watch().then(|| watch_that_ends(&[("DELETED", &gone)])));
    let before = watches(&fake);
    eventually("the late deletion is taken", || watches(&fake) >= before + 2).await;
    assert_eq!(read(&agent).await.as_deref(), Ok("two"));

    // The release is a write too: its event may come after the deletion, under a later version.
    let released = Arc::new(std::sync::Mutex::new(None));
    let kept = Arc::clone(&released);
    fake.script(move |seen, stored| {
        if seen.is_watch() {
            return Some(watch_that_ends(&[]));
        }
        (seen.method == Method::PATCH).then(|| {
            let answer = stored.act(seen);
            *kept.lock().unwrap() = Some(serde_json::from_slice::<Value>(answer.body()).unwrap());
            answer
        })
    });
    offboard(&agent).await.unwrap();
    let mut late = released.lock().unwrap().take().unwrap();
    late["metadata"]["resourceVersion"] = "1000".into();
    fake.script(move |seen, _| seen.is_watch().then(|| watch_that_ends(&[("MODIFIED", &late)])));
    let before = watches(&fake);
    eventually("the late event is taken", || watches(&fake) >= before + 2).await;
    assert_eq!(read(&agent).await, Err(BackendError::ScopeMissing));
}

#[tokio::test]
async fn n7_an_own_write_is_known_without_another_get() {
    let (fake, agent) = started(settings()).await;
    watched(&fake, &agent, SECRET).await;
    put(&agent, "two").await.unwrap();
    assert_eq!(read(&agent).await.as_deref(), Ok("two"));
    let before = fake.count(Seen::is_get);
    offboard(&agent).await.unwrap();
    assert_eq!(read(&agent).await, Err(BackendError::ScopeMissing));
    let gets = fake.count(Seen::is_get) - before;
    assert!(gets <= 2, "one for each of its steps, and not {gets}");
}

#[tokio::test]
async fn k5_what_no_watch_confirms_is_asked_for_each_time() {
    for refusal in [403, 404, 500] {
        let (fake, agent) = started(settings()).await;
        fake.script(move |seen, _| seen.is_watch().then(|| answer(refusal, &json!({}))));
        assert_eq!(read(&agent).await.as_deref(), Ok("one"));
        eventually("a watch is tried", || watches(&fake) > 0).await;
        fake.stored(|stored| stored.put(PATH, &json!({}), &[("clientSecret", "two")]));
        assert_eq!(read(&agent).await.as_deref(), Ok("two"), "{refusal}");
        assert_eq!(fake.count(Seen::is_get), 2);
    }
    // Nor is a watch believed that has said nothing for as long as anything is believed.
    let (fake, agent) = started(KubernetesSettings { believed: Duration::from_millis(300), ..settings() }).await;
    watched(&fake, &agent, SECRET).await;
    fake.stored(|stored| stored.put(PATH, &json!({}), &[("clientSecret", "two")]));
    let seen = async {
        while read(&agent).await.as_deref() != Ok("two") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), seen).await.is_ok(), "what is old is asked for");
}

#[tokio::test]
async fn n3_what_the_server_denies_now_is_not_served_from_what_was_known() {
    let (fake, agent) = started(settings()).await;
    watched(&fake, &agent, SECRET).await;
    fake.script(|seen, _| seen.is_get().then(|| answer(403, &json!({}))));
    assert_eq!(fetch(&agent, SECRET, Freshness::Latest).await, Err(BackendError::Denied));
    assert_eq!(read(&agent).await, Err(BackendError::Denied));
}

#[tokio::test]
async fn n8_watches_and_what_they_keep_are_bounded() {
    let few = KubernetesSettings { watches_max: 2, ..settings() };
    let (fake, agent) = started(few).await;
    let id = |number: usize| format!("poc:eni--hyperion:app-{number}:clientSecret:");
    for number in 0..5 {
        let path = PATH.replace("my-app", &format!("app-{number}"));
        fake.stored(|stored| stored.put(&path, &json!({}), &[("clientSecret", "one")]));
        assert_eq!(fetch(&agent, &id(number), Freshness::Any).await.as_deref(), Ok("one"));
    }
    for number in 0..2 {
        watched(&fake, &agent, &id(number)).await;
    }
    let before = fake.count(Seen::is_get);
    for number in 0..5 {
        assert_eq!(fetch(&agent, &id(number), Freshness::Any).await.as_deref(), Ok("one"));
    }
    assert_eq!((watches(&fake), fake.count(Seen::is_get) - before), (2, 3), "the others are asked for");

    let (fake, agent) = started(KubernetesSettings { kept_bytes_max: 100, ..settings() }).await;
    fake.script(|seen, _| seen.is_watch().then(|| watch_that_ends(&[])));
    assert_eq!(read(&agent).await.as_deref(), Ok("one"));
    eventually("a watch has been at work", || watches(&fake) >= 2).await;
    let before = fake.count(Seen::is_get);
    for _ in 0..3 {
        assert_eq!(read(&agent).await.as_deref(), Ok("one"));
    }
    assert_eq!(fake.count(Seen::is_get) - before, 3, "what is too much to keep is asked for each time");
}

#[tokio::test]
async fn n8_what_an_object_cannot_hold_is_not_sent_nor_is_what_there_is_no_time_for() {
    let (fake, agent) = started(settings()).await;
    fake.stored(|stored| stored.objects.clear());
    let large = "x".repeat(600_000);
    let both = [("clientSecret", large.as_str()), ("rotatedClientSecret", large.as_str())];
    assert_eq!(merge(&agent, &both).await, Err(BackendError::TooLarge));
    fake.stored(|stored| stored.put(PATH, &json!({}), &[("unknown", &large)]));
    assert_eq!(put(&agent, &large).await, Err(BackendError::TooLarge));
    let holds_values = |seen: &Seen| seen.body["data"].as_object().is_some_and(|data| !data.is_empty());
    assert_eq!(fake.count(holds_values), 0);

    let (fake, agent) = started(KubernetesSettings { write: Duration::from_millis(600), ..settings() }).await;
    let refused = put(&agent, "two").await;
    assert!(matches!(refused, Err(BackendError::Unavailable { .. })), "{refused:?}");
    assert_eq!(fake.count(|seen| seen.method == Method::PATCH), 0, "its answer would not be waited for");
}

#[tokio::test]
async fn b7_what_is_not_to_be_changed_is_not_sent() {
    for (member, value, error) in [
        ("immutable", json!(true), BackendError::Immutable),
        ("deletionTimestamp", json!("2026-01-01T00:00:00Z"), {
            BackendError::Terminating { retry_after: Duration::from_secs(5) }
        }),
    ] {
        let (fake, agent) = started(settings()).await;
        fake.stored(|stored| {
            let object = stored.objects.get_mut(PATH).unwrap();
            if member == "immutable" { object[member] = value } else { object["metadata"][member] = value }
        });
        assert_eq!(put(&agent, "two").await, Err(error), "{member}");
        assert_eq!(delete(&agent).await, Err(error), "{member}");
        assert_eq!(read(&agent).await.as_deref(), Ok("one"), "{member}");
        assert_eq!(fake.count(|seen| seen.method != Method::GET), 0, "{member}");
    }
}

#[tokio::test]
async fn b7_a_namespace_on_its_way_out_is_told_apart_from_a_right_that_is_missing() {
    let terminating = BackendError::Terminating { retry_after: Duration::from_secs(5) };
    for (reason, error) in [("NamespaceTerminating", terminating), ("Another", BackendError::Denied)] {
        let (fake, agent) = started(settings()).await;
        let status = json!({"kind": "Status", "details": {"causes": [{"reason": reason}]}});
        fake.script(move |seen, _| (seen.method == Method::PATCH).then(|| answer(403, &status)));
        assert_eq!(put(&agent, "two").await, Err(error), "{reason}");
    }
}

#[tokio::test]
async fn n8_a_watch_ends_when_nobody_uses_its_object() {
    let (fake, agent) = started(KubernetesSettings { believed: Duration::from_millis(200), ..settings() }).await;
    fake.script(|seen, _| seen.is_watch().then(|| watch_that_ends(&[])));
    assert_eq!(read(&agent).await.as_deref(), Ok("one"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ended = watches(&fake);
    assert!(ended > 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(watches(&fake), ended);
}

#[tokio::test]
async fn n8_reads_of_one_object_at_one_time_are_one_get() {
    let (fake, agent) = started(KubernetesSettings { believed: Duration::ZERO, ..settings() }).await;
    let read = futures_util::future::join_all((0..30).map(|_| read(&agent))).await;
    assert!(read.iter().all(|value| value.as_deref() == Ok("one")));
    assert!(fake.count(Seen::is_get) <= 2, "{}", fake.count(Seen::is_get));
}

#[tokio::test]
async fn b7_a_deletion_that_nobody_watched_is_found_and_told_after_a_410() {
    for expired in [|| watch_that_ends(&[("ERROR", &json!({"code": 410}))]), || answer(410, &json!({}))] {
        let (fake, agent) = started(settings()).await;
        let told = Arc::<AtomicUsize>::default();
        let telling = Arc::clone(&told);
        agent.backend.on_change(Arc::new(move |_| {
            telling.fetch_add(1, Ordering::Relaxed);
        }));
        // Without a place to go on from it tells nothing: of what is not there nothing can be told.
        fake.script(move |seen, stored| {
            seen.is_watch().then(|| {
                stored.objects.clear();
                if seen.query.contains("resourceVersion=") { expired() } else { watch(&[]) }
            })
        });
        assert_eq!(read(&agent).await.as_deref(), Ok("one"));
        eventually("the deletion is told", || told.load(Ordering::Relaxed) > 0).await;
        assert_eq!(read(&agent).await, Err(BackendError::ScopeMissing));
    }
}

#[tokio::test]
async fn b2_a_watch_that_cannot_begin_is_tried_further_and_further_apart() {
    for (refusal, most) in [(500, 8), (403, 1)] {
        let (fake, agent) = started(settings()).await;
        fake.script(move |seen, _| seen.is_watch().then(|| answer(refusal, &json!({}))));
        assert_eq!(read(&agent).await.as_deref(), Ok("one"));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!((1..=most).contains(&watches(&fake)), "{refusal}: {}", watches(&fake));
    }
}

#[tokio::test]
async fn b2_what_a_server_asks_of_one_watch_all_of_the_agent_do() {
    let (fake, agent) = started(settings()).await;
    let other = "poc:eni--hyperion:other:clientSecret:";
    fake.stored(|stored| stored.put(&PATH.replace("my-app", "other"), &json!({}), &[("clientSecret", "one")]));
    let began = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&began);
    fake.script(move |seen, _| {
        seen.is_watch().then(|| {
            let mut log = log.lock().unwrap();
            log.push(std::time::Instant::now());
            let mut response = answer(if log.len() == 1 { 429 } else { 500 }, &json!({}));
            response.headers_mut().insert("retry-after", "2".parse().unwrap());
            response
        })
    });
    read(&agent).await.unwrap();
    eventually("the first is turned away", || watches(&fake) == 1).await;
    fetch(&agent, other, Freshness::Any).await.unwrap();
    eventually("the second begins", || watches(&fake) == 2).await;
    eventually("they come back", || watches(&fake) == 4).await;
    let began = began.lock().unwrap();
    // Twice what it said: the contract is that nobody comes before that.
    assert!(began[2].duration_since(began[0]) >= Duration::from_secs(2), "nobody comes before that");
}
