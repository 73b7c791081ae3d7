//! What is known of each file, for people and for metrics: never a value, and no text but names of ours.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::spec::{FileSpec, SetSpec};

/// What has become of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not tried yet.
    Pending,
    /// As it should be.
    Rendered,
    /// Left as it was, because a secret is missing and `onMissing` says so.
    Kept,
    /// Empty, because a secret is missing and `onMissing` says so.
    Emptied,
    /// Left as it was, or not there.
    Failed,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Rendered => "rendered",
            Self::Kept => "kept",
            Self::Emptied => "emptied",
            Self::Failed => "failed",
        }
    }
}

/// A file that is not as it should be.
pub struct FailedFile {
    /// Its name.
    pub name: String,
    /// Why, in a sentence without a value.
    pub reason: String,
    /// Whether somebody waits for it.
    pub required: bool,
}

/// One try.
#[derive(Clone, Debug)]
pub struct Report {
    /// What has become of the file.
    pub state: State,
    /// The kind of the last error.
    pub error: Option<&'static str>,
    /// The same as a sentence.
    pub sentence: Option<String>,
    /// When it is tried again, if that is not when something changes.
    pub next: Option<Instant>,
}

/// What has become of an action.
#[derive(Clone, Copy, Debug)]
pub struct ActionReport {
    /// `waiting`, `done` or `failed`.
    pub state: &'static str,
    /// The kind of the last error.
    pub error: Option<&'static str>,
    /// When it is tried again.
    pub next: Option<Instant>,
}

#[derive(Clone, Debug, EncodeLabelSet, Hash, PartialEq, Eq)]
struct FileLabel {
    file: String,
}

/// All files of an agent.
#[derive(Clone, Default)]
pub struct Board {
    lines: Arc<Mutex<Vec<Line>>>,
    success: Family<FileLabel, Counter>,
    failure: Family<FileLabel, Counter>,
}

struct Line {
    name: String,
    path: String,
    required: bool,
    /// It was once as it should be, or as `onMissing` says.
    settled: bool,
    /// Since when it is known to be as it should be.
    fresh: Option<Instant>,
    report: Report,
    action: Option<(&'static str, Option<ActionReport>)>,
}

/// Which line of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

impl Board {
    /// Puts a file on the board.
    pub fn add(&self, set: &SetSpec, file: &FileSpec) -> Place {
        let label = FileLabel { file: file.name.clone() };
        // Both families have each file from the start, so that a rate can be told from nothing.
        drop((self.success.get_or_create(&label), self.failure.get_or_create(&label)));
        let mut lines = self.lock();
        lines.push(Line {
            name: file.name.clone(),
            path: Path::new(&set.directory).join(file.destination.as_str()).display().to_string(),
            required: file.required,
            settled: false,
            fresh: None,
            report: Report { state: State::Pending, error: None, sentence: None, next: None },
            action: file.on_change.as_ref().map(|on_change| (on_change.action.as_str(), None)),
        });
        Place(lines.len() - 1)
    }

    /// Adds the counters to `registry`; the ages are a collector, which is the board itself.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("render_success", "Files that were rendered", self.success.clone());
        registry.register("render_failure", "Tries to render a file that failed", self.failure.clone());
    }

    /// Takes down what came of a try. Answers whether that is another error than the last.
    pub fn report(&self, place: Place, report: Report) -> bool {
        let mut lines = self.lock();
        let Some(line) = lines.get_mut(place.0) else { return false };
        let label = FileLabel { file: line.name.clone() };
        let count = if report.state == State::Rendered { &self.success } else { &self.failure };
        count.get_or_create(&label).inc();
        if report.state == State::Rendered {
            line.fresh = Some(Instant::now());
        }
        line.settled |= !matches!(report.state, State::Failed | State::Pending);
        let news = line.report.error != report.error || line.report.state != report.state;
        line.report = report;
        news
    }

    /// It was looked, and the file is as it should be still.
    pub fn confirm(&self, place: Place) {
        if let Some(line) = self.lock().get_mut(place.0) {
            line.fresh = Some(Instant::now());
        }
    }

    /// Takes down what has become of an action.
    pub fn report_action(&self, place: Place, report: ActionReport) {
        if let Some(line) = self.lock().get_mut(place.0)
            && let Some((_, last)) = &mut line.action
        {
            *last = Some(report);
        }
    }

    /// The files, as `/status` shows them.
    #[must_use]
    pub fn status(&self) -> Value {
        let now = Instant::now();
        let seconds = |until: Option<Instant>| until.map(|at| at.saturating_duration_since(now).as_secs_f32().ceil());
        let lines = self.lock();
        let shown = lines.iter().map(|line| {
            let action = line.action.as_ref().map(|(name, report)| {
                json!({
                    "action": name,
                    "state": report.map_or("idle", |report| report.state),
                    "error": report.and_then(|report| report.error),
                    "nextTrySeconds": report.and_then(|report| seconds(report.next)),
                })
            });
            json!({
                "name": line.name,
                "path": line.path,
                "state": line.report.state.as_str(),
                "required": line.required,
                "settled": line.settled,
                "ageSeconds": line.fresh.map(|fresh| now.saturating_duration_since(fresh).as_secs()),
                "error": line.report.error,
                "reason": line.report.sentence,
                "nextTrySeconds": seconds(line.report.next),
                "onChange": action,
            })
        });
        shown.collect()
    }

    /// Every file that is not as it should be.
    #[must_use]
    pub fn failures(&self) -> Vec<FailedFile> {
        let lines = self.lock();
        let failed = lines.iter().filter(|line| matches!(line.report.state, State::Failed | State::Pending));
        failed
            .map(|line| FailedFile {
                name: line.name.clone(),
                reason: line.report.sentence.clone().unwrap_or_else(|| "it was not tried".to_owned()),
                required: line.required,
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        // Each line is replaced member by member, and any of them is true by itself.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Board")
    }
}

/// `cloakroom_render_age_seconds{file}`: how long ago a file was last known to be as it should be.
impl Collector for Board {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = Instant::now();
        let lines = self.lock();
        let known: Vec<_> = lines.iter().filter_map(|line| Some((line.name.as_str(), line.fresh?))).collect();
        if known.is_empty() {
            return Ok(());
        }
        let help = "Seconds since a file was last known to be as it should be";
        let mut family =
            encoder.encode_descriptor("cloakroom_render_age", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for (name, fresh) in known {
            let age = now.saturating_duration_since(fresh).as_secs_f64();
            ConstGauge::new(age).encode(family.encode_family(&[("file", name)])?)?;
        }
        Ok(())
    }
}
