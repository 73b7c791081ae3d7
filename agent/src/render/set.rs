//! A set of files in one directory, written beside the old one and put in its place by one rename, as the kubelet's
//! `AtomicWriter` does it.
//!
//! ```text
//!   app.env            → ..data/app.env        made once
//!   tls                → ..data/tls            of `tls/a` and `tls/b`
//!   ..data             → ..g000000000000002a   the only thing that changes
//!   ..g000000000000002a/                        what is read now
//!   ..g0000000000000029/                        what was read before: readers that have it open finish
//! ```
//!
//! A file that has not changed is the same file under a second name, so that a set of a thousand is not written anew for
//! one. Until the rename nothing that anybody reads has been touched; if anything fails before it, what was begun is taken
//! away.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::SFlag;
use tokio::time::Instant;

use super::place::{Destination, Directory, PlaceError, kind};

/// The link to the generation that is read.
const DATA: &str = "..data";

/// The same before it is put in its place.
const DATA_NEXT: &str = "..data_next";

/// How the name of a link begins before it is put in its place.
const LINK_NEXT: &str = "..link_next";

/// How the name of a generation begins.
const GENERATION: &str = "..g";

/// How long a generation that was replaced stays at least.
const KEPT: Duration = Duration::from_secs(10);

/// A file as it is to be.
pub struct Written<'a> {
    /// Where.
    pub destination: &'a Destination,
    /// Its mode.
    pub mode: u32,
    /// What is in it; none for what is there already, if anything is.
    pub content: Option<&'a [u8]>,
}

/// One directory with one set in it. Nobody else writes there.
pub struct Set {
    directory: Directory,
    current: Option<String>,
    next: u64,
    /// Replaced, and when.
    previous: Option<(String, Instant)>,
    /// Readers may have had it open when it was replaced, less than [`KEPT`] before the next one was.
    older: Vec<(String, Instant)>,
}

impl Set {
    /// Opens the directory and takes away what a crash has left.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn open(path: &Path, group: Option<u32>, require_memory: bool) -> Result<Self, PlaceError> {
        let directory = Directory::open(path, group, require_memory)?;
        let link = directory.read_link(DATA)?;
        // A link that leads elsewhere is none of ours. It is replaced by the first set that is written.
        let current = link.filter(|name| generation(name).is_some() && directory.below(name).is_ok());
        let names = directory.names()?;
        let last = names.iter().filter_map(|name| generation(name)).max().unwrap_or_default();
        let mut set = Self { directory, current, next: last + 1, previous: None, older: Vec::new() };
        set.clean(&names);
        Ok(set)
    }

    /// Whether it is on a disk.
    #[must_use]
    pub fn is_on_disk(&self) -> bool {
        self.directory.is_on_disk()
    }

    /// What is read now at `destination`, up to `limit` bytes.
    #[must_use]
    pub fn read(&self, destination: &Destination, limit: usize) -> Option<zeroize::Zeroizing<Vec<u8>>> {
        let current = self.directory.below(self.current.as_deref()?).ok()?;
        current.read(destination.as_str(), limit).ok()
    }

    /// Whether there is a file at `destination` with this mode, and it can be seen.
    #[must_use]
    pub fn is_as_it_should(&self, destination: &Destination, mode: u32) -> bool {
        let first = destination.first();
        let seen = self.directory.read_link(first).is_ok_and(|target| target == Some(format!("{DATA}/{first}")));
        let current = self.current.as_deref().and_then(|current| self.directory.below(current).ok());
        let leads = self.directory.read_link(DATA).is_ok_and(|target| target == self.current);
        seen && leads && current.is_some_and(|current| current.has(destination.as_str(), mode))
    }

    /// Makes the set be `files`: all of them, in one step.
    ///
    /// # Errors
    /// [`PlaceError`]; what was there before is there still, and nothing else.
    pub fn write(&mut self, files: &[Written<'_>]) -> Result<(), PlaceError> {
        self.forget();
        let name = format!("{GENERATION}{:016x}", self.next);
        self.next += 1;
        let mut links = Links::default();
        let swapped = self.write_generation(&name, files).map_err(PlaceError::from).and_then(|present| {
            links.prepare(&self.directory, &present)?;
            Ok(self.swap(&name)?)
        });
        if let Err(error) = swapped {
            // Whatever there is of it. On a file system that is read-only there is nothing.
            let _unlinked = self.directory.unlink(DATA_NEXT);
            links.take_back(&self.directory);
            let _removed = self.directory.remove(&name);
            return Err(error);
        }
        if let Some(replaced) = self.current.replace(name) {
            self.older.extend(self.previous.replace((replaced, Instant::now())));
        }
        self.forget();
        links.finish(&self.directory)?;
        // It has happened: a disk that fails now has the old set or the new one.
        let _synced = self.directory.sync();
        Ok(())
    }

    /// Writes everything, and answers with the names that are to be visible.
    fn write_generation<'a>(&self, name: &str, files: &[Written<'a>]) -> Result<BTreeSet<&'a str>, Errno> {
        let next = self.directory.make(name)?;
        let current = self.current.as_deref().and_then(|current| self.directory.below(current).ok());
        let mut made: BTreeSet<&str> = BTreeSet::new();
        let mut present = BTreeSet::new();
        for file in files {
            if file.content.is_none() && !exists(current.as_ref(), file.destination)? {
                continue;
            }
            for directory in file.destination.directories() {
                if made.insert(directory) {
                    next.make(directory)?;
                }
            }
            present.insert(file.destination.first());
            let path = file.destination.as_str();
            match (file.content, &current) {
                (Some(content), _) => next.write(path, content, file.mode)?,
                (None, Some(current)) => {
                    if !current.link(path, &next, file.mode)? {
                        next.write(path, &current.read(path, usize::MAX)?, file.mode)?;
                    }
                }
                (None, None) => {}
            }
        }
        for directory in &made {
            next.below(directory)?.sync()?;
        }
        next.sync()?;
        Ok(present)
    }

    fn swap(&self, name: &str) -> Result<(), Errno> {
        match self.directory.unlink(DATA_NEXT) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(other) => return Err(other),
        }
        self.directory.symlink(name, DATA_NEXT)?;
        self.directory.rename(DATA_NEXT, DATA)
    }

    /// Takes away links of ours that lead nowhere: what was in the set, and is not any more.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn tidy(&self, files: &[&Destination]) -> Result<(), PlaceError> {
        let wanted: BTreeSet<&str> = files.iter().map(|destination| destination.first()).collect();
        for name in self.directory.names()? {
            let ours = self.directory.read_link(&name)? == Some(format!("{DATA}/{name}"));
            if ours && !wanted.contains(name.as_str()) {
                self.directory.unlink(&name)?;
            }
        }
        Ok(())
    }

    /// Takes away generations whose time is over.
    fn forget(&mut self) {
        let now = Instant::now();
        let (over, kept) = std::mem::take(&mut self.older).into_iter().partition(|(_, at)| now - *at >= KEPT);
        self.older = kept;
        let over: Vec<_> = over;
        for (name, at) in over {
            if self.directory.remove(&name).is_err() {
                self.older.push((name, at));
            }
        }
    }

    /// When there is something to take away by itself, without a next write; none if there is not.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.older.iter().map(|(_, at)| *at + KEPT).min()
    }

    /// Takes away what is due.
    pub fn sweep(&mut self) {
        self.forget();
    }

    /// Removes what an earlier process has begun, or left behind, but for the generation before the current one.
    fn clean(&mut self, names: &[String]) {
        // A file system that cannot be written now is told of by the first write.
        let _unlinked = self.directory.unlink(DATA_NEXT);
        for name in names.iter().filter(|name| name.starts_with(LINK_NEXT)) {
            let _unlinked = self.directory.unlink(name);
        }
        let current = self.current.as_deref().and_then(generation);
        let of = |name: &&String| generation(name);
        // What is newer than the current one was never seen by anybody.
        let before = names.iter().filter(|name| of(name).is_some() && of(name) < current).max_by_key(of);
        for name in names.iter().filter(|name| of(name).is_some()) {
            if Some(name) == before {
                self.previous = Some((name.clone(), Instant::now()));
            } else if self.current.as_ref() != Some(name) {
                let _removed = self.directory.remove(name);
            }
        }
    }
}

/// The visible names of one write.
#[derive(Default)]
struct Links {
    /// Made where nothing was: until the rename they lead nowhere.
    made: Vec<String>,
    /// Made beside what is to be replaced.
    beside: Vec<(String, String)>,
}

impl Links {
    fn prepare(&mut self, directory: &Directory, present: &BTreeSet<&str>) -> Result<(), PlaceError> {
        for first in present {
            let target = format!("{DATA}/{first}");
            let Some(stat) = directory.stat(first)? else {
                directory.symlink(&target, first)?;
                self.made.push((*first).to_owned());
                continue;
            };
            if kind(&stat) == SFlag::S_IFLNK && directory.read_link(first)?.as_ref() == Some(&target) {
                continue;
            }
            // A file of an earlier way to write it goes; a directory may hold anything.
            if kind(&stat) == SFlag::S_IFDIR {
                return Err(PlaceError::Occupied);
            }
            let name = format!("{LINK_NEXT}{}", self.beside.len());
            match directory.unlink(&name) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(other) => return Err(other.into()),
            }
            directory.symlink(&target, &name)?;
            self.beside.push((name, (*first).to_owned()));
        }
        Ok(())
    }

    fn take_back(&self, directory: &Directory) {
        for name in self.made.iter().chain(self.beside.iter().map(|(name, _)| name)) {
            let _unlinked = directory.unlink(name);
        }
    }

    fn finish(&self, directory: &Directory) -> Result<(), Errno> {
        self.beside.iter().try_for_each(|(name, first)| directory.rename(name, first))
    }
}

fn exists(current: Option<&Directory>, destination: &Destination) -> Result<bool, Errno> {
    match current {
        Some(current) => Ok(current.stat(destination.as_str())?.is_some()),
        None => Ok(false),
    }
}

/// The number of a generation, if the name is that of one.
fn generation(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(GENERATION)?;
    if digits.len() == 16 { u64::from_str_radix(digits, 16).ok() } else { None }
}
