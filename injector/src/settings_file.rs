//! The operator's configuration as a file: read once, at start. A new one comes with a new pod, so that one that is
//! wrong never takes the place of one that serves.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::profile::{Problems, Settings};

/// Far more than any configuration has.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: std::io::Error,
    },
    /// It is too large, or no text.
    #[error("{} is not UTF-8 text of at most 4 MiB", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// It has mistakes: all of them, one a line.
    #[error("{0}")]
    Problems(Problems),
}

/// Reads and parses the file.
///
/// # Errors
/// [`SettingsError`].
pub fn read(path: &Path) -> Result<Settings, SettingsError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
    let text = String::from_utf8(bytes).ok().filter(|text| text.len() as u64 <= FILE_BYTES_MAX);
    let text = text.ok_or_else(|| SettingsError::NotText { path: path.to_owned() })?;
    Settings::parse(&text).map_err(SettingsError::Problems)
}
