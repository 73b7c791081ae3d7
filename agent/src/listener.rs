//! The socket itself: a directory of our own, nobody's socket but ours replaced, the final mode before the first connect.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind as bind_address, listen, socket};
use nix::unistd::{Gid, chown, geteuid};
use tokio::net::{UnixListener, UnixStream};

/// `sun_path` has 108 bytes and ends with NUL (`unix(7)`).
const PATH_BYTES_MAX: usize = 107;

/// As many connections may wait to be accepted as `net.core.somaxconn` says. A number of our own would be checked
/// against the C library's idea of that limit, which is 128 for musl.
const BACKLOG: Backlog = Backlog::MAXALLOWABLE;

/// Where to listen.
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// The socket's path.
    pub socket: PathBuf,
    /// The group of socket and directory; the agent must be a member.
    pub group: Option<u32>,
}

/// Why there is no socket. What lies there is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Longer than the kernel takes.
    #[error("{} has more than {PATH_BYTES_MAX} bytes, which is the most that a socket address holds; choose a shorter path", path.display())]
    PathTooLong {
        /// As configured.
        path: PathBuf,
    },
    /// No absolute path to a file.
    #[error("{} is no absolute path of a socket", path.display())]
    NoDirectory {
        /// As configured.
        path: PathBuf,
    },
    /// The directory belongs to somebody else.
    #[error("the directory {} belongs to uid {owner} and not to us; choose a directory of its own", path.display())]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// The directory can be written by others.
    #[error("the directory {} can be written by others (mode {mode:04o}), who could put a socket of their own there; use one of mode 0750 or leave it to be made", path.display())]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Something that is no socket is in the way.
    #[error("{} exists and is {what}, and nothing is replaced but an own socket: remove it or choose another path", path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Somebody answers there.
    #[error("another process listens on {}; stop it or choose another path", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The kernel refused a step.
    #[error("{step} {}", path.display())]
    System {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
}

/// A listening socket; unlinked when dropped, if it is still the one that was bound.
#[derive(Debug)]
pub struct BoundSocket {
    listener: UnixListener,
    path: PathBuf,
    identity: (u64, u64),
    /// Held as long as we listen: a second agent sees it before it touches anything.
    _lock: Flock<File>,
}

impl BoundSocket {
    /// The next connection.
    ///
    /// # Errors
    /// The kernel's; the socket goes on listening.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if ours {
            // If it cannot be removed, the next start finds it stale and replaces it.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Makes the directory and the socket.
///
/// # Errors
/// [`ListenError`] says what is in the way and what to do; nothing that lay there was touched.
pub fn bind(settings: &ListenSettings) -> Result<BoundSocket, ListenError> {
    let path = &settings.socket;
    let failed = |step, path: &Path, source: io::Error| ListenError::System { step, path: path.to_owned(), source };
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(ListenError::PathTooLong { path: path.clone() });
    }
    let directory = path.parent().filter(|parent| path.is_absolute() && *parent != Path::new(""));
    let (Some(directory), Some(name)) = (directory, path.file_name()) else {
        return Err(ListenError::NoDirectory { path: path.clone() });
    };
    prepare_directory(directory, settings.group)?;
    let lock = lock(directory, name, path)?;
    clear_stale(path)?;

    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
        .map_err(|errno| failed("making a socket for", path, errno.into()))?;
    // The inode that `bind` makes takes the socket's own mode (`unix_bind` in the kernel), so nobody else can connect
    // at any moment before the group and the final mode are set, whatever the umask.
    nix::sys::stat::fchmod(&fd, nix::sys::stat::Mode::from_bits_truncate(0o600))
        .map_err(|errno| failed("setting the mode of", path, errno.into()))?;
    let address = UnixAddr::new(path.as_path()).map_err(|errno| failed("naming", path, errno.into()))?;
    bind_address(fd.as_raw_fd(), &address).map_err(|errno| failed("binding", path, errno.into()))?;
    let metadata = fs::symlink_metadata(path).map_err(|error| failed("reading", path, error))?;
    let identity = (metadata.dev(), metadata.ino());
    give_to_group(path, settings.group).map_err(|error| failed("setting the group of", path, error))?;
    // By its path, because a mode set through the descriptor after `bind` reaches another inode. The directory is ours
    // and nobody else can write it, so the path is still the socket.
    fs::set_permissions(path, Permissions::from_mode(0o660))
        .map_err(|error| failed("setting the mode of", path, error))?;
    let listener = start(fd).map_err(|error| failed("listening on", path, error))?;
    Ok(BoundSocket { listener, path: path.clone(), identity, _lock: lock })
}

fn start(fd: OwnedFd) -> io::Result<UnixListener> {
    listen(&fd, BACKLOG)?;
    UnixListener::from_std(std::os::unix::net::UnixListener::from(fd))
}

fn give_to_group(path: &Path, group: Option<u32>) -> io::Result<()> {
    match group {
        Some(gid) => Ok(chown(path, None, Some(Gid::from_raw(gid)))?),
        None => Ok(()),
    }
}

/// Makes the directory 0750, or checks that the one that is there is ours alone to write.
fn prepare_directory(directory: &Path, group: Option<u32>) -> Result<(), ListenError> {
    let failed = |step, source: io::Error| ListenError::System { step, path: directory.to_owned(), source };
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists()) {
        prepare_directory(parent, group)?;
    }
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => {
            give_to_group(directory, group).map_err(|error| failed("setting the group of", error))?;
            fs::set_permissions(directory, Permissions::from_mode(0o750))
                .map_err(|error| failed("setting the mode of", error))?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("making the directory", error)),
    }
    // What counts is what is there now, and not what a link points to.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW)
        .open(directory)
        .map_err(|error| failed("opening the directory", error))?;
    let found = opened.metadata().map_err(|error| failed("reading the directory", error))?;
    if found.uid() != geteuid().as_raw() {
        return Err(ListenError::ForeignDirectory { path: directory.to_owned(), owner: found.uid() });
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(ListenError::OpenDirectory { path: directory.to_owned(), mode });
    }
    Ok(())
}

/// Takes the lock that says who owns the path. The kernel gives it back when the process ends, however it ends.
fn lock(directory: &Path, name: &OsStr, path: &Path) -> Result<Flock<File>, ListenError> {
    let mut lock_name = OsStr::from_bytes(b".").to_owned();
    lock_name.push(name);
    lock_name.push(".lock");
    let lock_path = directory.join(lock_name);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&lock_path)
        .map_err(|source| ListenError::System { step: "opening the lock file", path: lock_path.clone(), source })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => ListenError::InUse { path: path.to_owned() },
        other => ListenError::System { step: "locking", path: lock_path, source: other.into() },
    })
}

/// Removes a socket that nobody listens on, and nothing else.
fn clear_stale(path: &Path) -> Result<(), ListenError> {
    let failed = |step, source| ListenError::System { step, path: path.to_owned(), source };
    let kind = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("reading", error)),
    };
    if !kind.is_socket() {
        let what = if kind.is_symlink() {
            "a symbolic link"
        } else if kind.is_dir() {
            "a directory"
        } else {
            "no socket"
        };
        return Err(ListenError::Occupied { path: path.to_owned(), what });
    }
    match Probe::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| failed("removing the stale socket", error))
        }
        // It answers, or it is so busy that it does not: either way it is in use.
        Ok(_) => Err(ListenError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(ListenError::InUse { path: path.to_owned() }),
        Err(error) => Err(failed("trying", error)),
    }
}
