//! A scriptable backend for the cache: answers from a map, faults and gates on demand, and a log of its calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cloakroom_agent::access::{
    Access, AccessError, Action, Decision, OnboardPermit, PermissionProvider, ReadPermit, Subject, Target, WritePermit,
};
use cloakroom_agent::backend::{Backend, BackendError, BackendKind, Entries, Fetched, Freshness, Guard, Put, Written};
use cloakroom_agent::id::{Checksum, Fingerprinter, Location, Scope, SecretId};
use cloakroom_agent::secret::SecretValue;
use cloakroom_agent::slots::{OnboardRequest, OnboardedItem};
use tokio::sync::watch;

/// One call, as the log shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A fetch of these secrets.
    Fetch(Vec<String>, Latest),
    /// A write of this secret.
    Put(String),
    /// A write of these entries of one slot.
    PutEntries(Vec<String>),
    /// A deletion.
    Delete(String),
}

/// Whether a fetch asked for the copy that takes the writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latest {
    /// It did.
    Yes,
    /// Any copy would do.
    No,
}

/// The backend; clones share it.
#[derive(Clone)]
pub struct Scripted {
    state: Arc<Mutex<State>>,
    gate: Arc<watch::Sender<bool>>,
    /// A second gate, for fetches that any copy would do for.
    any: Arc<watch::Sender<bool>>,
}

#[derive(Default)]
struct State {
    values: BTreeMap<String, String>,
    fault: Option<BackendError>,
    panics: bool,
    calls: Vec<Call>,
}

impl Default for Scripted {
    fn default() -> Self {
        let open = || Arc::new(watch::channel(true).0);
        Self { state: Arc::default(), gate: open(), any: open() }
    }
}

/// The fault that an unreachable backend answers with.
pub const UNAVAILABLE: BackendError = BackendError::Unavailable { retry_after: Duration::from_secs(1) };

impl Scripted {
    /// Changes a value behind the agent's back; none removes it.
    pub fn set(&self, id: &str, value: Option<&str>) {
        let key = location(id).as_str().to_owned();
        let mut state = self.state.lock().unwrap();
        match value {
            Some(value) => state.values.insert(key, value.to_owned()),
            None => state.values.remove(&key),
        };
    }

    /// What every call answers from now on.
    pub fn fail(&self, fault: Option<BackendError>) {
        self.state.lock().unwrap().fault = fault;
    }

    /// Whether the next fetches panic.
    pub fn panic(&self, panics: bool) {
        self.state.lock().unwrap().panics = panics;
    }

    /// Holds calls after they have read the store, or lets all go on.
    pub fn open(&self, open: bool) {
        self.gate.send_replace(open);
    }

    /// Holds, or lets go on, the fetches that any copy would do for, and no other call.
    pub fn open_any(&self, open: bool) {
        self.any.send_replace(open);
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    /// How many of them were fetches.
    pub fn fetches(&self) -> usize {
        self.calls().iter().filter(|call| matches!(call, Call::Fetch(..))).count()
    }

    async fn gate(&self) {
        let mut gate = self.gate.subscribe();
        // The sender lives as long as this backend.
        let _open = gate.wait_for(|open| *open).await;
    }

    fn begin(&self, call: Call) -> Option<BackendError> {
        let mut state = self.state.lock().unwrap();
        state.calls.push(call);
        state.fault
    }
}

/// The location of an id.
pub fn location(id: &str) -> Location {
    SecretId::parse(id).unwrap().into_parts().0
}

/// The checksum that this backend gives a value.
pub fn checksum(id: &str, value: &str) -> Checksum {
    Fingerprinter::Sha256.checksum(&location(id), &SecretValue::new(value.to_owned()))
}

#[async_trait]
impl Backend for Scripted {
    fn kind(&self) -> BackendKind {
        BackendKind::Embedded
    }

    async fn fetch(&self, permits: &[ReadPermit], freshness: Freshness) -> Vec<Result<Fetched, BackendError>> {
        let ids = permits.iter().map(|permit| permit.location().as_str().to_owned()).collect();
        let latest = if freshness == Freshness::Latest { Latest::Yes } else { Latest::No };
        let fault = self.begin(Call::Fetch(ids, latest));
        let read = |permit: &ReadPermit| {
            let state = self.state.lock().unwrap();
            let text = state.values.get(permit.location().as_str()).ok_or(BackendError::Absent)?;
            let value = SecretValue::new(text.clone());
            let checksum = Fingerprinter::Sha256.checksum(permit.location(), &value);
            Ok(Fetched::now(value, checksum))
        };
        let results = permits.iter().map(|permit| fault.map_or_else(|| read(permit), Err)).collect();
        let panics = self.state.lock().unwrap().panics;
        assert!(!panics, "the backend was told to panic");
        self.gate().await;
        if latest == Latest::No {
            let mut gate = self.any.subscribe();
            let _open = gate.wait_for(|open| *open).await;
        }
        results
    }

    async fn put(&self, permit: &WritePermit, put: Put) -> Result<Written, BackendError> {
        let key = permit.location().as_str().to_owned();
        if let Some(fault) = self.begin(Call::Put(key.clone())) {
            return Err(fault);
        }
        let checksum = Fingerprinter::Sha256.checksum(permit.location(), &put.value);
        self.state.lock().unwrap().values.insert(key, put.value.expose().to_owned());
        self.gate().await;
        Ok(Written { checksum, previous: None })
    }

    async fn put_entries(&self, permit: &WritePermit, entries: Entries) -> Result<Vec<Checksum>, BackendError> {
        let slot = permit.location().as_str();
        let keys: Vec<String> = entries.iter().map(|(key, _)| format!("{slot}/{}", key.as_str())).collect();
        if let Some(fault) = self.begin(Call::PutEntries(keys.clone())) {
            return Err(fault);
        }
        let stored = keys.iter().zip(&entries).map(|(key, (_, value))| {
            self.state.lock().unwrap().values.insert(key.clone(), value.expose().to_owned());
            checksum(&format!("{key}:"), value.expose())
        });
        let checksums = stored.collect();
        self.gate().await;
        Ok(checksums)
    }

    async fn delete(&self, permit: &WritePermit, _guard: Guard) -> Result<(), BackendError> {
        let key = permit.location().as_str().to_owned();
        if let Some(fault) = self.begin(Call::Delete(key.clone())) {
            return Err(fault);
        }
        let removed = self.state.lock().unwrap().values.remove(&key);
        self.gate().await;
        removed.map(drop).ok_or(BackendError::Absent)
    }

    async fn onboard(&self, _: &OnboardPermit, _: OnboardRequest) -> Result<Vec<OnboardedItem>, BackendError> {
        self.gate().await;
        Ok(Vec::new())
    }

    async fn offboard(&self, _: &OnboardPermit) -> Result<(), BackendError> {
        self.gate().await;
        Ok(())
    }

    async fn probe(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// Allows everything to everybody: permits can only be made by deciding.
pub struct AllowAll;

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

/// A permit to read.
pub async fn read_permit(id: &str) -> ReadPermit {
    let access = Access::new(Arc::new(AllowAll));
    access.read(&Subject::from_uid(1).unwrap(), location(id)).await.unwrap()
}

/// A permit to write.
pub async fn write_permit(id: &str) -> WritePermit {
    let access = Access::new(Arc::new(AllowAll));
    access.write(&Subject::from_uid(1).unwrap(), location(id)).await.unwrap()
}

/// A permit to onboard.
pub async fn onboard_permit(scope: &str) -> OnboardPermit {
    let access = Access::new(Arc::new(AllowAll));
    access.onboard(&Subject::from_uid(1).unwrap(), Scope::parse(scope).unwrap()).await.unwrap()
}
