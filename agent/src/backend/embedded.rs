//! The embedded backend: one sealed file for one agent, for development, tests and a single host.
//!
//! Values lie in a redb file, one record for each slot, sealed under the slot's own location. One thread writes; what
//! waits for it is committed together, and a commit is on disk before anybody is told. Reads see the last commit.
//!
//! Compaction: at the start, a file of more than 16 MiB of which less than a quarter is used is rewritten to its size.
//! Between starts the file keeps the size that it once needed.

mod key;
mod open;
mod seal;
mod slots;
mod writer;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use redb::{Database, ReadableDatabase as _, TableDefinition};

use super::plan::{Rules, Selection};
use super::{Backend, BackendError, BackendKind, Entries, Fetched, Freshness, Guard, Put, Written};
use crate::access::{OnboardPermit, ReadPermit, WritePermit};
use crate::id::{Checksum, Fingerprinter, Location};
use crate::slots::{Catalogue, Generator, OnboardRequest, OnboardedItem};

pub use key::KeyError;
pub use open::OpenError;
use seal::Sealer;
use slots::{Change, SlotTables};
use writer::Writer;

/// Scopes that were onboarded, by `env/team/app`.
const SCOPES: TableDefinition<'_, &str, ()> = TableDefinition::new("scopes");
/// Sealed slots, by `env:team:app:slot`.
const SLOTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("slots");
/// What the file is.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// When to try again after the disk refused.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Where the store is.
#[derive(Clone, Debug)]
pub struct EmbeddedSettings {
    /// The store; made where it is missing.
    pub file: PathBuf,
    /// Its key; made once.
    pub key_file: PathBuf,
    /// The largest slot.
    pub slot_bytes_max: usize,
    /// Whether fingerprints are keyed, or plain SHA-256.
    pub keyed: bool,
}

/// The embedded store of one agent.
pub struct Embedded {
    store: Arc<Store>,
    writer: Writer,
}

/// What reader and writer share.
struct Store {
    settings: EmbeddedSettings,
    sealer: Sealer,
    fingerprinter: Fingerprinter,
    catalogue: Arc<Catalogue>,
    generator: Generator,
    /// None after an I/O error, until the writer has opened it again: redb takes nothing more after one.
    database: RwLock<Option<Arc<Database>>>,
}

impl Store {
    fn database(&self) -> Result<Arc<Database>, BackendError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        database.as_ref().map(Arc::clone).ok_or(BackendError::Unavailable { retry_after: RETRY_AFTER })
    }

    fn rules(&self) -> Rules<'_> {
        Rules { catalogue: &self.catalogue, generator: &self.generator, slot_bytes_max: self.settings.slot_bytes_max }
    }

    fn set_database(&self, database: Option<Arc<Database>>) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = database;
    }

    /// All of them out of one state of the store.
    fn fetch(&self, locations: &[Location]) -> Result<Vec<Result<Fetched, BackendError>>, BackendError> {
        let database = self.database()?;
        let transaction = database.begin_read().map_err(unavailable)?;
        let slots = transaction.open_table(SLOTS).map_err(unavailable)?;
        let stored = |location: &Location| {
            let Some(record) = slots.get(location.slot_text()).map_err(unavailable)? else {
                let scopes = transaction.open_table(SCOPES).map_err(unavailable)?;
                let known = scopes.get(location.scope().as_str()).map_err(unavailable)?.is_some();
                return Err(if known { BackendError::Absent } else { BackendError::ScopeMissing });
            };
            self.sealer.open(location.slot_text(), record.value())
        };
        let mut selection = Selection::default();
        let mut one = |location: &Location| {
            let value = selection.select(location, || stored(location))?;
            let checksum = self.fingerprinter.checksum(location, &value);
            Ok(Fetched::now(value, checksum))
        };
        Ok(locations.iter().map(&mut one).collect())
    }
}

/// An error of the store's file: nothing was changed, and it may be better in a moment.
fn unavailable<E>(_error: E) -> BackendError {
    BackendError::Unavailable { retry_after: RETRY_AFTER }
}

impl Embedded {
    /// Opens the store, or makes one.
    ///
    /// # Errors
    /// [`OpenError`] says which file is wrong and what to do.
    pub fn open(
        settings: EmbeddedSettings,
        catalogue: Arc<Catalogue>,
        generator: Generator,
    ) -> Result<Self, OpenError> {
        let store = Arc::new(open::open(settings, catalogue, generator)?);
        let writer = Writer::start(Arc::clone(&store)).map_err(OpenError::Thread)?;
        Ok(Self { store, writer })
    }

    /// Carries out one change in the writer's next commit.
    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Store, &mut SlotTables<'_>) -> Result<(Change, T), BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.writer.submit(change, answer)?;
        // The writer answers every job; where it does not, it died in the middle of one.
        answered.await.unwrap_or(Err(BackendError::OutcomeUnknown))
    }
}

#[async_trait]
impl Backend for Embedded {
    fn kind(&self) -> BackendKind {
        BackendKind::Embedded
    }

    async fn fetch(&self, permits: &[ReadPermit], _freshness: Freshness) -> Vec<Result<Fetched, BackendError>> {
        let locations: Vec<Location> = permits.iter().map(|permit| permit.location().clone()).collect();
        let (store, count) = (Arc::clone(&self.store), locations.len());
        // The page may have to come from the disk.
        let read = tokio::task::spawn_blocking(move || store.fetch(&locations)).await;
        match read.unwrap_or(Err(BackendError::Misbehaved)) {
            Ok(results) => results,
            Err(error) => (0..count).map(|_| Err(error)).collect(),
        }
    }

    async fn put(&self, permit: &WritePermit, put: Put) -> Result<Written, BackendError> {
        let location = permit.location().clone();
        self.write(move |store, tables| slots::put(store, tables, &location, &put)).await
    }

    async fn put_entries(&self, permit: &WritePermit, entries: Entries) -> Result<Vec<Checksum>, BackendError> {
        let location = permit.location().clone();
        self.write(move |store, tables| slots::put_entries(store, tables, &location, &entries)).await
    }

    async fn delete(&self, permit: &WritePermit, guard: Guard) -> Result<(), BackendError> {
        let location = permit.location().clone();
        self.write(move |store, tables| slots::delete(store, tables, &location, &guard)).await
    }

    async fn onboard(
        &self,
        permit: &OnboardPermit,
        request: OnboardRequest,
    ) -> Result<Vec<OnboardedItem>, BackendError> {
        let scope = permit.scope().clone();
        self.write(move |store, tables| slots::onboard(store, tables, &scope, &request)).await
    }

    async fn offboard(&self, permit: &OnboardPermit) -> Result<(), BackendError> {
        let scope = permit.scope().clone();
        self.write(move |_, tables| slots::offboard(tables, &scope)).await
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.store.database().map(drop)
    }
}
