//! The log of a process: to stderr, never waiting for its reader, never more than so many lines.

mod lines;

use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;
use std::str::FromStr as _;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};
pub use lines::Flush;
use lines::Lines;

/// Starts the log. `filter` is what the environment asks for; a level that the operator fixed stands above it. The last
/// lines are written when the guard is dropped.
#[must_use]
pub fn init(settings: &LogConfig, filter: Option<&str>) -> Option<Flush> {
    let wanted = settings.level.or(filter).unwrap_or("info");
    // By target and level only: a filter with regular expressions is a tenth of the binary, and nobody filters a sidecar
    // by fields.
    let parsed = Targets::from_str(wanted);
    let understood = parsed.is_ok();
    let filter = parsed.unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let terminal = std::io::stderr().is_terminal();
    let (lines, flush) = Lines::start().ok()?;
    let text = match settings.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let started = if text {
        // No colours: a log is read by programs sooner or later, and NO_COLOR then needs no second path.
        registry.with(tracing_subscriber::fmt::layer().with_ansi(false).with_writer(lines)).try_init()
    } else {
        let json = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(lines);
        registry.with(json).try_init()
    };
    if started.is_err() {
        return None;
    }
    std::panic::set_hook(Box::new(panicked));
    if !understood {
        tracing::warn!("CLOAKROOM_LOG is no filter such as info or debug: it is ignored");
    }
    Some(flush)
}

/// A panic's place and nothing else: its message is made from values at hand, and one of them may be a secret.
fn panicked(info: &PanicHookInfo<'_>) {
    let (file, line) = info.location().map_or(("unknown", 0), |place| (place.file(), place.line()));
    tracing::error!(file, line, "a defect of this program: something panicked");
}
