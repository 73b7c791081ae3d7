//! The cases that every backend must pass, generic over the backend trait.
//!
//! Each case gets a [`Harness`] with an empty place of its own. A case is named by what must hold.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use cloakroom_agent::access::{
    Access, AccessError, Action, Decision, OnboardPermit, PermissionProvider, ReadPermit, Subject, Target, WritePermit,
};
use cloakroom_agent::backend::{Backend, BackendError, Freshness, Guard, Put, Written};
use cloakroom_agent::id::{Checksum, Location, Scope, SecretId, Slot, SubKey};
use cloakroom_agent::secret::SecretValue;
use cloakroom_agent::slots::{Catalogue, OnboardEntry, OnboardRequest, OnboardedItem, Strategy};

/// A backend under test.
pub trait Harness: Send + Sync {
    /// The backend as one agent has it.
    fn backend(&self) -> Arc<dyn Backend>;

    /// The same place as another agent has it; where only one agent can have it, the same handle.
    fn another_agent(&self) -> Arc<dyn Backend>;
}

type Outcome = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One case.
pub struct Case {
    /// What must hold.
    pub name: &'static str,
    /// Panics where it does not.
    pub run: fn(Arc<dyn Harness>) -> Outcome,
}

macro_rules! cases {
    ($($name:ident,)+) => {
        /// All cases.
        pub fn cases() -> Vec<Case> {
            vec![$(Case { name: stringify!($name), run: |harness| Box::pin($name(Client::new(harness))) },)+]
        }
    };
}

cases! {
    a_scope_that_was_never_onboarded_takes_no_write,
    an_allowed_but_absent_slot_is_created,
    onboarding_generates_once_and_never_again,
    an_explicit_value_overrides_a_generated_one,
    the_rotated_slot_says_not_used_only_where_it_is_absent,
    an_empty_entry_is_ignored_and_an_empty_map_is_not_listed,
    rotate_is_a_literal_value_in_onboarding,
    merge_keeps_what_the_request_does_not_name,
    replace_drops_only_in_slots_that_the_request_names,
    the_answer_lists_stored_slots_and_named_sub_keys,
    onboarding_twice_changes_nothing,
    a_missing_parent_becomes_an_empty_scope,
    a_map_slot_reads_as_its_json_text_byte_for_byte,
    a_map_slot_takes_only_flat_objects_of_strings,
    sub_keys_are_literal,
    an_entry_is_written_beside_the_others,
    entries_are_written_together_and_beside_the_others,
    of_entries_that_do_not_fit_none_is_written,
    a_deleted_secret_is_absent,
    the_last_entry_takes_its_slot_along,
    deleting_what_is_not_there_is_absent,
    a_guard_holds_or_nothing_is_written,
    a_rotation_keeps_the_previous_value_in_the_same_write,
    equal_values_have_equal_checksums_for_every_agent,
    every_value_comes_back_as_it_went_in,
    a_batch_answers_in_its_order_and_for_each,
    a_deleted_scope_takes_its_own_slots_and_nothing_below,
    a_scope_comes_back_empty,
    a_slot_larger_than_the_limit_is_refused_whole,
    ten_agents_merging_into_one_scope_lose_nothing,
    ten_agents_writing_entries_of_one_slot_lose_nothing,
    a_reader_has_no_permit_to_write,
}

/// Everything to uid 1; to uid 2 only to read.
struct TwoSubjects;

#[async_trait]
impl PermissionProvider for TwoSubjects {
    fn name(&self) -> &'static str {
        "conformance"
    }

    fn known(&self, subject: &Subject, action: Action, _: Target<'_>) -> Option<Decision> {
        let allowed = subject.as_str() == "uid:1" || action == Action::Read;
        Some(if allowed { Decision::Allow } else { Decision::Deny })
    }

    async fn ask(&self, _: &Subject, _: Action, _: &Scope) -> Result<Decision, AccessError> {
        Err(AccessError::Unavailable)
    }
}

/// What a case works with.
#[derive(Clone)]
struct Client {
    harness: Arc<dyn Harness>,
    backend: Arc<dyn Backend>,
    access: Access,
}

const APP: &str = "poc/eni--hyperion/my-app";
const CLIENT_SECRET: &str = "poc:eni--hyperion:my-app:clientSecret:";
const ROTATED: &str = "poc:eni--hyperion:my-app:rotatedClientSecret:";
const EXTERNAL: &str = "poc:eni--hyperion:my-app:externalSecrets:";

fn entry(key: &str) -> String {
    format!("poc:eni--hyperion:my-app:externalSecrets/{key}:")
}

fn location(id: &str) -> Location {
    SecretId::parse(id).unwrap().into_parts().0
}

fn value(text: &str) -> SecretValue {
    SecretValue::new(text.to_owned())
}

impl Client {
    fn new(harness: Arc<dyn Harness>) -> Self {
        Self { backend: harness.backend(), access: Access::new(Arc::new(TwoSubjects)), harness }
    }

    /// The same client on another agent's backend.
    fn elsewhere(&self) -> Self {
        Self { backend: self.harness.another_agent(), ..self.clone() }
    }

    async fn read_permit(&self, id: &str) -> ReadPermit {
        self.access.read(&Subject::from_uid(1).unwrap(), location(id)).await.unwrap()
    }

    async fn write_permit(&self, id: &str) -> WritePermit {
        self.access.write(&Subject::from_uid(1).unwrap(), location(id)).await.unwrap()
    }

    async fn onboard_permit(&self, scope: &str) -> OnboardPermit {
        self.access.onboard(&Subject::from_uid(1).unwrap(), Scope::parse(scope).unwrap()).await.unwrap()
    }

    async fn put_entries(&self, id: &str, entries: &[(&str, &str)]) -> Result<Vec<Checksum>, BackendError> {
        let entries = entries.iter().map(|(key, text)| (SubKey::parse(key).unwrap(), value(text)));
        self.backend.put_entries(&self.write_permit(id).await, entries.collect()).await
    }

    async fn onboard(&self, scope: &str, strategy: Strategy, entries: &[(&str, &str)]) -> Vec<OnboardedItem> {
        let permit = self.onboard_permit(scope).await;
        let entries = entries.iter().map(|(name, text)| OnboardEntry { name: (*name).to_owned(), value: value(text) });
        let request =
            OnboardRequest::new(strategy, entries.collect(), &Catalogue::default(), permit.scope().kind()).unwrap();
        self.backend.onboard(&permit, request).await.unwrap()
    }

    async fn offboard(&self, scope: &str) -> Result<(), BackendError> {
        self.backend.offboard(&self.onboard_permit(scope).await).await
    }

    async fn read(&self, id: &str) -> Result<(String, Checksum), BackendError> {
        let mut answers = self.backend.fetch(&[self.read_permit(id).await], Freshness::Latest).await;
        assert_eq!(answers.len(), 1);
        answers.remove(0).map(|fetched| (fetched.value.expose().to_owned(), fetched.checksum))
    }

    async fn text(&self, id: &str) -> String {
        self.read(id).await.unwrap_or_else(|error| panic!("{id}: {error}")).0
    }

    async fn put(&self, id: &str, text: &str) -> Result<Written, BackendError> {
        self.put_with(id, Put { value: value(text), guard: Guard::None, keep_previous: None }).await
    }

    async fn put_with(&self, id: &str, put: Put) -> Result<Written, BackendError> {
        self.backend.put(&self.write_permit(id).await, put).await
    }

    async fn delete(&self, id: &str) -> Result<(), BackendError> {
        self.backend.delete(&self.write_permit(id).await, Guard::None).await
    }
}

async fn a_scope_that_was_never_onboarded_takes_no_write(client: Client) {
    for id in [CLIENT_SECRET, &entry("x"), "poc::: zones:".replace(' ', "").as_str()] {
        assert_eq!(client.put(id, "x").await, Err(BackendError::ScopeMissing), "{id}");
        assert_eq!(client.delete(id).await, Err(BackendError::ScopeMissing), "{id}");
        assert_eq!(client.read(id).await.unwrap_err(), BackendError::ScopeMissing, "{id}");
    }
    assert_eq!(client.offboard(APP).await, Err(BackendError::ScopeMissing));
}

async fn an_allowed_but_absent_slot_is_created(client: Client) {
    client.onboard(APP, Strategy::Merge, &[]).await;
    assert_eq!(client.read(EXTERNAL).await.unwrap_err(), BackendError::Absent);
    client.put(&entry("a/b"), "one").await.unwrap();
    assert_eq!(client.text(&entry("a/b")).await, "one");
    assert_eq!(client.text(EXTERNAL).await, r#"{"a/b":"one"}"#);
}

async fn onboarding_generates_once_and_never_again(client: Client) {
    client.onboard("poc/team", Strategy::Replace, &[]).await;
    let first = (client.text("poc:team::clientSecret:").await, client.text("poc:team::teamToken:").await);
    assert!(first.0.len() == 36 && first.0.starts_with("trd_") && first.0 != first.1);
    for strategy in [Strategy::Replace, Strategy::Merge] {
        client.onboard("poc/team", strategy, &[]).await;
        assert_eq!(client.text("poc:team::clientSecret:").await, first.0);
        assert_eq!(client.text("poc:team::teamToken:").await, first.1);
    }
}

async fn an_explicit_value_overrides_a_generated_one(client: Client) {
    client.onboard(APP, Strategy::Replace, &[]).await;
    client.onboard(APP, Strategy::Replace, &[("clientSecret", "mine")]).await;
    assert_eq!(client.text(CLIENT_SECRET).await, "mine");
    client.onboard(APP, Strategy::Replace, &[]).await;
    assert_eq!(client.text(CLIENT_SECRET).await, "mine");
}

async fn the_rotated_slot_says_not_used_only_where_it_is_absent(client: Client) {
    client.onboard(APP, Strategy::Replace, &[]).await;
    assert_eq!(client.text(ROTATED).await, "NOT_USED");
    client.put(ROTATED, "used").await.unwrap();
    client.onboard(APP, Strategy::Replace, &[]).await;
    assert_eq!(client.text(ROTATED).await, "used");
}

async fn an_empty_entry_is_ignored_and_an_empty_map_is_not_listed(client: Client) {
    let items = client.onboard(APP, Strategy::Replace, &[("externalSecrets/a", ""), ("clientSecret", "")]).await;
    let names: Vec<&str> = items.iter().map(|item| item.slot.as_str()).collect();
    assert_eq!(names, ["clientSecret", "rotatedClientSecret"]);
    assert!(client.text(CLIENT_SECRET).await.starts_with("trd_"));
    assert_eq!(client.read(EXTERNAL).await.unwrap_err(), BackendError::Absent);
    client.onboard(APP, Strategy::Merge, &[("externalSecrets", "{}")]).await;
    assert_eq!(client.read(EXTERNAL).await.unwrap_err(), BackendError::Absent);
}

async fn rotate_is_a_literal_value_in_onboarding(client: Client) {
    client.onboard(APP, Strategy::Merge, &[("clientSecret", "rotate"), ("externalSecrets/a", "{{rotate}}")]).await;
    assert_eq!(client.text(CLIENT_SECRET).await, "rotate");
    assert_eq!(client.text(&entry("a")).await, "{{rotate}}");
}

async fn merge_keeps_what_the_request_does_not_name(client: Client) {
    client.onboard(APP, Strategy::Replace, &[("externalSecrets/a", "1"), ("externalSecrets/b", "2")]).await;
    client.onboard(APP, Strategy::Merge, &[("externalSecrets/b", "3"), ("externalSecrets/c", "4")]).await;
    assert_eq!(client.text(EXTERNAL).await, r#"{"a":"1","b":"3","c":"4"}"#);
    client.onboard(APP, Strategy::Merge, &[("externalSecrets", r#"{"d":"5"}"#)]).await;
    assert_eq!(client.text(EXTERNAL).await, r#"{"a":"1","b":"3","c":"4","d":"5"}"#);
}

async fn replace_drops_only_in_slots_that_the_request_names(client: Client) {
    client.onboard(APP, Strategy::Replace, &[("externalSecrets/a", "1"), ("clientSecret", "kept")]).await;
    client.onboard(APP, Strategy::Replace, &[("externalSecrets/b", "2")]).await;
    assert_eq!(client.text(EXTERNAL).await, r#"{"b":"2"}"#);
    assert_eq!(client.text(CLIENT_SECRET).await, "kept");
    client.onboard(APP, Strategy::Replace, &[("clientSecret", "new")]).await;
    assert_eq!(client.text(EXTERNAL).await, r#"{"b":"2"}"#, "an unnamed slot keeps its content");
    client.onboard(APP, Strategy::Replace, &[("externalSecrets", r#"{ "z" : "9" }"#)]).await;
    assert_eq!(client.text(EXTERNAL).await, r#"{ "z" : "9" }"#, "byte for byte");
}

async fn the_answer_lists_stored_slots_and_named_sub_keys(client: Client) {
    let items = client.onboard(APP, Strategy::Merge, &[("externalSecrets/b", "2"), ("externalSecrets/a", "1")]).await;
    let lines: Vec<String> = items
        .iter()
        .map(|item| {
            let key = item.sub_key.as_ref().map(|key| format!("/{}", key.as_str())).unwrap_or_default();
            format!("{}{key}", item.slot.as_str())
        })
        .collect();
    assert_eq!(
        lines,
        ["clientSecret", "rotatedClientSecret", "externalSecrets", "externalSecrets/b", "externalSecrets/a"]
    );
    for item in &items {
        let place = Location::of(&Scope::parse(APP).unwrap(), &item.slot, item.sub_key.as_ref());
        assert_eq!(client.read(&format!("{place}:")).await.unwrap().1, item.checksum, "{place}");
    }
}

async fn onboarding_twice_changes_nothing(client: Client) {
    let entries = [("externalSecrets/a", "1"), ("clientSecret", "x")];
    let first = client.onboard(APP, Strategy::Replace, &entries).await;
    assert_eq!(client.onboard(APP, Strategy::Replace, &entries).await, first);
}

async fn a_missing_parent_becomes_an_empty_scope(client: Client) {
    client.onboard(APP, Strategy::Replace, &[]).await;
    assert_eq!(client.read("poc:eni--hyperion::teamToken:").await.unwrap_err(), BackendError::Absent);
    client.put("poc:eni--hyperion::teamToken:", "token").await.unwrap();
    client.put("poc:::zones/eu:", "zone").await.unwrap();
    assert_eq!(client.text("poc:eni--hyperion::teamToken:").await, "token");
}

async fn a_map_slot_reads_as_its_json_text_byte_for_byte(client: Client) {
    client.onboard(APP, Strategy::Replace, &[]).await;
    for text in [r#"{"a":"1","b/c":"\u00e9\n"}"#, "{ \"x\" :\t\"y\" }", r#"{"z":"1","a":"2"}"#] {
        client.put(EXTERNAL, text).await.unwrap();
        assert_eq!(client.text(EXTERNAL).await, text);
    }
    assert_eq!(client.text(&entry("z")).await, "1");
}

async fn a_map_slot_takes_only_flat_objects_of_strings(client: Client) {
    client.onboard(APP, Strategy::Replace, &[("externalSecrets/a", "1")]).await;
    for text in
        ["text", "[]", r#"{"a":1}"#, r#"{"a":{"b":"c"}}"#, r#"{"a":null}"#, r#"{"a":"1","a":"2"}"#, r#"{"..":"x"}"#]
    {
        assert_eq!(client.put(EXTERNAL, text).await, Err(BackendError::InvalidValue), "{text}");
    }
    assert_eq!(client.text(EXTERNAL).await, r#"{"a":"1"}"#);
}

async fn sub_keys_are_literal(client: Client) {
    client.onboard(APP, Strategy::Replace, &[]).await;
    let keys = ["a.b", "-1", "@this", "a/b/c", "a", "0", "x+y", "_"];
    for key in keys {
        client.put(&entry(key), key).await.unwrap();
    }
    for key in keys {
        assert_eq!(client.text(&entry(key)).await, key);
    }
    assert_eq!(client.read(&entry("a/b")).await.unwrap_err(), BackendError::Absent);
}

async fn an_entry_is_written_beside_the_others(client: Client) {
    client.onboard(APP, Strategy::Replace, &[("externalSecrets/a", "1"), ("externalSecrets/b", "2")]).await;
    client.put(&entry("a"), "3").await.unwrap();
    assert_eq!(client.text(EXTERNAL).await, r#"{"a":"3","b":"2"}"#);
}

async fn entries_are_written_together_and_beside_the_others(client: Client) {
    let entries = [("a", "3"), ("c/d", "\"4\"\n")];
    assert_eq!(client.put_entries(EXTERNAL, &entries).await, Err(BackendError::ScopeMissing));
    client.onboard(APP, Strategy::Replace, &[("externalSecrets/a", "1"), ("externalSecrets/b", "2")]).await;
    let checksums = client.put_entries(EXTERNAL, &entries).await.unwrap();
    assert_eq!(client.text(EXTERNAL).await, r#"{"a":"3","b":"2","c/d":"\"4\"\n"}"#);
    for ((key, text), checksum) in entries.iter().zip(&checksums) {
        assert_eq!(client.read(&entry(key)).await.unwrap(), ((*text).to_owned(), checksum.clone()));
    }
    assert_eq!(checksums.len(), entries.len());
    client.delete(EXTERNAL).await.unwrap();
    client.put_entries(EXTERNAL, &entries[..1]).await.unwrap();
    assert_eq!(client.text(EXTERNAL).await, r#"{"a":"3"}"#, "a slot that is absent is created");
}

async fn of_entries_that_do_not_fit_none_is_written(client: Client) {
    client.onboard(APP, Strategy::Replace, &[("externalSecrets/a", "1"), ("clientSecret", "one")]).await;
    let huge = "x".repeat(3 << 20);
    let entries = [("a", "2"), ("b", huge.as_str())];
    assert_eq!(client.put_entries(EXTERNAL, &entries).await, Err(BackendError::TooLarge));
    assert_eq!(client.text(EXTERNAL).await, r#"{"a":"1"}"#);
    assert_eq!(client.put_entries(CLIENT_SECRET, &entries[..1]).await, Err(BackendError::InvalidValue));
    assert_eq!(client.text(CLIENT_SECRET).await, "one");
}

async fn a_deleted_secret_is_absent(client: Client) {
    client.onboard(APP, Strategy::Replace, &[("externalSecrets/a", "1"), ("externalSecrets/b", "2")]).await;
    client.delete(CLIENT_SECRET).await.unwrap();
    client.delete(&entry("a")).await.unwrap();
    assert_eq!(client.read(CLIENT_SECRET).await.unwrap_err(), BackendError::Absent);
    assert_eq!(client.read(&entry("a")).await.unwrap_err(), BackendError::Absent);
    assert_eq!(client.text(EXTERNAL).await, r#"{"b":"2"}"#);
}

async fn the_last_entry_takes_its_slot_along(client: Client) {
    client.onboard(APP, Strategy::Replace, &[("externalSecrets/a", "1")]).await;
    client.delete(&entry("a")).await.unwrap();
    assert_eq!(client.read(EXTERNAL).await.unwrap_err(), BackendError::Absent);
}

async fn deleting_what_is_not_there_is_absent(client: Client) {
    client.onboard(APP, Strategy::Replace, &[]).await;
    assert_eq!(client.delete(EXTERNAL).await, Err(BackendError::Absent));
    assert_eq!(client.delete(&entry("a")).await, Err(BackendError::Absent));
    client.put(&entry("b"), "1").await.unwrap();
    assert_eq!(client.delete(&entry("a")).await, Err(BackendError::Absent));
}

async fn a_guard_holds_or_nothing_is_written(client: Client) {
    client.onboard(APP, Strategy::Replace, &[("clientSecret", "one"), ("externalSecrets/a", "1")]).await;
    for (id, old) in [(CLIENT_SECRET.to_owned(), "one"), (entry("a"), "1")] {
        let right = client.read(&id).await.unwrap().1;
        let wrong = Checksum::parse("000000000000").unwrap();
        let guarded = |guard| Put { value: value("two"), guard: Guard::Matches(guard), keep_previous: None };
        assert_eq!(client.put_with(&id, guarded(wrong.clone())).await, Err(BackendError::ChecksumDiffers));
        let delete = client.backend.delete(&client.write_permit(&id).await, Guard::Matches(wrong)).await;
        assert_eq!(delete, Err(BackendError::ChecksumDiffers));
        assert_eq!(client.text(&id).await, old);
        client.put_with(&id, guarded(right.clone())).await.unwrap();
        assert_eq!(client.put_with(&id, guarded(right)).await, Err(BackendError::ChecksumDiffers));
        assert_eq!(client.text(&id).await, "two");
    }
    let absent = Put { value: value("x"), guard: Guard::Matches(Checksum::parse("ab").unwrap()), keep_previous: None };
    assert_eq!(client.put_with(&entry("none"), absent).await, Err(BackendError::ChecksumDiffers));
}

async fn a_rotation_keeps_the_previous_value_in_the_same_write(client: Client) {
    client.onboard(APP, Strategy::Replace, &[("clientSecret", "old")]).await;
    let keep = || Some(Slot::parse("rotatedClientSecret").unwrap());
    let put = Put { value: value("new"), guard: Guard::None, keep_previous: keep() };
    let written = client.put_with(CLIENT_SECRET, put).await.unwrap();
    assert_eq!(client.read(CLIENT_SECRET).await.unwrap(), ("new".to_owned(), written.checksum));
    assert_eq!(client.read(ROTATED).await.unwrap(), ("old".to_owned(), written.previous.unwrap()));
    client.delete(CLIENT_SECRET).await.unwrap();
    let put = Put { value: value("newer"), guard: Guard::None, keep_previous: keep() };
    assert_eq!(client.put_with(CLIENT_SECRET, put).await.unwrap().previous, None, "there was nothing to keep");
    assert_eq!(client.text(ROTATED).await, "old");
}

async fn equal_values_have_equal_checksums_for_every_agent(client: Client) {
    client.onboard(APP, Strategy::Replace, &[]).await;
    let one = client.put(&entry("a"), "same").await.unwrap().checksum;
    client.put(&entry("a"), "other").await.unwrap();
    assert_ne!(client.read(&entry("a")).await.unwrap().1, one);
    let again = client.elsewhere().put(&entry("a"), "same").await.unwrap().checksum;
    assert_eq!(again, one);
    assert_eq!(client.read(&entry("a")).await.unwrap().1, one);
}

async fn every_value_comes_back_as_it_went_in(client: Client) {
    client.onboard(APP, Strategy::Replace, &[]).await;
    let long = "x".repeat(64 * 1024);
    for text in
        ["\"", "\\", "a\0b", "\u{1}", "\r\n x \t", "null", "{\"a\":1}", "🧥", "e\u{301}", "$<poc:::zones:>", &long]
    {
        for id in [CLIENT_SECRET, &entry("odd")] {
            client.put(id, text).await.unwrap();
            assert_eq!(client.text(id).await, text);
        }
    }
}

async fn a_batch_answers_in_its_order_and_for_each(client: Client) {
    client.onboard(APP, Strategy::Replace, &[("externalSecrets/a", "1"), ("clientSecret", "2")]).await;
    let mut permits = Vec::new();
    for id in [entry("a"), entry("none"), CLIENT_SECRET.to_owned(), "other:::zones:".to_owned(), entry("a")] {
        permits.push(client.read_permit(&id).await);
    }
    let answers = client.backend.fetch(&permits, Freshness::Any).await;
    let texts: Vec<Result<String, BackendError>> =
        answers.into_iter().map(|answer| answer.map(|fetched| fetched.value.expose().to_owned())).collect();
    let found = |text: &str| Ok(text.to_owned());
    assert_eq!(texts, [found("1"), Err(BackendError::Absent), found("2"), Err(BackendError::ScopeMissing), found("1")]);
}

async fn a_deleted_scope_takes_its_own_slots_and_nothing_below(client: Client) {
    client.onboard("poc", Strategy::Replace, &[("zones/eu", "z")]).await;
    client.onboard("poc/eni--hyperion", Strategy::Replace, &[("teamToken", "t")]).await;
    client.onboard(APP, Strategy::Replace, &[("clientSecret", "c")]).await;
    client.onboard("poc/eni", Strategy::Replace, &[("teamToken", "other")]).await;
    client.offboard("poc/eni--hyperion").await.unwrap();
    assert_eq!(client.read("poc:eni--hyperion::teamToken:").await.unwrap_err(), BackendError::ScopeMissing);
    assert_eq!(client.offboard("poc/eni--hyperion").await, Err(BackendError::ScopeMissing));
    assert_eq!(client.text(CLIENT_SECRET).await, "c");
    assert_eq!(client.text("poc:eni::teamToken:").await, "other");
    client.offboard("poc").await.unwrap();
    assert_eq!(client.text(CLIENT_SECRET).await, "c");
    client.put(CLIENT_SECRET, "d").await.unwrap();
}

async fn a_scope_comes_back_empty(client: Client) {
    client.onboard(APP, Strategy::Replace, &[("clientSecret", "old"), ("externalSecrets/a", "1")]).await;
    client.offboard(APP).await.unwrap();
    client.onboard(APP, Strategy::Merge, &[]).await;
    assert_ne!(client.text(CLIENT_SECRET).await, "old");
    assert_eq!(client.read(EXTERNAL).await.unwrap_err(), BackendError::Absent);
}

async fn a_slot_larger_than_the_limit_is_refused_whole(client: Client) {
    client.onboard(APP, Strategy::Replace, &[("externalSecrets/a", "1")]).await;
    let huge = "x".repeat(3 << 20);
    assert_eq!(client.put(&entry("b"), &huge).await, Err(BackendError::TooLarge));
    assert_eq!(client.text(EXTERNAL).await, r#"{"a":"1"}"#);
}

async fn ten_agents_merging_into_one_scope_lose_nothing(client: Client) {
    const ROUNDS: usize = 20;
    client.onboard(APP, Strategy::Replace, &[]).await;
    let tasks = tokio_util::task::TaskTracker::new();
    let agents: Vec<_> = (0..10)
        .map(|agent| {
            let client = client.elsewhere();
            tasks.spawn(async move {
                for round in 0..ROUNDS {
                    let name = format!("externalSecrets/agent{agent}/{round}");
                    client.onboard(APP, Strategy::Merge, &[(&name, "x")]).await;
                }
            })
        })
        .collect();
    for agent in agents {
        agent.await.unwrap();
    }
    let text = client.text(EXTERNAL).await;
    let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(map.len(), 10 * ROUNDS);
}

async fn ten_agents_writing_entries_of_one_slot_lose_nothing(client: Client) {
    const ROUNDS: usize = 20;
    client.onboard(APP, Strategy::Replace, &[]).await;
    let tasks = tokio_util::task::TaskTracker::new();
    let agents: Vec<_> = (0..10)
        .map(|agent| {
            let client = client.elsewhere();
            tasks.spawn(async move {
                for round in 0..ROUNDS {
                    let key = format!("agent{agent}/{round}");
                    if round % 4 == 0 {
                        client.put_entries(EXTERNAL, &[(&key, "x")]).await.unwrap();
                    } else {
                        client.put(&entry(&key), "x").await.unwrap();
                    }
                    if round % 2 == 1 {
                        client.delete(&entry(&format!("agent{agent}/{round}"))).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for agent in agents {
        agent.await.unwrap();
    }
    let text = client.text(EXTERNAL).await;
    let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(map.len(), 10 * ROUNDS / 2);
}

async fn a_reader_has_no_permit_to_write(client: Client) {
    client.onboard(APP, Strategy::Replace, &[("clientSecret", "one")]).await;
    let reader = Subject::from_uid(2).unwrap();
    let permit = client.access.read(&reader, location(CLIENT_SECRET)).await.unwrap();
    let answer = client.backend.fetch(&[permit], Freshness::Any).await.remove(0).map(|fetched| fetched.value);
    assert_eq!(answer.unwrap_or_else(|error| panic!("{error}")).expose(), "one");
    assert_eq!(client.access.write(&reader, location(CLIENT_SECRET)).await.err().unwrap().error, AccessError::Denied);
    let scope = Scope::parse(APP).unwrap();
    assert_eq!(client.access.onboard(&reader, scope).await.err().unwrap().error, AccessError::Denied);
}
