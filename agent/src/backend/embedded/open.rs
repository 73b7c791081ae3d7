//! Opening the store: its key, its file, its format, its size.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase as _, TableError};
use zeroize::Zeroizing;

use super::key::{self, KeyError, MasterKey};
use super::seal::Sealer;
use super::{EmbeddedSettings, META, SCOPES, SLOTS, Store};
use crate::id::Fingerprinter;
use crate::slots::{Catalogue, Generator};

/// The format of the file's tables.
const FORMAT: &[u8] = b"1";

/// Pages in memory. The cache above keeps values; this only spares inner pages a second read.
const PAGE_CACHE_BYTES: usize = 256 << 10;

/// Below this, free space is not worth a rewrite.
const COMPACT_FROM_BYTES: u64 = 16 << 20;

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The kernel refused.
    #[error("backend.embedded.file: {step} {}", path.display())]
    System {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// Somebody has it open.
    #[error("backend.embedded.file: another process has {} open; one store serves one agent: stop the other, or choose another file", path.display())]
    InUse {
        /// The store.
        path: PathBuf,
    },
    /// It is no store, or a broken one.
    #[error("backend.embedded.file: {} cannot be opened as a store; restore it from a copy, or move it away to begin anew", path.display())]
    Unreadable {
        /// The store.
        path: PathBuf,
        /// What redb says.
        #[source]
        source: redb::Error,
    },
    /// A later version made it.
    #[error("backend.embedded.file: {} has a format that this version does not know; use the version that wrote it", path.display())]
    Format {
        /// The store.
        path: PathBuf,
    },
    /// The key is another store's.
    #[error("backend.embedded.keyFile: the key does not belong to the store {}; restore the one that it was made with", path.display())]
    WrongKey {
        /// The store.
        path: PathBuf,
    },
    /// No thread for the writer.
    #[error("starting the store's writer")]
    Thread(#[source] io::Error),
}

pub(super) fn open(
    settings: EmbeddedSettings,
    catalogue: Arc<Catalogue>,
    generator: Generator,
) -> Result<Store, OpenError> {
    let path = &settings.file;
    for file in [path, &settings.key_file] {
        if let Some(parent) = file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
            made.map_err(|source| OpenError::System {
                step: "cannot make the directory of",
                path: file.clone(),
                source,
            })?;
        }
    }
    let exists = path.metadata().is_ok_and(|found| found.len() > 0);
    let key = key::load(&settings.key_file, exists)?;
    let mut database = database(path)?;
    check(&database, path, &key)?;
    compact(&mut database, path);
    let fingerprint_key = key.derive("cloakroom embedded 1: fingerprints");
    let fingerprinter = if settings.keyed {
        Fingerprinter::Keyed(Zeroizing::new(fingerprint_key.to_vec()))
    } else {
        Fingerprinter::Sha256
    };
    Ok(Store {
        sealer: Sealer::new(&key),
        fingerprinter,
        catalogue,
        generator,
        database: RwLock::new(Some(Arc::new(database))),
        settings,
    })
}

/// Opens the file, which is made 0600 where it is missing.
pub(super) fn database(path: &Path) -> Result<Database, OpenError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)
        .map_err(|source| OpenError::System { step: "cannot open", path: path.to_owned(), source })?;
    let new = file.metadata().is_ok_and(|found| found.len() == 0);
    let mut builder = Database::builder();
    let opened =
        FileBackend::new(file).and_then(|file| builder.set_cache_size(PAGE_CACHE_BYTES).create_with_backend(file));
    let database = opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: path.to_owned() },
        other => OpenError::Unreadable { path: path.to_owned(), source: other.into() },
    })?;
    if new {
        key::sync_directory(path).map_err(|source| OpenError::System {
            step: "cannot sync the directory of",
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(database)
}

/// Recognises a store of ours, and makes the tables of a new one. An old one is only read: a commit at every start would
/// wait for the disk for nothing.
fn check(database: &Database, path: &Path, key: &MasterKey) -> Result<(), OpenError> {
    let unreadable = |source: redb::Error| OpenError::Unreadable { path: path.to_owned(), source };
    let mark = key.derive("cloakroom embedded 1: mark");
    match marks(database).map_err(unreadable)? {
        Some(Marks { format, mark: marked }) if format == FORMAT => {
            let ours = bool::from(subtle::ConstantTimeEq::ct_eq(&*marked, mark.as_slice()));
            if ours { Ok(()) } else { Err(OpenError::WrongKey { path: path.to_owned() }) }
        }
        Some(_) => Err(OpenError::Format { path: path.to_owned() }),
        None => make_tables(database, mark.as_slice()).map_err(unreadable),
    }
}

/// What a store says of itself.
struct Marks {
    format: Vec<u8>,
    mark: Vec<u8>,
}

/// None of a file that has no tables yet.
fn marks(database: &Database) -> Result<Option<Marks>, redb::Error> {
    let transaction = database.begin_read()?;
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let known = |name| meta.get(name).map(|value| value.map(|value| value.value().to_vec()).unwrap_or_default());
    Ok(Some(Marks { format: known("format")?, mark: known("mark")? }))
}

/// All tables in one commit: a store has either none of them or all.
fn make_tables(database: &Database, mark: &[u8]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert("format", FORMAT)?;
        meta.insert("mark", mark)?;
        transaction.open_table(SCOPES)?;
        transaction.open_table(SLOTS)?;
    }
    Ok(transaction.commit()?)
}

/// Rewrites a large file of which little is used. What goes wrong here changes nothing but the size.
fn compact(database: &mut Database, path: &Path) {
    let Ok(size) = File::open(path).and_then(|file| file.metadata()).map(|found| found.len()) else { return };
    if size < COMPACT_FROM_BYTES {
        return;
    }
    let Ok(stored) = used(database) else { return };
    if stored < size / 4 {
        match database.compact() {
            Ok(_) => tracing::info!(before = size, stored, "the store was compacted"),
            Err(_) => tracing::warn!("the store could not be compacted; it is larger than it needs to be"),
        }
    }
}

fn used(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let stats = transaction.stats()?;
    transaction.abort()?;
    // What redb calls fragmented counts free pages too. Pages are powers of two, so that up to half of one is air, and a
    // bound of a half would compact at every start for nothing.
    Ok(stats.stored_bytes() + stats.metadata_bytes())
}
