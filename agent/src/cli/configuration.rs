//! The configuration as text: where an agent takes it from, and the commands that check and describe it.

use std::fs::File;
use std::path::Path;

use super::arguments::ConfigCommand;
use super::console::Console;
use super::environment::Environment;
use super::error::CliError;
use super::{client, source};
use crate::config::{self, Config};
use crate::diagnosis::Verdict;
use crate::{hardening, run};

const ONE_SOURCE: &str = "give exactly one of --config FILE, CLOAKROOM_CONFIG_INLINE and CLOAKROOM_CONFIG, or --dev";

pub(super) fn run(
    command: &ConfigCommand,
    json: bool,
    environment: &Environment,
    console: &mut Console,
) -> Result<(), CliError> {
    match command {
        ConfigCommand::Check { file, online } => {
            let config = if file.as_os_str() == "-" {
                parse(&text_of(&source::read(&mut console.input, "standard input")?, "standard input")?)?
            } else {
                file_config(file)?
            };
            check_sources(&config)?;
            if *online {
                return ask(&config, json, environment, console);
            }
            Ok(console.line("ok")?)
        }
        ConfigCommand::Schema => Ok(console.line(format!("{:#}", config::schema()))?),
    }
}

/// Asks the backend: good findings are the answer, and what is missing is the error.
fn ask(config: &Config, json: bool, environment: &Environment, console: &mut Console) -> Result<(), CliError> {
    // Credentials are read from here on.
    hardening::harden().map_err(|error| CliError::Start(error.into()))?;
    let runtime = client::runtime()?;
    let findings = runtime.block_on(run::check(config, &environment.api_server()));
    // A look-up of a name may outlive its deadline, and nobody waits for it.
    runtime.shutdown_background();
    if json {
        let all = findings.all().iter();
        let list: Vec<_> = all
            .map(|finding| serde_json::json!({"verdict": finding.verdict.as_str(), "sentence": finding.sentence}))
            .collect();
        console.line(serde_json::json!({"ok": findings.failure().is_none(), "findings": list}).to_string())?;
    }
    let (failed, passed): (Vec<_>, Vec<_>) = findings.all().iter().partition(|finding| finding.verdict.is_failure());
    for finding in passed.iter().filter(|_| !json) {
        let mark = if finding.verdict == Verdict::Note { "note: " } else { "" };
        console.line(format!("{mark}{}", finding.sentence))?;
    }
    match findings.failure() {
        None if json => Ok(()),
        None => Ok(console.line("ok")?),
        Some(verdict) => {
            let sentences: Vec<&str> = failed.iter().map(|finding| finding.sentence.as_str()).collect();
            Err(CliError::Check { verdict, sentences: sentences.join("\ncloakroom: ") })
        }
    }
}

/// Templates and documents that are in files, where they are there to be read.
pub(super) fn check_sources(config: &Config) -> Result<(), CliError> {
    let problems = crate::render::check_sources(&config.render);
    if problems.is_empty() { Ok(()) } else { Err(CliError::Configuration(config::Problems::new(problems))) }
}

fn parse(text: &str) -> Result<Config, CliError> {
    Config::parse(text).map_err(CliError::Configuration)
}

/// A configuration out of a file.
pub(super) fn file_config(file: &Path) -> Result<Config, CliError> {
    parse(&file_text(file)?)
}

/// How many sources name a configuration.
pub(super) fn sources(option: Option<&Path>, environment: &Environment) -> usize {
    let variables = ["CLOAKROOM_CONFIG_INLINE", "CLOAKROOM_CONFIG"];
    usize::from(option.is_some()) + variables.iter().filter(|name| environment.get(name).is_some()).count()
}

/// The agent's configuration, from the only source that is given.
pub(super) fn load(option: Option<&Path>, environment: &Environment) -> Result<Config, CliError> {
    let refused = |what: &str| CliError::ConfigurationSource { what: what.to_owned(), advice: ONE_SOURCE };
    match sources(option, environment) {
        0 => return Err(refused("the agent has no configuration")),
        1 => {}
        _ => return Err(refused("the agent has more than one configuration")),
    }
    let text = match (option, environment.get("CLOAKROOM_CONFIG_INLINE")) {
        (Some(file), _) => file_text(file)?,
        (None, Some(text)) => text_of(text.as_encoded_bytes(), "CLOAKROOM_CONFIG_INLINE")?,
        (None, None) => file_text(&environment.path("CLOAKROOM_CONFIG").unwrap_or_default())?,
    };
    parse(&text)
}

pub(super) fn file_text(file: &Path) -> Result<String, CliError> {
    let what = file.display().to_string();
    let read = File::open(file).map_err(|source| CliError::Read { what: what.clone(), source });
    match read.and_then(|file| source::read(file, &what)) {
        Ok(text) => text_of(&text, &what),
        Err(error) => Err(CliError::ConfigurationUnreadable(Box::new(error))),
    }
}

fn text_of(bytes: &[u8], what: &str) -> Result<String, CliError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(CliError::ConfigurationSource {
            what: format!("{what} is not UTF-8 text"),
            advice: "write it as UTF-8",
        }),
    }
}
