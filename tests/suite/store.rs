//! The embedded backend: the conformance cases, and what only a file can get wrong.

use std::path::Path;
use std::sync::Arc;

use cloakroom_agent::access::{Access, Subject};
use cloakroom_agent::backend::embedded::{Embedded, EmbeddedSettings, OpenError};
use cloakroom_agent::backend::{Backend, Freshness, Guard, Put};
use cloakroom_agent::id::Scope;
use cloakroom_agent::secret::SecretValue;
use cloakroom_agent::slots::{Catalogue, Generator, OnboardEntry, OnboardRequest, Strategy};
use cloakroom_tests::backend::{AllowAll, location};
use cloakroom_tests::conformance::{Harness, cases};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

fn open(directory: &Path) -> Result<Embedded, OpenError> {
    let settings = EmbeddedSettings {
        file: directory.join("store.redb"),
        key_file: directory.join("store.key"),
        slot_bytes_max: 1 << 20,
        keyed: true,
    };
    Embedded::open(settings, Arc::new(Catalogue::default()), Generator::default())
}

/// One file has one owner, so all agents of a case share it.
struct OneFile {
    backend: Arc<dyn Backend>,
    _directory: TempDir,
}

impl Harness for OneFile {
    fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.backend)
    }

    fn another_agent(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.backend)
    }
}

#[tokio::test]
async fn the_embedded_store_passes_every_conformance_case() {
    let mut failed = Vec::new();
    for case in cases() {
        let directory = TempDir::new().unwrap();
        let backend: Arc<dyn Backend> = Arc::new(open(directory.path()).unwrap());
        let harness = Arc::new(OneFile { backend, _directory: directory });
        // Each in a task of its own, so that one that fails does not hide the others.
        if TaskTracker::new().spawn((case.run)(harness)).await.is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

async fn onboard(store: &Embedded, scope: &str, entries: Vec<OnboardEntry>) {
    let access = Access::new(Arc::new(AllowAll));
    let permit = access.onboard(&Subject::from_uid(1).unwrap(), Scope::parse(scope).unwrap()).await.unwrap();
    let request = OnboardRequest::new(Strategy::Merge, entries, &Catalogue::default(), permit.scope().kind()).unwrap();
    store.onboard(&permit, request).await.unwrap();
}

async fn read(store: &Embedded, id: &str) -> String {
    let access = Access::new(Arc::new(AllowAll));
    let permit = access.read(&Subject::from_uid(1).unwrap(), location(id)).await.unwrap();
    let answer = store.fetch(&[permit], Freshness::Any).await.remove(0);
    answer.unwrap_or_else(|error| panic!("{id}: {error}")).value.expose().to_owned()
}

#[tokio::test]
async fn a_hundred_thousand_secrets_are_kept_and_found_again() {
    const APPS: usize = 1000;
    let directory = TempDir::new().unwrap();
    let store = Arc::new(open(directory.path()).unwrap());
    let tasks = TaskTracker::new();
    let writers: Vec<_> = (0..10)
        .map(|writer| {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                for app in (writer..APPS).step_by(10) {
                    let entries = (0..100).map(|key| OnboardEntry {
                        name: format!("externalSecrets/key{key}"),
                        value: SecretValue::new(format!("{app}/{key}")),
                    });
                    onboard(&store, &format!("poc/team/app-{app}"), entries.collect()).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    drop(Arc::try_unwrap(store).ok().unwrap());
    let store = open(directory.path()).unwrap();
    for (app, key) in [(0, 0), (APPS - 1, 99), (500, 50), (123, 45)] {
        let found = read(&store, &format!("poc:team:app-{app}:externalSecrets/key{key}:")).await;
        assert_eq!(found, format!("{app}/{key}"));
    }
    let bytes = std::fs::metadata(directory.path().join("store.redb")).unwrap().len();
    assert!(bytes < 64 << 20, "100,000 small secrets take {bytes} bytes");
}

#[tokio::test]
async fn a_large_file_of_which_little_is_used_is_compacted_at_the_start() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).unwrap();
    let access = Access::new(Arc::new(AllowAll));
    let subject = Subject::from_uid(1).unwrap();
    for app in 0..500 {
        let value = SecretValue::new("x".repeat(100 << 10));
        let entries = vec![OnboardEntry { name: "clientSecret".to_owned(), value }];
        onboard(&store, &format!("poc/team/app-{app}"), entries).await;
    }
    // What stays lies scattered, so that the file cannot simply be cut off at its end.
    for app in (0..500).filter(|app| app % 20 != 0) {
        let id = format!("poc:team:app-{app}:clientSecret:");
        let permit = access.write(&subject, location(&id)).await.unwrap();
        store.delete(&permit, Guard::None).await.unwrap();
    }
    drop(store);
    let size = || std::fs::metadata(directory.path().join("store.redb")).unwrap().len();
    let before = size();
    let store = open(directory.path()).unwrap();
    assert_eq!(read(&store, "poc:team:app-0:clientSecret:").await.len(), 100 << 10);
    drop(store);
    assert!(before > 24 << 20 && size() < before / 4, "{before} bytes became {}", size());
}

#[tokio::test]
async fn a_disk_that_is_full_refuses_and_the_store_recovers() {
    if !nix::unistd::getuid().is_root() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"])
        .arg(directory.path())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        eprintln!("no tmpfs can be mounted here, so the disk cannot be filled");
        return;
    }
    let outcome = TaskTracker::new().spawn(fill_and_recover(directory.path().to_owned())).await;
    let unmounted = std::process::Command::new("umount").arg("-l").arg(directory.path()).status().unwrap();
    assert!(unmounted.success());
    outcome.unwrap();
}

async fn fill_and_recover(directory: std::path::PathBuf) {
    let store = open(&directory).unwrap();
    onboard(&store, "poc/team/app", Vec::new()).await;
    let access = Access::new(Arc::new(AllowAll));
    let write = |key: usize, size: usize| {
        let (access, store) = (&access, &store);
        async move {
            let id = format!("poc:team:app-{key}:clientSecret:");
            let permit = access.write(&Subject::from_uid(1).unwrap(), location(&id)).await.unwrap();
            let value = SecretValue::new("x".repeat(size));
            store.put(&permit, Put { value, guard: Guard::None, keep_previous: None }).await
        }
    };
    for key in 0..4 {
        onboard(&store, &format!("poc/team/app-{key}"), Vec::new()).await;
    }
    write(0, 1000).await.unwrap();
    let ballast = directory.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    // Until the disk says no.
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    let refused = write(1, 900 << 10).await;
    assert!(refused.is_err(), "a full disk took a megabyte");
    drop(file);
    std::fs::remove_file(&ballast).unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while write(2, 1000).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the store does not recover");
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&store, "poc:team:app-0:clientSecret:").await.len(), 1000, "what was there is there");
    assert_eq!(read(&store, "poc:team:app-2:clientSecret:").await.len(), 1000);
}
