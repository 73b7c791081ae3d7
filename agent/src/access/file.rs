//! Permissions from a file: grants for a single host, read as a whole or not at all (N1).

mod table;
mod watch;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;

use super::{AccessError, Action, Decision, GrantView, PermissionProvider, Right, Subject, Target};
use crate::id::{Scope, ScopePattern};
pub use table::{GrantTable, GrantsProblems};
use watch::Watch;

/// Larger than any file that people keep by hand: what is above it was not meant for us.
const BYTES_MAX: u64 = 1024 * 1024;

/// Why there are no grants, and so no start.
#[derive(Debug, thiserror::Error)]
pub enum GrantsError {
    /// The file cannot be read.
    #[error("permissions.file: reading the grants file {}", path.display())]
    Read {
        /// As configured.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: std::io::Error,
    },
    /// The file says something that it must not say.
    #[error("permissions.file: the grants file {} is not valid:\n{problems}", path.display())]
    Invalid {
        /// As configured.
        path: PathBuf,
        /// All of them.
        problems: GrantsProblems,
    },
}

/// The grants of one file, read again when it changes. A change that is not valid keeps the old grants.
pub struct FileGrants {
    path: PathBuf,
    state: Arc<RwLock<State>>,
    watch: Watch,
}

struct State {
    table: GrantTable,
    stale: bool,
}

impl FileGrants {
    /// Reads the file and watches its directory.
    ///
    /// # Errors
    /// [`GrantsError`] lists every problem.
    pub fn load(path: &Path) -> Result<Self, GrantsError> {
        let table = read(path)?;
        let state = Arc::new(RwLock::new(State { table, stale: false }));
        let watch = {
            let (watched, state) = (path.to_owned(), Arc::clone(&state));
            Watch::start(path, move || apply(&watched, &state))
        };
        Ok(Self { path: path.to_owned(), state, watch })
    }

    /// Reads the file again now, whether or not it was seen to change.
    pub fn reload(&self) {
        // On the watcher's thread, so that a slow disk does not hold up the runtime.
        if !self.watch.ask() {
            apply(&self.path, &self.state);
        }
    }
}

fn apply(path: &Path, state: &RwLock<State>) {
    let read = read(path);
    // One assignment under the lock: nobody can have left it half-done.
    let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
    match read {
        Ok(table) => {
            if state.stale || table != state.table {
                tracing::info!(grants = table.len(), "the grants were read again");
            }
            *state = State { table, stale: false };
        }
        Err(error) => {
            if !state.stale {
                tracing::error!(error = %Chain(&error), "the grants file cannot be used: the old grants stay");
            }
            state.stale = true;
        }
    }
}

/// An error with its causes in one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<GrantTable, GrantsError> {
    let failed = |source| GrantsError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text))
        .and_then(|read| {
            let fits = u64::try_from(read).is_ok_and(|read| read <= BYTES_MAX);
            if fits { Ok(()) } else { Err(std::io::ErrorKind::FileTooLarge.into()) }
        })
        .map_err(failed)?;
    GrantTable::parse(&text).map_err(|problems| GrantsError::Invalid { path: path.to_owned(), problems })
}

#[async_trait]
impl PermissionProvider for FileGrants {
    fn name(&self) -> &'static str {
        "file"
    }

    fn known(&self, subject: &Subject, action: Action, target: Target<'_>) -> Option<Decision> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        Some(state.table.decide(subject, action.right(), target))
    }

    async fn ask(&self, subject: &Subject, action: Action, scope: &Scope) -> Result<Decision, AccessError> {
        self.known(subject, action, Target::from(scope)).ok_or(AccessError::Unavailable)
    }

    fn grants(&self, subject: &Subject) -> Option<Vec<GrantView>> {
        Some(self.state.read().unwrap_or_else(PoisonError::into_inner).table.view(subject))
    }

    fn warning(&self) -> Option<&'static str> {
        let stale = self.state.read().unwrap_or_else(PoisonError::into_inner).stale;
        stale.then_some("the grants file cannot be used; the grants from before its last change are in force")
    }
}

/// `--dev`: everything for one uid, nothing for any other.
pub struct DevGrants {
    subject: Subject,
}

impl DevGrants {
    /// Everything for `subject`.
    #[must_use]
    pub fn new(subject: Subject) -> Self {
        Self { subject }
    }
}

#[async_trait]
impl PermissionProvider for DevGrants {
    fn name(&self) -> &'static str {
        "dev"
    }

    fn known(&self, subject: &Subject, _action: Action, _target: Target<'_>) -> Option<Decision> {
        Some(if *subject == self.subject { Decision::Allow } else { Decision::Deny })
    }

    async fn ask(&self, subject: &Subject, action: Action, scope: &Scope) -> Result<Decision, AccessError> {
        self.known(subject, action, Target::from(scope)).ok_or(AccessError::Unavailable)
    }

    fn grants(&self, subject: &Subject) -> Option<Vec<GrantView>> {
        let all = GrantView { rights: Right::ALL.to_vec(), scopes: vec![ScopePattern::All.to_string()] };
        Some(if *subject == self.subject { vec![all] } else { Vec::new() })
    }
}
