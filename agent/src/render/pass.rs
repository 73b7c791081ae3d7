//! One pass: some files of a set, made of the same values and put in their places by one swap.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::board::State;
use super::content::{Content, ContentError, FILE_BYTES_MAX, Made};
use super::place::{Destination, PlaceError};
use super::set::{Set, Written};
use super::source;
use super::spec::{OnMissing, Source, SourceKind};
use super::template::Mistake;
use super::values::Values;
use crate::access::AccessError;
use crate::backend::BackendError;
use crate::id::{Checksum, Location, SecretId};
use crate::operations::{Context, Each, OperationError, Operations};

/// Rounds of running and fetching: a template may ask for a secret only once it knows another.
const ROUNDS: usize = 8;

/// Enough of a file to know it again.
pub(super) type Digest = [u8; 32];

/// A file that is due.
pub(super) struct Due {
    /// Its number in the set.
    pub(super) number: usize,
    pub(super) source: Source,
    pub(super) format: super::format::Format,
    pub(super) on_missing: OnMissing,
    /// What it was made of last time, if that is in a file: not read again where the text is the same.
    pub(super) loaded: Option<Loaded>,
    /// What it used last time.
    pub(super) used: Vec<SecretId>,
}

/// A source file as it was read.
#[derive(Clone)]
pub(super) struct Loaded {
    text: Digest,
    pub(super) content: Arc<Content>,
}

/// What came of a file.
pub(super) struct Outcome {
    pub(super) number: usize,
    pub(super) state: State,
    pub(super) error: Option<RenderError>,
    pub(super) loaded: Option<Loaded>,
    /// What it was made of.
    pub(super) used: Vec<SecretId>,
    pub(super) known: Vec<(Location, Checksum)>,
    /// It is another than before, in place of one.
    pub(super) changed: bool,
}

/// Why a file is not as it should be. Holds no value, and no text but what the operator wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RenderError {
    #[error("the template or document cannot be read: {0}")]
    Load(std::io::ErrorKind),
    #[error("the template or document is larger than the limit, or is no text")]
    NotText,
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error("one of its secrets does not exist")]
    Missing,
    #[error("one of its secrets may not be read")]
    Denied,
    #[error("there is nothing to keep: one of its secrets is missing, and there was no file before")]
    NothingToKeep,
    #[error("its secrets cannot be had: {0}")]
    Operation(OperationError),
    #[error("a template goes on asking for other secrets")]
    Rounds,
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("internal error")]
    Internal,
}

impl RenderError {
    /// The kind, as `/status` names it.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Load(_) | Self::NotText => "source",
            Self::Content(error) => error.kind(),
            Self::Missing | Self::NothingToKeep => "missing",
            Self::Denied => "denied",
            Self::Operation(OperationError::Access(AccessError::NotAuthenticated)) => "identity",
            Self::Operation(OperationError::AuditUnavailable) => "audit",
            Self::Operation(OperationError::RateLimited(_)) => "rate_limited",
            Self::Operation(OperationError::Internal) | Self::Internal => "internal",
            Self::Rounds | Self::Operation(OperationError::SubKeyOfScalar | OperationError::Id(_)) => "template",
            Self::Place(PlaceError::Full(_)) => "no_space",
            Self::Place(PlaceError::ReadOnly) => "read_only",
            Self::Place(_) => "write",
            Self::Operation(_) => "unavailable",
        }
    }

    fn of(error: OperationError) -> Self {
        match error {
            OperationError::Access(AccessError::Denied) | OperationError::Backend(BackendError::Denied) => Self::Denied,
            OperationError::Backend(BackendError::Absent | BackendError::ScopeMissing) => Self::Missing,
            other => Self::Operation(other),
        }
    }

    /// Whether the next try may keep others waiting.
    pub(super) fn may_be_slow(self) -> bool {
        match self {
            Self::Operation(_) | Self::Internal | Self::Rounds => true,
            Self::Content(ContentError::Template(error)) => matches!(error.mistake, Mistake::Time | Mistake::Work),
            Self::Load(_)
            | Self::NotText
            | Self::Content(_)
            | Self::Missing
            | Self::Denied
            | Self::NothingToKeep
            | Self::Place(_) => false,
        }
    }

    /// Whether it may be otherwise in a moment, with nobody doing anything.
    pub(super) fn may_pass(self) -> bool {
        match self {
            Self::Operation(error) => {
                !matches!(error, OperationError::Internal | OperationError::SubKeyOfScalar | OperationError::Id(_))
            }
            _ => false,
        }
    }

    /// Whether `onMissing` is about it.
    fn is_missing(self) -> bool {
        matches!(self, Self::Missing | Self::Denied)
    }
}

/// What a pass works with.
pub(super) struct Bench {
    pub(super) operations: Arc<Operations>,
    pub(super) set: Arc<Mutex<Writer>>,
}

/// The set, and what is in it.
pub(super) struct Writer {
    pub(super) set: Set,
    pub(super) files: Vec<(Destination, u32, Option<Digest>)>,
}

/// A file on its way.
struct Job {
    due: Due,
    content: Option<Arc<Content>>,
    text: Option<Zeroizing<Vec<u8>>>,
    error: Option<RenderError>,
    missing: Vec<SecretId>,
}

/// Makes the files that are due, and puts them in their places.
pub(super) async fn run(bench: &Arc<Bench>, context: &Context, due: Vec<Due>) -> Vec<Outcome> {
    let numbers: Vec<usize> = due.iter().map(|due| due.number).collect();
    match make(bench, context, due).await {
        Some(outcomes) => outcomes,
        // A panic of ours: reported, and nothing was swapped that was not whole.
        None => numbers.into_iter().map(|number| failed(number, RenderError::Internal)).collect(),
    }
}

async fn make(bench: &Arc<Bench>, context: &Context, due: Vec<Due>) -> Option<Vec<Outcome>> {
    let mut jobs = tokio::task::spawn_blocking(move || due.into_iter().map(load).collect::<Vec<_>>()).await.ok()?;
    let mut values = Values::default();
    let mut asked: HashMap<Location, Option<OperationError>> = HashMap::new();
    for round in 0.. {
        // In the first round what is known to be needed; then what a template asked for beside that.
        let mut wanted: BTreeMap<Location, SecretId> = BTreeMap::new();
        for job in jobs.iter().filter(|job| job.error.is_none() && job.text.is_none()) {
            let known = job.content.iter().flat_map(|content| content.ids());
            let first = known.chain(&job.due.used).filter(|_| round == 0);
            for id in first.chain(&job.missing).filter(|id| !asked.contains_key(id.location())) {
                wanted.entry(id.location().clone()).or_insert_with(|| id.clone());
            }
        }
        let found = bench.operations.render(context, wanted.into_values().collect()).await;
        for (location, each) in found {
            asked.insert(location.clone(), take(&mut values, location, each));
        }
        let shared = Arc::new(values.clone());
        let worked = tokio::task::spawn_blocking(move || {
            for job in &mut jobs {
                work(job, &shared);
            }
            jobs
        });
        jobs = worked.await.ok()?;
        let mut again = false;
        for job in jobs.iter_mut().filter(|job| !job.missing.is_empty()) {
            let known = job.missing.iter().filter_map(|id| asked.get(id.location()));
            if let Some(error) = known.flatten().next() {
                job.error = Some(RenderError::of(*error));
            } else if round + 1 == ROUNDS {
                job.error = Some(RenderError::Rounds);
            } else {
                again = true;
            }
        }
        if !again {
            break;
        }
    }
    let mut writer = Arc::clone(&bench.set).lock_owned().await;
    tokio::task::spawn_blocking(move || {
        let outcomes = place(&mut writer, jobs, &values);
        drop(writer);
        outcomes
    })
    .await
    .ok()
}

fn take(values: &mut Values, location: Location, each: Each) -> Option<OperationError> {
    match each {
        Ok(served) => {
            values.insert(location, served.entry);
            None
        }
        Err(error) => Some(error),
    }
}

/// Reads what is in a file, and has it as content.
fn load(due: Due) -> Job {
    let mut job = Job { due, content: None, text: None, error: None, missing: Vec::new() };
    let (path, kind) = match &job.due.source {
        Source::Inline(content) => {
            job.content = Some(Arc::clone(content));
            return job;
        }
        Source::File(path, kind) => (path, *kind),
    };
    let read = source::read(path).and_then(|text| {
        let digest = Sha256::digest(&*text).into();
        if let Some(loaded) = job.due.loaded.as_ref().filter(|loaded| loaded.text == digest) {
            return Ok(loaded.clone());
        }
        let content = match kind {
            SourceKind::Template => Content::template(&text),
            SourceKind::Document => Content::document(job.due.format, &text),
        };
        Ok(Loaded { text: digest, content: Arc::new(content?) })
    });
    match read {
        Ok(loaded) => {
            job.content = Some(Arc::clone(&loaded.content));
            job.due.loaded = Some(loaded);
        }
        Err(error) => job.error = Some(error),
    }
    job
}

/// One try with what is known.
fn work(job: &mut Job, values: &Arc<Values>) {
    if job.error.is_some() || job.text.is_some() {
        return;
    }
    let Some(content) = &job.content else { return };
    job.missing.clear();
    match content.make(values) {
        Ok(Made::File(text)) => job.text = Some(text),
        Ok(Made::Missing(ids)) => {
            job.due.used.extend(ids.iter().cloned());
            job.missing = ids;
        }
        Err(error) => job.error = Some(error.into()),
    }
}

/// Writes what is another than before, all of it in one swap.
fn place(writer: &mut Writer, jobs: Vec<Job>, values: &Values) -> Vec<Outcome> {
    let mut contents: HashMap<usize, (Zeroizing<Vec<u8>>, Digest)> = HashMap::new();
    let mut outcomes = Vec::with_capacity(jobs.len());
    for mut job in jobs {
        let number = job.due.number;
        let Some((destination, mode, digest)) = writer.files.get(number) else { continue };
        let exists = digest.is_some();
        let missing = job.error.is_some_and(RenderError::is_missing);
        let state = match (&job.error, job.due.on_missing) {
            (None, _) => State::Rendered,
            (Some(_), OnMissing::Empty) if missing => {
                job.text = Some(Zeroizing::new(Vec::new()));
                State::Emptied
            }
            (Some(_), OnMissing::Keep) if missing && exists => State::Kept,
            (Some(_), OnMissing::Keep) if missing => {
                job.error = Some(RenderError::NothingToKeep);
                State::Failed
            }
            (Some(_), _) => State::Failed,
        };
        let mut changed = false;
        if let Some(text) = job.text.take().filter(|_| state != State::Failed) {
            let fresh: Digest = Sha256::digest(&*text).into();
            let same = *digest == Some(fresh) && writer.set.is_as_it_should(destination, *mode);
            if !same {
                changed = exists && *digest != Some(fresh);
                contents.insert(number, (text, fresh));
            }
        }
        outcomes.push(outcome(job, state, changed, values));
    }
    if !contents.is_empty()
        && let Err(error) = write(writer, &contents)
    {
        for outcome in outcomes.iter_mut().filter(|outcome| contents.contains_key(&outcome.number)) {
            outcome.state = State::Failed;
            outcome.error = Some(error.into());
            outcome.changed = false;
        }
    }
    outcomes
}

fn outcome(job: Job, state: State, changed: bool, values: &Values) -> Outcome {
    let content = job.content.iter().flat_map(|content| content.ids());
    let used: BTreeMap<Location, SecretId> =
        content.chain(&job.due.used).map(|id| (id.location().clone(), id.clone())).collect();
    let known = used.keys().filter_map(|location| Some((location.clone(), values.checksum(location)?.clone())));
    Outcome {
        number: job.due.number,
        state,
        error: job.error,
        known: known.collect(),
        loaded: job.due.loaded,
        used: used.into_values().collect(),
        changed,
    }
}

fn write(writer: &mut Writer, contents: &HashMap<usize, (Zeroizing<Vec<u8>>, Digest)>) -> Result<(), PlaceError> {
    let files: Vec<Written<'_>> = writer
        .files
        .iter()
        .enumerate()
        .map(|(number, (destination, mode, _))| Written {
            destination,
            mode: *mode,
            content: contents.get(&number).map(|(content, _)| content.as_slice()),
        })
        .collect();
    writer.set.write(&files)?;
    for (number, (_, digest)) in contents {
        if let Some(file) = writer.files.get_mut(*number) {
            file.2 = Some(*digest);
        }
    }
    Ok(())
}

fn failed(number: usize, error: RenderError) -> Outcome {
    Outcome {
        number,
        state: State::Failed,
        error: Some(error),
        loaded: None,
        used: Vec::new(),
        known: Vec::new(),
        changed: false,
    }
}

impl Writer {
    /// What is in the set already: it is not written again, and not taken for a change.
    pub(super) fn new(set: Set, files: Vec<(Destination, u32)>) -> Self {
        let files = files.into_iter().map(|(destination, mode)| {
            let digest = set.read(&destination, FILE_BYTES_MAX).map(|content| Sha256::digest(&*content).into());
            (destination, mode, digest)
        });
        let files = files.collect();
        Self { set, files }
    }
}
