//! The text that a file is made from, as it lies on a disk: of a size that is bounded, and in a pod from nowhere else.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use zeroize::Zeroizing;

use super::pass::RenderError;
use super::template::TEMPLATE_BYTES_MAX;

/// Where the injector mounts a pod's own volume of templates. Whoever writes there is not who configured the agent, and
/// could lead it by a link to what only the agent may read.
const GUESTS: &str = "/cloakroom/templates";

/// Reads a template or a document.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, RenderError> {
    let failed = |error: io::Error| RenderError::Load(error.kind());
    let file = open_file(path, Path::new(GUESTS)).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 << 10));
    file.take(TEMPLATE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > TEMPLATE_BYTES_MAX {
        return Err(RenderError::NotText);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| RenderError::NotText)?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Opens a regular file; one below `guests` by links only that stay below it, as the kubelet's do.
fn open_file(path: &Path, guests: &Path) -> io::Result<File> {
    // A pipe that nobody writes to must not hold up the others.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let opened = match path.strip_prefix(guests) {
        Ok(within) => {
            let directory = open(guests, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
            let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
            openat2(&directory, within, OpenHow::new().flags(flags).resolve(resolve))
        }
        Err(_elsewhere) => open(path, flags, Mode::empty()),
    };
    let file = File::from(match opened {
        Err(Errno::EXDEV) => return Err(ErrorKind::PermissionDenied.into()),
        opened => opened?,
    });
    if file.metadata()?.is_file() { Ok(file) } else { Err(ErrorKind::InvalidInput.into()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::open_file;

    #[test]
    fn a_link_of_a_guest_leads_no_further_than_its_own_directory() {
        let directory = tempfile::TempDir::new().unwrap();
        let (token, guests) = (directory.path().join("token"), directory.path().join("templates"));
        std::fs::write(&token, "canary").unwrap();
        std::fs::create_dir_all(guests.join("..2026_11_26")).unwrap();
        std::fs::write(guests.join("..2026_11_26/t"), "text").unwrap();
        // As the kubelet lays out a ConfigMap.
        symlink("..2026_11_26", guests.join("..data")).unwrap();
        symlink("..data/t", guests.join("t")).unwrap();
        symlink(&token, guests.join("absolute")).unwrap();
        symlink("../token", guests.join("relative")).unwrap();
        symlink("..", guests.join("up")).unwrap();
        let opens = |path: &std::path::Path| open_file(path, &guests).map(drop).map_err(|error| error.kind());
        assert_eq!(opens(&guests.join("t")), Ok(()));
        for hostile in ["absolute", "relative", "up/token", "../token"] {
            assert_eq!(opens(&guests.join(hostile)), Err(std::io::ErrorKind::PermissionDenied), "{hostile}");
        }
        // What is configured elsewhere is the operator's, and may be a link.
        symlink(&token, directory.path().join("link")).unwrap();
        assert_eq!(opens(&directory.path().join("link")), Ok(()));
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let directory = tempfile::TempDir::new().unwrap();
        mkfifo(&directory.path().join("pipe"), Mode::S_IRWXU).unwrap();
        for path in [directory.path().join("pipe"), directory.path().to_owned()] {
            for guests in [directory.path().to_owned(), "/cloakroom/templates".into()] {
                let refused = open_file(&path, &guests).map(drop).unwrap_err();
                assert!(!refused.to_string().is_empty());
            }
        }
    }
}
