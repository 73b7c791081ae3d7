//! The command `install`: puts a copy of this very program into a directory, whole or not at all.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::console::Console;
use super::error::CliError;

/// The running program. Opened by this name it is also found when its file was replaced or deleted meanwhile.
const OWN: &str = "/proc/self/exe";

const NAME: &str = "cloakroom";

/// Everybody may run it, whatever the umask is.
const MODE: u32 = 0o755;

pub(super) fn run(directory: &Path, console: &mut Console) -> Result<(), CliError> {
    copy(directory).map_err(|source| CliError::Install { directory: directory.to_owned(), source })?;
    Ok(console.remark(&directory.join(NAME).display().to_string())?)
}

/// Writes beside the name and renames: a program that is being replaced may be running, and a reader of the directory sees
/// the old one or the new one. What is left half-way goes with its file.
fn copy(directory: &Path) -> io::Result<()> {
    let mut own = File::open(OWN)?;
    let new = tempfile::Builder::new().prefix(".cloakroom-").tempfile_in(directory);
    // Without the name that it would have had for a moment.
    let mut new = new.map_err(|error| io::Error::from(error.kind()))?;
    io::copy(&mut own, &mut new)?;
    new.as_file().set_permissions(Permissions::from_mode(MODE))?;
    // On a disk a name must not outlive a crash that its content does not.
    new.as_file().sync_all()?;
    new.persist(directory.join(NAME))?;
    Ok(())
}
