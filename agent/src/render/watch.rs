//! Sees that templates and documents in files have changed: by inotify on their directories, never on the files.
//!
//! A file that is replaced takes a watch on it along: editors replace files, and the kubelet swaps `..data` beside them.
//! What inotify does not tell, as of network file systems, the next look at all files finds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::event::AccessKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// Watches directories until it is dropped.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    missing: BTreeSet<PathBuf>,
}

impl Watch {
    /// Calls `changed` for each change in the directory of one of `files`.
    pub(super) fn start(files: &[&Path], changed: impl Fn() + Send + 'static) -> Self {
        let missing: BTreeSet<PathBuf> = files.iter().filter_map(|file| file.parent()).map(Path::to_owned).collect();
        if missing.is_empty() {
            return Self { watcher: None, missing };
        }
        let told = move |event: notify::Result<Event>| {
            if event.map_or(true, |event| !is_a_look(&event)) {
                changed();
            }
        };
        let watcher = notify::recommended_watcher(told)
            .inspect_err(|_| tracing::warn!("templates cannot be watched: they are looked at every 10 s"))
            .ok();
        let mut watch = Self { watcher, missing };
        watch.retry();
        watch
    }

    /// Takes up directories that were not there before.
    pub(super) fn retry(&mut self) {
        if let Some(watcher) = &mut self.watcher {
            self.missing.retain(|directory| watcher.watch(directory, RecursiveMode::NonRecursive).is_err());
        }
    }
}

/// That somebody opened or read a file is no change, and we do so ourselves.
fn is_a_look(event: &Event) -> bool {
    matches!(event.kind, EventKind::Access(AccessKind::Open(_) | AccessKind::Read))
}
