//! The embedded store's own promises: its key, its seals, one owner, whole commits.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use async_trait::async_trait;
use tempfile::TempDir;

use super::*;
use crate::access::{Access, AccessError, Action, Decision, PermissionProvider, Subject, Target};
use crate::id::{Scope, SecretId};
use crate::secret::SecretValue;
use crate::slots::Strategy;

struct AllowAll;

#[async_trait]
impl PermissionProvider for AllowAll {
    fn name(&self) -> &'static str {
        "all"
    }

    fn known(&self, _: &Subject, _: Action, _: Target<'_>) -> Option<Decision> {
        Some(Decision::Allow)
    }

    async fn ask(&self, _: &Subject, _: Action, _: &Scope) -> Result<Decision, AccessError> {
        Ok(Decision::Allow)
    }
}

fn open(directory: &Path) -> Result<Embedded, OpenError> {
    let settings = EmbeddedSettings {
        file: directory.join("store.redb"),
        key_file: directory.join("store.key"),
        slot_bytes_max: 1 << 20,
        keyed: true,
    };
    Embedded::open(settings, Arc::new(Catalogue::default()), Generator::default())
}

fn said(error: &OpenError) -> String {
    error.to_string()
}

fn location(id: &str) -> Location {
    SecretId::parse(id).unwrap().into_parts().0
}

async fn permits(id: &str) -> (ReadPermit, WritePermit, OnboardPermit) {
    let (access, subject) = (Access::new(Arc::new(AllowAll)), Subject::from_uid(1).unwrap());
    let place = location(id);
    (
        access.read(&subject, place.clone()).await.unwrap(),
        access.write(&subject, place.clone()).await.unwrap(),
        access.onboard(&subject, place.scope()).await.unwrap(),
    )
}

const ID: &str = "poc:team:app:clientSecret:";
const OTHER: &str = "poc:team:app:rotatedClientSecret:";

async fn store_value(store: &Embedded, id: &str, value: &str) {
    let (_, write, onboard) = permits(id).await;
    let request =
        OnboardRequest::new(Strategy::Merge, Vec::new(), &Catalogue::default(), onboard.scope().kind()).unwrap();
    store.onboard(&onboard, request).await.unwrap();
    let put = Put { value: SecretValue::new(value.to_owned()), guard: Guard::None, keep_previous: None };
    store.put(&write, put).await.unwrap();
}

async fn read(store: &Embedded, id: &str) -> Result<String, BackendError> {
    let (read, ..) = permits(id).await;
    let fetched = store.fetch(&[read], Freshness::Any).await.remove(0)?;
    Ok(fetched.value.expose().to_owned())
}

#[test]
fn a_second_owner_is_refused_and_the_first_goes_on() {
    let directory = TempDir::new().unwrap();
    let first = open(directory.path()).unwrap();
    let error = open(directory.path()).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    assert!(said(&error).contains("another process") && said(&error).contains("store.redb"));
    drop(first);
    open(directory.path()).unwrap();
}

#[test]
fn key_and_store_are_made_once_and_for_nobody_else() {
    let directory = TempDir::new().unwrap();
    drop(open(directory.path()).unwrap());
    for file in ["store.key", "store.redb"] {
        let mode = fs::metadata(directory.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let key = fs::read(directory.path().join("store.key")).unwrap();
    assert_eq!(key.len(), 32);
    drop(open(directory.path()).unwrap());
    assert_eq!(fs::read(directory.path().join("store.key")).unwrap(), key);
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_key_that_is_not_right_stops_the_start() {
    let directory = TempDir::new().unwrap();
    drop(open(directory.path()).unwrap());
    let key = directory.path().join("store.key");
    let right = fs::read(&key).unwrap();
    let refused = |what: &str| said(&open(directory.path()).err().unwrap_or_else(|| panic!("{what} was accepted")));

    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(refused("a key that others may read").contains("0640"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    for wrong in [&right[..31], &[], &[right.as_slice(), b"\n"].concat()] {
        fs::write(&key, wrong).unwrap();
        assert!(refused("a key of another length").contains("32 bytes"));
    }
    fs::write(&key, [7; 32]).unwrap();
    assert!(refused("another key").contains("does not belong"));
    fs::remove_file(&key).unwrap();
    assert!(refused("a store without its key").contains("missing"));
    assert!(!key.exists(), "no new key is made for an old store");
    let kept = directory.path().join("kept");
    fs::write(&kept, &right).unwrap();
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&kept, &key).unwrap();
    assert!(refused("a link").contains("store.key"));
    fs::remove_file(&key).unwrap();
    fs::rename(&kept, &key).unwrap();
    open(directory.path()).unwrap();
}

#[test]
fn what_is_no_store_is_left_alone() {
    let directory = TempDir::new().unwrap();
    drop(open(directory.path()).unwrap());
    let file = directory.path().join("store.redb");
    fs::write(&file, b"something of the user's, longer than a header".repeat(100)).unwrap();
    let before = fs::read(&file).unwrap();
    let error = open(directory.path()).err().unwrap();
    assert!(matches!(error, OpenError::Unreadable { .. }), "{error:?}");
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[tokio::test]
async fn values_survive_a_restart_and_do_not_lie_in_the_file() {
    let directory = TempDir::new().unwrap();
    let value = "a value that nobody would find by chance";
    let store = open(directory.path()).unwrap();
    store_value(&store, ID, value).await;
    drop(store);
    let bytes = fs::read(directory.path().join("store.redb")).unwrap();
    assert!(!bytes.windows(16).any(|window| value.as_bytes().windows(16).any(|part| part == window)));
    let store = open(directory.path()).unwrap();
    assert_eq!(read(&store, ID).await.unwrap(), value);
}

#[tokio::test]
async fn a_record_that_was_moved_or_changed_does_not_open() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).unwrap();
    store_value(&store, ID, "one").await;
    store_value(&store, OTHER, "two").await;
    drop(store);
    let database = Database::open(directory.path().join("store.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut slots = transaction.open_table(SLOTS).unwrap();
        let (one, two) = (location(ID), location(OTHER));
        let mut record = slots.remove(one.slot_text()).unwrap().unwrap().value().to_vec();
        slots.insert(two.slot_text(), record.as_slice()).unwrap();
        *record.last_mut().unwrap() ^= 1;
        slots.insert(one.slot_text(), record.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    let store = open(directory.path()).unwrap();
    assert_eq!(read(&store, ID).await, Err(BackendError::Unreadable));
    assert_eq!(read(&store, OTHER).await, Err(BackendError::Unreadable));
}

#[tokio::test]
async fn a_job_that_fails_leaves_nothing_in_the_commit_that_it_shares() {
    let directory = TempDir::new().unwrap();
    let store = Arc::new(open(directory.path()).unwrap());
    store_value(&store, ID, "one").await;
    let tasks = tokio_util::task::TaskTracker::new();
    let mut waiting = Vec::new();
    for number in 0..40 {
        let store = Arc::clone(&store);
        waiting.push(tasks.spawn(async move {
            let id = format!("poc:team:app:externalSecrets/k{number}:");
            // Every second one is larger than a slot may be.
            let text = if number % 2 == 0 { "x".repeat(2 << 20) } else { number.to_string() };
            let put = Put { value: SecretValue::new(text), guard: Guard::None, keep_previous: None };
            let (_, write, _) = permits(&id).await;
            (number, store.put(&write, put).await)
        }));
    }
    for task in waiting {
        let (number, result) = task.await.unwrap();
        let id = format!("poc:team:app:externalSecrets/k{number}:");
        if number % 2 == 0 {
            assert_eq!(result.unwrap_err(), BackendError::TooLarge);
            assert_eq!(read(&store, &id).await, Err(BackendError::Absent));
        } else {
            result.unwrap();
            assert_eq!(read(&store, &id).await.unwrap(), number.to_string());
        }
    }
}
