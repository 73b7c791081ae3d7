//! Files that hold secrets: made of templates, documents or single secrets, kept as they should be, and told of.
//!
//! ```text
//!   config ──► spec ──► Renderer ──► task ──► pass ──► content ──► template, format     pure
//!                          │           │        ├────► operations                       values, as any caller has them
//!                          ▼           ▼        └────► set ──► place                    the directory
//!                        board     on_change
//! ```
//!
//! Knows no HTTP but the request that tells a program of a change. A file's content is in memory while it is written; what
//! stays is a digest of it.

mod board;
mod content;
pub mod format;
mod on_change;
mod pass;
pub mod place;
pub mod set;
mod source;
pub mod spec;
mod task;
pub mod template;
mod values;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::id::Scope;
use crate::operations::{Context, Operations};
use pass::{Bench, Writer};
use place::PlaceError;
use set::Set;
use spec::{Action, SetSpec, Source};
use task::{File, Inbox, SetTask};

pub use board::{Board, FailedFile};
pub use content::{Content, ContentError};

/// Why nothing is rendered at all.
#[derive(Debug, thiserror::Error)]
pub enum RendererError {
    /// A directory.
    #[error("renderSets: {}", directory.display())]
    Directory {
        /// As configured.
        directory: std::path::PathBuf,
        /// Why it cannot be used.
        #[source]
        source: PlaceError,
    },
    /// A signal that the kernel would never let through.
    #[error("onChange.signal of the file {file}: {reason}")]
    Signal {
        /// The file's name.
        file: String,
        /// In a sentence.
        reason: &'static str,
    },
}

/// All sets of an agent.
pub struct Renderer {
    board: Board,
    sets: Vec<Set>,
    specs: Vec<SetSpec>,
    inboxes: Vec<Arc<Inbox>>,
}

/// Tells the sets of changes.
#[derive(Clone, Default)]
pub struct Bell(Arc<std::sync::OnceLock<Vec<Arc<Inbox>>>>);

impl Bell {
    /// Secrets of `scope` have changed, or may have.
    pub fn ring(&self, scope: &Scope) {
        for inbox in self.0.get().into_iter().flatten() {
            inbox.scope_changed(scope);
        }
    }
}

impl Renderer {
    /// Opens the directories of all sets, and takes away what a crash has left in them. Files belong to `group`.
    ///
    /// # Errors
    /// [`RendererError`].
    pub fn open(specs: Vec<SetSpec>, group: Option<u32>, board: Board) -> Result<Self, RendererError> {
        let mut sets = Vec::with_capacity(specs.len());
        for spec in &specs {
            let failed = |source| RendererError::Directory { directory: spec.directory.clone(), source };
            let set = Set::open(&spec.directory, group, spec.require_memory).map_err(failed)?;
            let destinations: Vec<_> = spec.files.iter().map(|file| &file.destination).collect();
            if set.tidy(&destinations).is_err() {
                tracing::warn!(directory = %spec.directory.display(), "links to earlier files could not be removed");
            }
            for file in &spec.files {
                if let Some(Action::Signal { to, .. }) = file.on_change.as_ref().map(|on_change| &on_change.action)
                    && let Some(reason) = on_change::refusal(to)
                {
                    return Err(RendererError::Signal { file: file.name.clone(), reason });
                }
            }
            sets.push(set);
        }
        let inboxes = specs.iter().map(|_| Arc::default()).collect();
        Ok(Self { board, sets, specs, inboxes })
    }

    /// Whether any set is on a disk.
    #[must_use]
    pub fn is_on_disk(&self) -> bool {
        self.sets.iter().any(Set::is_on_disk)
    }

    /// Keeps all files as they should be until `stop`. `who` says each time who the agent is.
    pub fn start(
        self,
        operations: &Arc<Operations>,
        who: impl Fn() -> Context + Send + Sync + 'static,
        bell: &Bell,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        // Set once: an agent has one renderer.
        let _set = bell.0.set(self.inboxes.clone());
        let who: task::Who = Arc::new(who);
        let board = self.board.clone();
        for (set, (spec, inbox)) in self.sets.into_iter().zip(self.specs.into_iter().zip(self.inboxes)) {
            let mut act = |file: &spec::FileSpec, place| {
                let (actor, notices) =
                    on_change::actor(file.on_change.clone()?, board.clone(), place, file.name.clone());
                tasks.spawn(actor.run(stop.clone()));
                Some(notices)
            };
            let task = set_task(set, spec, inbox, &board, operations, &who, &mut act);
            tasks.spawn(task.run(stop.clone()));
        }
    }

    /// Renders every file once, and again for as long as `wait` what cannot be had at the moment. What failed is on the
    /// board.
    pub async fn once(
        self,
        operations: &Arc<Operations>,
        who: impl Fn() -> Context + Send + Sync + 'static,
        wait: Duration,
    ) {
        let who: task::Who = Arc::new(who);
        let until = Instant::now() + wait;
        for (set, (spec, inbox)) in self.sets.into_iter().zip(self.specs.into_iter().zip(self.inboxes)) {
            set_task(set, spec, inbox, &self.board, operations, &who, &mut |_, _| None).once(until).await;
        }
    }
}

fn set_task(
    set: Set,
    spec: SetSpec,
    inbox: Arc<Inbox>,
    board: &Board,
    operations: &Arc<Operations>,
    who: &task::Who,
    act: &mut dyn FnMut(&spec::FileSpec, board::Place) -> Option<on_change::Notices>,
) -> SetTask {
    let destinations = spec.files.iter().map(|file| (file.destination.clone(), file.mode)).collect();
    let writer = Arc::new(Mutex::new(Writer::new(set, destinations)));
    let places: Vec<_> = spec.files.iter().map(|file| board.add(&spec, file)).collect();
    let files = spec.files.into_iter().zip(places).map(|(file, place)| {
        let notices = act(&file, place);
        File::new(file, place, notices)
    });
    SetTask {
        files: files.collect(),
        bench: Arc::new(Bench { operations: Arc::clone(operations), set: writer }),
        inbox,
        board: board.clone(),
        who: Arc::clone(who),
    }
}

/// What is wrong with the templates and documents in files, one line each; a file that is not there is told by who renders.
#[must_use]
pub fn check_sources(sets: &[SetSpec]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in sets.iter().flat_map(|set| &set.files) {
        let Source::File(path, kind) = &file.source else { continue };
        let Ok(text) = source::read(path) else { continue };
        let read = match kind {
            spec::SourceKind::Template => Content::template(&text),
            spec::SourceKind::Document => Content::document(file.format, &text),
        };
        if let Err(error) = read {
            problems.push(format!("{} ({}): {error}", file.name, path.display()));
        }
    }
    problems
}
