//! The command `agent`: hardens the process, settles the configuration, and runs until a signal.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::arguments::AgentArguments;
use super::console::Console;
use super::environment::Environment;
use super::error::CliError;
use super::{banner, client, configuration};
use crate::admin::AdminAddress;
use crate::config::Config;
use crate::{hardening, run, telemetry};

/// Where an injected pod has its tokens. A development agent allows everything, so it must never start beside them.
const TOKENS: &str = "/var/run/secrets/cloakroom";

pub(super) fn run(
    arguments: AgentArguments,
    socket: Option<PathBuf>,
    environment: &Environment,
    console: &mut Console,
) -> Result<(), CliError> {
    // Before anything is read: from here on no other process of this user can look into this one.
    hardening::harden().map_err(|error| CliError::Start(error.into()))?;
    let admin = arguments.admin.as_deref().map(parse_admin).transpose()?;
    let program = if arguments.dev { Some(std::env::current_exe().map_err(CliError::Runtime)?) } else { None };
    let config = if arguments.dev {
        dev(arguments, socket, admin.flatten(), environment)?
    } else {
        let mut config = configuration::load(arguments.config.as_deref(), environment)?;
        if let Some(socket) = socket {
            config.listen.socket = socket;
        }
        if let Some(admin) = admin {
            config.listen.admin = admin;
        }
        config
    };
    let filter = environment.get("CLOAKROOM_LOG").map(|filter| filter.to_string_lossy());
    // Dropped last, so that the log ends with what ended the agent.
    let _log = telemetry::init(&config.log, filter.as_deref());

    let mut printed = Ok(());
    let started = |started: &run::Started| {
        if let Some(program) = &program {
            printed = banner::write(&mut console.output, program, &started.socket);
        }
    };
    client::runtime()?.block_on(run::agent(config, environment.api_server(), started)).map_err(CliError::Start)?;
    // A banner that nobody could read is no reason to stop an agent that serves.
    Ok(printed?)
}

/// The configuration of `--dev`.
fn dev(
    arguments: AgentArguments,
    socket: Option<PathBuf>,
    admin: Option<AdminAddress>,
    environment: &Environment,
) -> Result<Config, CliError> {
    let refused = |what: &str, advice| CliError::ConfigurationSource { what: what.to_owned(), advice };
    if configuration::sources(arguments.config.as_deref(), environment) > 0 {
        let what = "--dev takes none, and --config, CLOAKROOM_CONFIG_INLINE or CLOAKROOM_CONFIG gives one";
        return Err(refused(what, "take --dev or the configuration away"));
    }
    if Path::new(TOKENS).exists() {
        let what = format!("--dev allows everything, and this machine has Cloakroom tokens in {TOKENS}");
        return Err(refused(&what, "run the agent with a configuration"));
    }
    let nowhere = CliError::Usage {
        what: "there is no place for the agent's state, because neither XDG_STATE_HOME nor HOME is an absolute path",
        advice: "give one with --state-dir",
    };
    let state = arguments.state_dir.or_else(|| environment.dev_state()).ok_or(nowhere)?;
    let state = absolute(state)?;
    let socket = match socket {
        Some(socket) => absolute(socket)?,
        None => environment.dev_socket(Some(state.clone())).unwrap_or_else(|| state.join("agent.sock")),
    };
    let created = DirBuilder::new().recursive(true).mode(0o700).create(&state);
    created.map_err(|source| CliError::StateDirectory { directory: state.clone(), source })?;
    Ok(Config::dev(&state, &socket, admin))
}

/// The banner's commands have to work in every directory.
fn absolute(path: PathBuf) -> Result<PathBuf, CliError> {
    std::path::absolute(&path).map_err(|source| CliError::StateDirectory { directory: path, source })
}

/// `None` is an admin listener that is turned off.
fn parse_admin(text: &str) -> Result<Option<AdminAddress>, CliError> {
    if text.is_empty() {
        return Ok(None);
    }
    AdminAddress::parse(text).map(Some).ok_or(CliError::Usage {
        what: "--admin is no address",
        advice: "write 127.0.0.1:9187, unix:/PATH, or \"\" to turn the admin listener off",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_listener_is_an_address_a_socket_or_off() {
        assert_eq!(parse_admin("").unwrap(), None);
        assert_eq!(parse_admin("unix:/a/b").unwrap(), Some(AdminAddress::Unix("/a/b".into())));
        assert_eq!(parse_admin("[::1]:1").unwrap(), Some(AdminAddress::Tcp("[::1]:1".parse().unwrap())));
        for wrong in ["unix:a", "localhost:1", "127.0.0.1", "/a"] {
            assert!(parse_admin(wrong).is_err(), "{wrong}");
        }
    }
}
