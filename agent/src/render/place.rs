//! Where files go: paths that are checked before anything is written, and a directory that is written by its descriptor.
//!
//! Nothing is opened by a path from the root once the directory is open, and no link is followed below it (N12).

use std::fmt;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, geteuid, linkat, symlinkat, unlinkat};

/// Bytes of a destination, and of one of its segments (`NAME_MAX`).
const DESTINATION_MAX: usize = 1024;
const SEGMENT_MAX: usize = 255;

/// Directories that a destination may lead through.
const DEPTH_MAX: usize = 16;

/// Where a file stands in its set's directory: names joined by `/`, none of which leads anywhere else.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination(Box<str>);

/// Why a text is no destination. Does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// From the root.
    #[error("is relative to the set's directory and does not begin with /")]
    Absolute,
    /// Nothing, or an empty name.
    #[error("is one or more names joined by single /")]
    Empty,
    /// `.`, or what begins with `..`.
    #[error("has no name that is . or that begins with .., which names other directories or the writer's own")]
    Dots,
    /// Not text.
    #[error("has no control characters")]
    Control,
    /// Too long.
    #[error("has at most {DESTINATION_MAX} bytes, {SEGMENT_MAX} in one name and {DEPTH_MAX} names")]
    Length,
}

impl Destination {
    /// Reads a destination.
    ///
    /// # Errors
    /// [`DestinationError`].
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        if text.len() > DESTINATION_MAX || text.split('/').count() > DEPTH_MAX {
            return Err(DestinationError::Length);
        }
        if text.starts_with('/') {
            return Err(DestinationError::Absolute);
        }
        if text.contains(char::is_control) {
            return Err(DestinationError::Control);
        }
        for name in text.split('/') {
            match name {
                "" => return Err(DestinationError::Empty),
                "." => return Err(DestinationError::Dots),
                // The kubelet's rule for its own volumes: `..data` and what is beside it belong to the writer.
                name if name.starts_with("..") => return Err(DestinationError::Dots),
                name if name.len() > SEGMENT_MAX => return Err(DestinationError::Length),
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first name: what is visible in the directory itself.
    #[must_use]
    pub fn first(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The directories that it leads through, from the outermost.
    pub(super) fn directories(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| self.0.get(..at).unwrap_or_default())
    }

    /// Whether the two cannot both be files: they are one, or one is a directory of the other.
    #[must_use]
    pub fn collides(&self, other: &Self) -> bool {
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        within(&self.0, &other.0) || within(&other.0, &self.0)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why something could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The directory is not there and cannot be made, or is no directory.
    #[error("the directory cannot be used: {0}")]
    Directory(Errno),
    /// The directory is a disk, and memory is required.
    #[error("the directory is on a disk, and requireMemory demands tmpfs")]
    NotInMemory,
    /// The directory belongs to somebody else, or others may write in it.
    #[error("the directory belongs to somebody else, and is none that everybody may write in")]
    NotOurs,
    /// Something that is not ours is where a file or link of ours would be.
    #[error("something that the agent did not make is in the place of a file")]
    Occupied,
    /// The disk or memory is full, of bytes, of files or of quota.
    #[error("there is no room: {0}")]
    Full(Errno),
    /// It may not be written.
    #[error("the file system is read-only")]
    ReadOnly,
    /// Anything else.
    #[error("cannot write: {0}")]
    Other(Errno),
}

impl From<Errno> for PlaceError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ENOSPC | Errno::EDQUOT => Self::Full(errno),
            Errno::EROFS => Self::ReadOnly,
            other => Self::Other(other),
        }
    }
}

/// A directory, by its descriptor.
pub(super) struct Directory {
    fd: OwnedFd,
    group: Option<Gid>,
    /// What is written has to be brought to a disk.
    on_disk: bool,
}

/// `linux/magic.h`; the library does not name it.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// A mode for what others may pass through or read.
fn mode(bits: u32) -> Mode {
    Mode::from_bits_truncate(bits)
}

/// Directories within a set: to be read by the group.
const DIRECTORY_MODE: u32 = 0o750;

impl Directory {
    /// Opens the directory of a set; makes it, but nothing above it, where it is missing.
    pub(super) fn open(path: &Path, group: Option<u32>, require_memory: bool) -> Result<Self, PlaceError> {
        let group = group.map(Gid::from_raw);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut made = false;
        let fd = match open(path, flags, Mode::empty()) {
            Err(Errno::ENOENT) => {
                std::fs::DirBuilder::new()
                    .mode(DIRECTORY_MODE)
                    .create(path)
                    .map_err(|error| PlaceError::Directory(errno(&error)))?;
                made = true;
                open(path, flags, Mode::empty()).map_err(PlaceError::Directory)?
            }
            found => found.map_err(PlaceError::Directory)?,
        };
        let stat = fstat(&fd).map_err(PlaceError::Directory)?;
        // What others may replace is no place for secrets. A volume that is everybody's, as an emptyDir's root is, was
        // given to us like that: who else has it mounted is the pod's business.
        let everybodys = stat.st_mode & 0o777 == 0o777;
        if !everybodys && Uid::from_raw(stat.st_uid) != geteuid() && !geteuid().is_root() {
            return Err(PlaceError::NotOurs);
        }
        let kind: FsType = fstatfs(&fd).map_err(PlaceError::Directory)?.filesystem_type();
        let on_disk = kind != TMPFS_MAGIC && kind != RAMFS_MAGIC;
        if on_disk && require_memory {
            return Err(PlaceError::NotInMemory);
        }
        let directory = Self { fd, group, on_disk };
        if made {
            directory.settle(&directory.fd, DIRECTORY_MODE)?;
        }
        Ok(directory)
    }

    /// Whether it is on a disk, where what was deleted may be found again.
    pub(super) fn is_on_disk(&self) -> bool {
        self.on_disk
    }

    /// A directory below this one, which no link leads to.
    pub(super) fn below(&self, path: &str) -> Result<Self, Errno> {
        let fd = self.open_below(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?;
        Ok(Self { fd, group: self.group, on_disk: self.on_disk })
    }

    fn open_below(&self, path: &str, flags: OFlag, mode: Mode) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW).mode(mode).resolve(resolve);
        openat2(&self.fd, path, how)
    }

    /// Makes a directory that must not be there yet, and opens it.
    pub(super) fn make(&self, path: &str) -> Result<Self, Errno> {
        mkdirat(&self.fd, path, mode(DIRECTORY_MODE))?;
        let made = self.below(path)?;
        made.settle(&made.fd, DIRECTORY_MODE)?;
        Ok(made)
    }

    /// Writes a file that must not be there yet. From its first moment it is no more open than it will be.
    pub(super) fn write(&self, path: &str, content: &[u8], bits: u32) -> Result<(), Errno> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let fd = self.open_below(path, flags, mode(bits))?;
        self.settle(&fd, bits)?;
        let mut file = std::fs::File::from(fd);
        file.write_all(content).map_err(|error| errno(&error))?;
        if self.on_disk {
            fsync(&file)?;
        }
        Ok(())
    }

    /// The process's umask takes bits away, and never gives any.
    fn settle(&self, fd: &OwnedFd, bits: u32) -> Result<(), Errno> {
        if let Some(group) = self.group {
            fchown(fd, None, Some(group))?;
        }
        fchmod(fd, mode(bits))
    }

    /// A second name in `to` for a file of ours that is as it should be. Answers whether there is one.
    pub(super) fn link(&self, path: &str, to: &Self, bits: u32) -> Result<bool, Errno> {
        let stat = match self.open_below(path, OFlag::O_PATH, Mode::empty()) {
            Ok(fd) => fstat(&fd)?,
            Err(Errno::ENOENT) => return Ok(false),
            Err(other) => return Err(other),
        };
        if !self.is_ours(&stat, bits) {
            return Ok(false);
        }
        match linkat(&self.fd, path, &to.fd, path, AtFlags::empty()) {
            Ok(()) => Ok(true),
            // A file system without, or one that has enough of them.
            Err(Errno::EMLINK | Errno::EPERM | Errno::EOPNOTSUPP | Errno::EXDEV) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// Whether there is a file of ours with this mode.
    pub(super) fn has(&self, path: &str, bits: u32) -> bool {
        let found = self.open_below(path, OFlag::O_PATH, Mode::empty()).and_then(fstat);
        found.is_ok_and(|stat| self.is_ours(&stat, bits))
    }

    fn is_ours(&self, stat: &FileStat, bits: u32) -> bool {
        kind(stat) == SFlag::S_IFREG
            && stat.st_mode & 0o7777 == bits
            && Uid::from_raw(stat.st_uid) == geteuid()
            && self.group.is_none_or(|group| Gid::from_raw(stat.st_gid) == group)
    }

    /// The content of a file of ours, of at most `limit` bytes.
    pub(super) fn read(&self, path: &str, limit: usize) -> Result<zeroize::Zeroizing<Vec<u8>>, Errno> {
        use std::io::Read as _;
        let file = std::fs::File::from(self.open_below(path, OFlag::O_RDONLY, Mode::empty())?);
        let mut content = zeroize::Zeroizing::new(Vec::with_capacity(limit.min(64 << 10)));
        file.take(limit as u64).read_to_end(&mut content).map_err(|error| errno(&error))?;
        Ok(content)
    }

    /// Where a link leads; none where there is none.
    pub(super) fn read_link(&self, name: &str) -> Result<Option<String>, Errno> {
        match readlinkat(&self.fd, name) {
            Ok(target) => Ok(target.into_string().ok()),
            Err(Errno::ENOENT | Errno::EINVAL) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Makes a link that must not be there yet.
    pub(super) fn symlink(&self, target: &str, name: &str) -> Result<(), Errno> {
        symlinkat(target, &self.fd, name)
    }

    /// Puts one name in the place of another, which readers see as one step.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        renameat(&self.fd, from, &self.fd, to)
    }

    /// What a name is; none where it is not there.
    pub(super) fn stat(&self, name: &str) -> Result<Option<FileStat>, Errno> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Takes a name away that is no directory.
    pub(super) fn unlink(&self, name: &str) -> Result<(), Errno> {
        unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir)
    }

    /// Takes a directory of ours away with all that is in it, without following anything.
    pub(super) fn remove(&self, name: &str) -> Result<(), Errno> {
        let inner = match self.below(name) {
            Ok(inner) => inner,
            Err(Errno::ENOTDIR | Errno::ELOOP) => return self.unlink(name),
            Err(Errno::ENOENT) => return Ok(()),
            Err(other) => return Err(other),
        };
        for entry in inner.names()? {
            inner.remove(&entry)?;
        }
        unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir)
    }

    /// The names in it that are text; others are none of ours.
    pub(super) fn names(&self) -> Result<Vec<String>, Errno> {
        let fd = self.open_below(".", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::from_fd(fd)?.iter() {
            let name = entry?.file_name().to_bytes().to_vec();
            if !matches!(name.as_slice(), b"." | b"..")
                && let Ok(name) = String::from_utf8(name)
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Brings what was made and renamed in it to the disk, where there is one.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        if self.on_disk { fsync(&self.fd) } else { Ok(()) }
    }
}

/// Which kind of file it is.
pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn errno(error: &std::io::Error) -> Errno {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number),
        None => Errno::EIO,
    }
}
