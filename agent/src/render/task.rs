//! The task of a set: which of its files are due, and when.
//!
//! What is due at one moment is made together, so that what one change touches is swapped as one. A file that has failed
//! has a pace of its own; one whose secrets answered late or not at all is tried by itself, and nobody waits for it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::board::{Board, Place, Report, State};
use super::on_change::Notices;
use super::pass::{self, Bench, Due, Loaded, Outcome, RenderError};
use super::spec::{FileSpec, Source};
use super::watch::Watch;
use crate::id::{Checksum, Location, Scope, SecretId};
use crate::jitter;
use crate::operations::Context;

/// Pauses after a failure.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often it is looked whether everything is as it should be, without having heard of anything.
const LOOK: Duration = Duration::from_secs(10);

/// How long templates must have been left alone: editors work in several steps.
const SETTLE: Duration = Duration::from_millis(100);

/// Says who we are now.
pub(super) type Who = Arc<dyn Fn() -> Context + Send + Sync>;

/// What a set is told from outside.
#[derive(Default)]
pub(super) struct Inbox {
    told: Mutex<Told>,
    woken: Notify,
}

#[derive(Default)]
struct Told {
    /// At most as many as the files use.
    scopes: BTreeSet<Scope>,
    /// Which scopes are of interest.
    used: BTreeSet<Scope>,
    templates: bool,
}

impl Inbox {
    /// Secrets of `scope` have changed.
    pub(super) fn scope_changed(&self, scope: &Scope) {
        let mut told = self.lock();
        if told.used.contains(scope) && told.scopes.insert(scope.clone()) {
            self.woken.notify_one();
        }
    }

    /// A template or document may have changed.
    pub(super) fn templates_changed(&self) {
        self.lock().templates = true;
        self.woken.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Told> {
        // Sets and a flag: nothing can be half-done.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file of the set.
pub(super) struct File {
    pub(super) spec: FileSpec,
    pub(super) place: Place,
    pub(super) notices: Option<Notices>,
    loaded: Option<Loaded>,
    used: Vec<SecretId>,
    known: Vec<(Location, Checksum)>,
    /// Failures in a row.
    failures: u32,
    /// What the last try failed for.
    error: Option<RenderError>,
    due: Option<Instant>,
    busy: bool,
}

impl File {
    pub(super) fn new(spec: FileSpec, place: Place, notices: Option<Notices>) -> Self {
        let used = match &spec.source {
            Source::Inline(content) => content.ids().to_vec(),
            Source::File(..) => Vec::new(),
        };
        let due = Some(Instant::now());
        Self { spec, place, notices, loaded: None, used, known: Vec::new(), failures: 0, error: None, due, busy: false }
    }

    fn due(&self, number: usize) -> Due {
        Due {
            number,
            source: self.spec.source.clone(),
            format: self.spec.format,
            on_missing: self.spec.on_missing,
            loaded: self.loaded.clone(),
            used: self.used.clone(),
        }
    }

    /// It is made now, and due again only for a new reason.
    fn take(&mut self, number: usize) -> Due {
        (self.busy, self.due) = (true, None);
        self.due(number)
    }

    fn wake(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

/// A set with everything that it needs.
pub(super) struct SetTask {
    pub(super) files: Vec<File>,
    pub(super) bench: Arc<Bench>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) board: Board,
    pub(super) who: Who,
}

impl SetTask {
    /// Each file once, together; until `until` again what may be better in a moment. For pipelines and init containers.
    pub(super) async fn once(mut self, until: Instant) {
        let mut due: Vec<Due> = self.files.iter_mut().enumerate().map(|(number, file)| file.take(number)).collect();
        loop {
            for outcome in pass::run(&self.bench, &(self.who)(), due).await {
                self.settle(outcome);
            }
            let again = |file: &File| file.error.is_some_and(RenderError::may_pass);
            let next = self.files.iter().filter(|file| again(file)).filter_map(|file| file.due).max();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            tokio::time::sleep_until(next).await;
            let files = self.files.iter_mut().enumerate().filter(|(_, file)| again(file));
            due = files.map(|(number, file)| file.take(number)).collect();
        }
    }

    /// Until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut watch = self.watch();
        let mut passes: JoinSet<Vec<Outcome>> = JoinSet::new();
        let mut look = Instant::now() + LOOK;
        loop {
            self.note_used();
            for due in self.take_due() {
                let (bench, context) = (Arc::clone(&self.bench), (self.who)());
                passes.spawn(async move { pass::run(&bench, &context, due).await });
            }
            let next = self.files.iter().filter(|file| !file.busy).filter_map(|file| file.due).min();
            let next = next.map_or(look, |next| next.min(look));
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.inbox.woken.notified() => self.hear(),
                Some(done) = passes.join_next() => done.into_iter().flatten().for_each(|outcome| self.settle(outcome)),
                () = tokio::time::sleep_until(next) => {}
            }
            if Instant::now() >= look {
                look = Instant::now() + LOOK;
                watch.retry();
                self.look().await;
            }
        }
        // What is being written is swapped or taken away, and not left half-done.
        while passes.join_next().await.is_some() {}
    }

    fn watch(&self) -> Watch {
        let paths = self.files.iter().filter_map(|file| match &file.spec.source {
            Source::File(path, _) => Some(path.as_path()),
            Source::Inline(_) => None,
        });
        let paths: Vec<&Path> = paths.collect();
        let inbox = Arc::clone(&self.inbox);
        Watch::start(&paths, move || inbox.templates_changed())
    }

    /// Says which scopes are of interest.
    fn note_used(&self) {
        let ids = self.files.iter().flat_map(|file| &file.used);
        let used = ids.map(|id| id.location().scope()).collect();
        self.inbox.lock().used = used;
    }

    fn hear(&mut self) {
        let (scopes, templates) = {
            let mut told = self.inbox.lock();
            (std::mem::take(&mut told.scopes), std::mem::take(&mut told.templates))
        };
        let now = Instant::now();
        for file in &mut self.files {
            if file.used.iter().any(|id| scopes.contains(&id.location().scope())) {
                file.wake(now);
            }
            if templates && matches!(file.spec.source, Source::File(..)) {
                file.wake(now + SETTLE);
            }
        }
    }

    /// The files that are due: all together, but each that may keep others waiting by itself.
    fn take_due(&mut self) -> Vec<Vec<Due>> {
        let now = Instant::now();
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        for (number, file) in self.files.iter_mut().enumerate() {
            if file.busy || file.due.is_none_or(|due| due > now) {
                continue;
            }
            let is_slow = file.error.is_some_and(RenderError::may_be_slow);
            if is_slow { alone.push(vec![file.take(number)]) } else { together.push(file.take(number)) }
        }
        if !together.is_empty() {
            alone.insert(0, together);
        }
        alone
    }

    fn settle(&mut self, outcome: Outcome) {
        let Some(file) = self.files.get_mut(outcome.number) else { return };
        file.busy = false;
        let well = outcome.state == State::Rendered;
        file.failures = if well { 0 } else { file.failures.saturating_add(1) };
        if outcome.loaded.is_some() {
            file.loaded = outcome.loaded;
        }
        if !outcome.used.is_empty() {
            file.used = outcome.used;
        }
        file.known = outcome.known;
        if !well {
            let pause = PAUSE_MIN.saturating_mul(1 << file.failures.saturating_sub(1).min(10)).min(PAUSE_MAX);
            file.wake(Instant::now() + jitter::around(pause));
        }
        let error = outcome.error;
        file.error = error;
        let report = Report {
            state: outcome.state,
            error: error.map(RenderError::kind),
            sentence: error.map(|error| error.to_string()),
            next: if well { None } else { file.due },
        };
        let name = file.spec.name.as_str();
        if self.board.report(file.place, report) {
            match (well, error) {
                (true, _) => tracing::info!(file = name, "the file is rendered"),
                (false, Some(error)) => {
                    tracing::warn!(file = name, kind = error.kind(), "the file is not rendered: {error}");
                }
                (false, None) => {}
            }
        }
        if outcome.changed
            && let Some(notices) = &file.notices
        {
            notices.changed();
        }
    }

    /// Looks at every file that is well: whether its secrets are still what they were, and it may still have them.
    async fn look(&mut self) {
        let context = (self.who)();
        for file in self.files.iter_mut().filter(|file| !file.busy && file.failures == 0) {
            let from_file = matches!(file.spec.source, Source::File(..));
            if !from_file && self.bench.operations.is_still(&context, &file.known).await {
                self.board.confirm(file.place);
            } else {
                file.wake(Instant::now());
            }
        }
        let set = Arc::clone(&self.bench.set);
        if let Ok(mut writer) = set.try_lock_owned() {
            // A few names, of which there is most often none.
            let swept = tokio::task::spawn_blocking(move || writer.set.sweep());
            drop(swept.await);
        }
    }
}
