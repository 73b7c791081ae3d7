//! The key file: 32 random bytes, made once, readable by nobody else, never half-written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The kernel refused.
    #[error("backend.embedded.keyFile: {step} {}", path.display())]
    System {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error("backend.embedded.keyFile: {} can be read by others (mode {mode:04o}); make it 0600, and replace the key if somebody may have read it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Not a key.
    #[error("backend.embedded.keyFile: {} is no key file of {KEY_BYTES} bytes; restore the one that belongs to the store", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// There is a store and no key for it.
    #[error("backend.embedded.keyFile: {} is missing, and the store needs the key that it was made with; restore it, or move the store away to begin anew", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// No randomness.
    #[error("backend.embedded.keyFile: the system's random source failed")]
    Random,
}

/// The installation's key. What it is used for is derived from it, so that no two uses share a key.
pub(super) struct MasterKey(Zeroizing<[u8; KEY_BYTES]>);

impl MasterKey {
    /// HMAC-SHA-256 of the purpose under the key.
    pub(super) fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.0).expect("HMAC must take a key of any length");
        mac.update(purpose.as_bytes());
        Zeroizing::new(mac.finalize().into_bytes().into())
    }
}

/// Reads the key; makes one where there is neither key nor store.
pub(super) fn load(path: &Path, store_exists: bool) -> Result<MasterKey, KeyError> {
    match read(path) {
        Err(KeyError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            if store_exists {
                return Err(KeyError::Missing { path: path.to_owned() });
            }
            create(path)?;
            read(path)
        }
        other => other,
    }
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::System { step, path, source }
}

fn read(path: &Path) -> Result<MasterKey, KeyError> {
    let mut file = OpenOptions::new()
        .read(true)
        // A link could lead to a file that somebody else can change.
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)
        .map_err(failed("cannot open", path))?;
    let found = file.metadata().map_err(failed("cannot read", path))?;
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    if !found.is_file() || found.len() != KEY_BYTES as u64 || file.read_exact(&mut *key).is_err() {
        return Err(KeyError::NoKey { path: path.to_owned() });
    }
    Ok(MasterKey(key))
}

/// Writes a new key under another name, and gives it its own only when it is whole and on disk: `link(2)` never
/// replaces, so of two agents that start together both end up with the same key.
fn create(path: &Path) -> Result<(), KeyError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(&mut *key).map_err(|_| KeyError::Random)?;
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(|_| KeyError::Random)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}.new", u64::from_le_bytes(suffix)));
    let new = path.with_file_name(name);
    let made = write(&new, &*key).and_then(|()| match fs::hard_link(&new, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    // Whether or not it became the key, its first name goes.
    let removed = fs::remove_file(&new);
    made.map_err(failed("cannot make", path))?;
    removed.map_err(failed("cannot remove", &new))?;
    sync_directory(path).map_err(failed("cannot sync the directory of", path))
}

fn write(path: &Path, key: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key)?;
    file.sync_all()
}

/// A name is on disk once its directory is (`fsync(2)`).
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}
