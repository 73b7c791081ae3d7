//! The command `render`: every file of a configuration once, for init containers and pipelines.

use std::path::Path;
use std::time::Duration;

use super::console::Console;
use super::environment::Environment;
use super::error::CliError;
use super::{client, configuration};
use crate::{hardening, run, telemetry};

pub(super) fn run(
    option: Option<&Path>,
    wait: u64,
    environment: &Environment,
    console: &mut Console,
) -> Result<(), CliError> {
    hardening::harden().map_err(|error| CliError::Start(error.into()))?;
    let config = configuration::load(option, environment)?;
    if config.render.is_empty() {
        return Err(CliError::ConfigurationSource {
            what: "the configuration has no files to render".to_owned(),
            advice: "list them under `render` or `renderSets`",
        });
    }
    configuration::check_sources(&config)?;
    let filter = environment.get("CLOAKROOM_LOG").map(|filter| filter.to_string_lossy().into_owned());
    // What failed is told at the end, in a line each: the log would tell it twice.
    let log = telemetry::init(&config.log, Some(filter.as_deref().unwrap_or("error")));
    let runtime = client::runtime()?;
    let failed = runtime
        .block_on(run::render(config, environment.api_server(), Duration::from_secs(wait)))
        .map_err(CliError::Start)?;
    runtime.shutdown_background();
    drop(log);
    let (required, optional): (Vec<_>, Vec<_>) = failed.into_iter().partition(|file| file.required);
    for file in optional {
        writeln!(console.errors, "cloakroom: note: {}, which is not required: {}", file.name, file.reason)?;
    }
    if required.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = required.into_iter().map(|file| format!("{}: {}", file.name, file.reason)).collect();
    Err(CliError::NotRendered { lines: lines.join("\ncloakroom: ") })
}
