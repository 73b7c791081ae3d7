//! Opens the sink, tells how it may be written to, and writes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, major, minor};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use super::{AuditOpenError, SinkTarget};

/// Something that takes bytes: the kernel's descriptor, and a scripted one in tests.
pub(super) trait Device: Send + Sync {
    /// One `write(2)`.
    fn write(&self, bytes: &[u8]) -> Result<usize, Errno>;

    /// Whether a write never makes the writer wait for a device or a reader.
    fn prompt(&self) -> bool;

    /// Waits until a write may succeed, at most so long.
    fn wait(&self, at_most: Duration);

    /// Opens the same name again; none where there is no name.
    fn reopen(&self) -> Option<Result<Box<dyn Device>, AuditOpenError>>;

    /// Device and inode number.
    fn identity(&self) -> (u64, u64);

    /// Whether the last line in it has no end.
    fn ends_torn(&self) -> bool;
}

/// An open sink.
pub(super) struct Sink {
    fd: OwnedFd,
    path: Option<PathBuf>,
    status: FileStat,
    prompt: bool,
}

impl Sink {
    pub(super) fn open(target: SinkTarget) -> Result<Self, AuditOpenError> {
        match target {
            SinkTarget::Stdout => {
                let fd = io::stdout().as_fd().try_clone_to_owned().map_err(AuditOpenError::Descriptor)?;
                Self::of(fd, None)
            }
            SinkTarget::Descriptor(fd) => Self::of(fd, None),
            SinkTarget::File(path) => Self::of(open_file(&path)?, Some(path)),
        }
    }

    fn of(fd: OwnedFd, path: Option<PathBuf>) -> Result<Self, AuditOpenError> {
        let status = fstat(&fd).map_err(|errno| AuditOpenError::Descriptor(errno.into()))?;
        let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
        // A configured path must be something that can hold records; what a supervisor handed over as standard output
        // may be a socket (journald does that).
        if path.is_some() && ![SFlag::S_IFREG, SFlag::S_IFIFO, SFlag::S_IFCHR].contains(&kind) {
            return Err(AuditOpenError::Kind);
        }
        // /dev/null is 1:3 (Documentation/admin-guide/devices.txt) and drops what it gets.
        let discards = kind == SFlag::S_IFCHR && (major(status.st_rdev), minor(status.st_rdev)) == (1, 3);
        let prompt = match kind {
            SFlag::S_IFCHR => discards,
            // A write to tmpfs copies into the page cache and has no write-back to wait for. Any other file system may
            // make the writer wait for its journal or for dirty pages to drain (balance_dirty_pages), and a pipe, a
            // terminal or a socket for its reader.
            SFlag::S_IFREG => fstatfs(&fd).is_ok_and(|file_system| file_system.filesystem_type() == TMPFS_MAGIC),
            _ => false,
        };
        Ok(Self { fd, path, status, prompt })
    }
}

impl Device for Sink {
    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        nix::unistd::write(&self.fd, bytes)
    }

    fn prompt(&self) -> bool {
        self.prompt
    }

    fn wait(&self, at_most: Duration) {
        let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::ZERO);
        // A wait that fails is a wait that ends early: the write that follows tells what is wrong.
        let _ready = poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)], timeout);
    }

    fn reopen(&self) -> Option<Result<Box<dyn Device>, AuditOpenError>> {
        let path = self.path.as_deref()?;
        let again = open_file(path).and_then(|fd| Self::of(fd, Some(path.to_owned())));
        Some(again.map(|sink| Box::new(sink) as Box<dyn Device>))
    }

    fn identity(&self) -> (u64, u64) {
        (self.status.st_dev, self.status.st_ino)
    }

    fn ends_torn(&self) -> bool {
        let Some(path) = &self.path else { return false };
        let Ok(status) = fstat(&self.fd) else { return false };
        let regular = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
        let Ok(size) = u64::try_from(status.st_size) else { return false };
        if !regular || size == 0 {
            return false;
        }
        // A second descriptor, because the first one can only write. Where reading is not allowed, nobody can tell.
        let mut last = [0];
        open(path, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK, Mode::empty())
            .is_ok_and(|fd| File::from(fd).read_exact_at(&mut last, size - 1).is_ok())
            && last != *b"\n"
    }
}

/// `O_NONBLOCK`: opening a FIFO without a reader fails with ENXIO where it would otherwise hang the start (`fifo(7)`),
/// and a FIFO whose reader stalls answers EAGAIN, so that the writer thread stays able to reopen. `O_RDWR` would open
/// too, but makes ourselves the reader: records would be acknowledged that nobody can ever read. Files and `/dev/null`
/// ignore the flag. `O_NOFOLLOW`: a link at the sink's place would make us append to a file of someone else's choice.
fn open_file(path: &Path) -> Result<OwnedFd, AuditOpenError> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let opened = match open(path, flags, Mode::empty()) {
        Err(Errno::ENOENT) => create(path, flags),
        other => other,
    };
    opened.map_err(|source| match source {
        Errno::ENXIO => AuditOpenError::NoReader { path: path.to_owned() },
        _ => AuditOpenError::Open { path: path.to_owned(), source },
    })
}

/// A new file is 0640 whatever the umask, so that a log shipper in its group can read it. One that exists keeps the
/// mode that its operator gave it.
fn create(path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let mode = Mode::from_bits_truncate(0o640);
    let fd = open(path, flags | OFlag::O_CREAT | OFlag::O_EXCL, mode)?;
    fchmod(&fd, mode)?;
    Ok(fd)
}
