//! The configuration as text: where an agent takes it from, and the commands that check and describe it.

use std::fs::File;
use std::path::Path;

use super::arguments::ConfigCommand;
use super::console::Console;
use super::environment::Environment;
use super::error::CliError;
use super::source;
use crate::config::{self, Config};

const ONE_SOURCE: &str = "give exactly one of --config FILE, CLOAKROOM_CONFIG_INLINE and CLOAKROOM_CONFIG, or --dev";

pub(super) fn run(command: &ConfigCommand, console: &mut Console) -> Result<(), CliError> {
    match command {
        ConfigCommand::Check { file } => {
            let text = if file.as_os_str() == "-" {
                text_of(&source::read(&mut console.input, "standard input")?, "standard input")?
            } else {
                file_text(file)?
            };
            Config::parse(&text).map_err(CliError::Configuration)?;
            Ok(console.line("ok")?)
        }
        ConfigCommand::Schema => Ok(console.line(format!("{:#}", config::schema()))?),
    }
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
    Config::parse(&text).map_err(CliError::Configuration)
}

fn file_text(file: &Path) -> Result<String, CliError> {
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
