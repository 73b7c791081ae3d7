//! The Kubernetes backend: each scope is one Secret, each slot one key of it, laid out as the control plane lays them out.
//!
//! Nothing is listed and nothing is polled. An object in use is got once and then watched; a write is a patch that
//! demands the version that it was worked out from, repeated on what others have written meanwhile.

mod calm;
mod names;
pub mod object;
mod objects;
mod pace;
mod place;
mod reads;
mod requests;
mod version;
mod watch;
mod writes;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::plan::{Rules, Selection};
use super::{Backend, BackendError, BackendKind, Changed, Entries, Fetched, Freshness, Guard, Put, Written};
use crate::access::{OnboardPermit, ReadPermit, WritePermit};
use crate::clock::Clock;
use crate::id::{Checksum, Location, Scope};
use crate::kubernetes::ApiServer;
use crate::slots::{Catalogue, Generator, OnboardRequest, OnboardedItem};
use calm::Calm;
use objects::Objects;
use place::Place;

/// What an operator may say about the Secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesSettings {
    /// The label that carries the environment, the team, the application; none where it is empty.
    pub scope_labels: ScopeLabels,
    /// Labels with the same value on each Secret.
    pub fixed_labels: BTreeMap<String, String>,
    /// The finalizer that keeps a Secret from being deleted by hand; none where it is empty.
    pub finalizer: String,
    /// Whether onboarding makes a missing namespace.
    pub create_namespaces: bool,
    /// The largest slot.
    pub slot_bytes_max: usize,
    /// Whether fingerprints are keyed by the object's uid, or plain SHA-256.
    pub keyed: bool,
    /// How long what a watch last confirmed is believed.
    pub believed: Duration,
    /// Objects that are watched at one time.
    pub watches_max: usize,
    /// Bytes of watched objects that are kept in memory.
    pub kept_bytes_max: usize,
    /// How long one call to the API server may take.
    pub call: Duration,
    /// How long one write may take with all its tries.
    pub write: Duration,
}

impl KubernetesSettings {
    /// The labels of a scope's Secret.
    fn labels(&self, scope: &Scope) -> Vec<(String, serde_json::Value)> {
        let names = &self.scope_labels;
        let parts =
            [(&names.environment, Some(scope.env())), (&names.team, scope.team()), (&names.application, scope.app())];
        let parts = parts.into_iter().filter(|(name, _)| !name.is_empty());
        let scope = parts.filter_map(|(name, value)| Some((name.clone(), value?.into())));
        scope.chain(self.fixed_labels.iter().map(|(name, value)| (name.clone(), value.as_str().into()))).collect()
    }
}

/// The names of the labels that say which scope a Secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeLabels {
    /// The environment's.
    pub environment: String,
    /// The team's.
    pub team: String,
    /// The application's.
    pub application: String,
}

/// The Secrets of one cluster, as one agent sees them.
pub struct KubernetesSecrets {
    shared: Arc<Shared>,
}

/// What calls and watches share.
struct Shared {
    api: ApiServer,
    settings: KubernetesSettings,
    catalogue: Arc<Catalogue>,
    generator: Generator,
    clock: Clock,
    objects: Objects,
    calm: Calm,
    changed: OnceLock<Changed>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Shared {
    fn rules(&self) -> Rules<'_> {
        Rules { catalogue: &self.catalogue, generator: &self.generator, slot_bytes_max: self.settings.slot_bytes_max }
    }

    fn tell(&self, place: &Place) {
        if let Some(changed) = self.changed.get() {
            changed(place.scope());
        }
    }
}

impl KubernetesSecrets {
    /// Speaks to `api`. Watches run on `tasks` until `stop`.
    #[must_use]
    pub fn new(
        api: ApiServer,
        settings: KubernetesSettings,
        catalogue: Arc<Catalogue>,
        generator: Generator,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let objects = Objects::new(settings.watches_max, settings.kept_bytes_max);
        let shared = Shared {
            api,
            settings,
            catalogue,
            generator,
            clock: Clock::Boot,
            objects,
            calm: Calm::default(),
            changed: OnceLock::new(),
            tasks,
            stop,
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Shared {
    /// One secret out of its object.
    fn select(
        &self,
        selection: &mut Selection,
        location: &Location,
        found: &objects::Found,
    ) -> Result<Fetched, BackendError> {
        let object = found.object.as_ref().filter(|object| !object.is_gone(&self.settings.finalizer));
        let object = object.ok_or(BackendError::ScopeMissing)?;
        let stored = || object.slot(location.slot())?.ok_or(BackendError::Absent);
        let value = selection.select(location, stored)?;
        let checksum = object.fingerprinter(self.settings.keyed).checksum(location, &value);
        Ok(Fetched { value, checksum, as_of: Some(found.as_of), watch: Some(Arc::clone(&found.watch)) })
    }
}

#[async_trait]
impl Backend for KubernetesSecrets {
    fn kind(&self) -> BackendKind {
        BackendKind::Kubernetes
    }

    async fn fetch(&self, permits: &[ReadPermit], freshness: Freshness) -> Vec<Result<Fetched, BackendError>> {
        let of = |permit: &ReadPermit| Place::of(&permit.location().scope());
        let mut places: Vec<Place> = permits.iter().map(of).collect();
        places.sort();
        places.dedup();
        let mut selection = Selection::default();
        if let [place] = &*places {
            let found = reads::get(&self.shared, place, freshness).await;
            let one = |permit: &ReadPermit| {
                self.shared.select(&mut selection, permit.location(), found.as_ref().map_err(|error| *error)?)
            };
            return permits.iter().map(one).collect();
        }
        let gets = places.iter().map(|place| reads::get(&self.shared, place, freshness));
        let found = futures_util::future::join_all(gets).await;
        let one = |permit: &ReadPermit| {
            let found = places.binary_search(&of(permit)).ok().and_then(|index| found.get(index));
            let found = found.ok_or(BackendError::Misbehaved)?;
            self.shared.select(&mut selection, permit.location(), found.as_ref().map_err(|error| *error)?)
        };
        permits.iter().map(one).collect()
    }

    async fn put(&self, permit: &WritePermit, put: Put) -> Result<Written, BackendError> {
        writes::put(&self.shared, permit.location(), &put).await
    }

    async fn put_entries(&self, permit: &WritePermit, entries: Entries) -> Result<Vec<Checksum>, BackendError> {
        writes::put_entries(&self.shared, permit.location(), &entries).await
    }

    async fn delete(&self, permit: &WritePermit, guard: Guard) -> Result<(), BackendError> {
        writes::delete(&self.shared, permit.location(), &guard).await
    }

    async fn onboard(
        &self,
        permit: &OnboardPermit,
        request: OnboardRequest,
    ) -> Result<Vec<OnboardedItem>, BackendError> {
        writes::onboard(&self.shared, permit.scope(), &request).await
    }

    async fn offboard(&self, permit: &OnboardPermit) -> Result<(), BackendError> {
        writes::offboard(&self.shared, permit.scope()).await
    }

    async fn probe(&self) -> Result<(), BackendError> {
        requests::probe(&self.shared).await
    }

    fn on_change(&self, changed: Changed) {
        // Told once, by whoever wires the agent.
        let _again = self.shared.changed.set(changed);
    }
}
