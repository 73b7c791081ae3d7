//! What is done when a file has changed: after a quiet time, again until it succeeds, and reported.
//!
//! Nothing of a file or of a value goes along, and nothing that comes back is kept.

mod exec;
mod http;
mod signal;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::board::{ActionReport, Board, Place};
use super::spec::{Action, OnChange};
use crate::jitter;

pub(super) use signal::refusal;

/// Changes that never pause are told of all the same after so many quiet times.
const QUIETS_MAX: u32 = 10;

/// Pauses after a failure.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// Why an action did not happen. Holds nothing that anybody said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ActionError {
    #[error("nobody answers there")]
    Unreachable,
    #[error("it did not end in time")]
    TimedOut,
    #[error("the answer is none of success")]
    Refused,
    #[error("there is no such process")]
    NoProcess,
    #[error("the kernel does not allow it")]
    NotAllowed,
    #[error("the file holds no process id")]
    NoPid,
    #[error("the program cannot be started")]
    NotStarted,
    #[error("the program failed")]
    Failed,
}

impl ActionError {
    fn kind(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Refused => "refused",
            Self::NoProcess => "no_process",
            Self::NotAllowed => "not_allowed",
            Self::NoPid => "no_pid",
            Self::NotStarted => "not_started",
            Self::Failed => "failed",
        }
    }
}

/// Where changes of one file are told.
#[derive(Clone)]
pub(super) struct Notices(Arc<Notify>);

impl Notices {
    /// The file has changed.
    pub(super) fn changed(&self) {
        self.0.notify_one();
    }
}

/// The task of one file's action.
pub(super) struct Actor {
    on_change: OnChange,
    board: Board,
    place: Place,
    name: String,
    notified: Arc<Notify>,
}

/// An actor, and where it is told of changes.
pub(super) fn actor(on_change: OnChange, board: Board, place: Place, name: String) -> (Actor, Notices) {
    let notified = Arc::new(Notify::new());
    let notices = Notices(Arc::clone(&notified));
    (Actor { on_change, board, place, name, notified }, notices)
}

impl Actor {
    /// Until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.act() => {}
        }
    }

    async fn act(&self) {
        loop {
            self.notified.notified().await;
            let mut pause = PAUSE_MIN;
            self.quiet().await;
            loop {
                let done = perform(&self.on_change.action).await;
                let Err(error) = done else {
                    self.report("done", None, None);
                    tracing::info!(file = self.name, action = self.on_change.action.as_str(), "the change was told");
                    break;
                };
                let next = Instant::now() + jitter::around(pause);
                self.report("failed", Some(error), Some(next));
                let action = self.on_change.action.as_str();
                tracing::warn!(file = self.name, action, kind = error.kind(), "the change could not be told: {error}");
                tokio::select! {
                    () = tokio::time::sleep_until(next) => pause = (pause * 2).min(PAUSE_MAX),
                    // A later change is told of instead of this one, and after a quiet time of its own.
                    () = self.notified.notified() => self.quiet().await,
                }
            }
        }
    }

    /// Waits until nothing has changed for a while.
    async fn quiet(&self) {
        let quiet = self.on_change.quiet;
        let end = Instant::now() + quiet * QUIETS_MAX;
        loop {
            let until = (Instant::now() + quiet).min(end);
            self.report("waiting", None, Some(until));
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                () = self.notified.notified() => {}
            }
        }
    }

    fn report(&self, state: &'static str, error: Option<ActionError>, next: Option<Instant>) {
        self.board.report_action(self.place, ActionReport { state, error: error.map(ActionError::kind), next });
    }
}

async fn perform(action: &Action) -> Result<(), ActionError> {
    match action {
        Action::Http { to, path } => http::post(to, path).await,
        Action::Signal { to, signal } => {
            let (to, signal) = (to.clone(), *signal);
            let sent = tokio::task::spawn_blocking(move || signal::send(&to, signal));
            sent.await.unwrap_or(Err(ActionError::Failed))
        }
        Action::Exec { argv } => exec::run(argv).await,
    }
}

#[cfg(test)]
mod tests;
