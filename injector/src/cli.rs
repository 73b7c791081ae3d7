//! The command line of `cloakroom-injector`: what can be typed, and the exit status that scripts see.

mod arguments;

use std::ffi::OsString;
use std::io::{self, Write as _};

use clap::Parser as _;
use cloakroom_agent::admin::AdminAddress;
use cloakroom_agent::cli::{Console, Exit, completions};
use cloakroom_agent::config::{LogConfig, LogFormat};
use cloakroom_agent::kubernetes::{Address, ApiServer};
use cloakroom_agent::{hardening, telemetry};

use crate::certificate::{Lifetimes, service_names};
use crate::check;
use crate::publish::Names;
use crate::run::{self, Certificates, Options};
use crate::settings_file::{self, SettingsError};
use arguments::{Arguments, CheckArguments, Command, ConfigCommand, ServeArguments};

/// What of the environment is looked at.
#[derive(Debug, Default)]
pub struct Environment {
    /// `KUBERNETES_SERVICE_HOST`.
    pub api_host: Option<String>,
    /// `KUBERNETES_SERVICE_PORT`.
    pub api_port: Option<String>,
    /// `CLOAKROOM_LOG`.
    pub log: Option<String>,
}

impl Environment {
    /// Picks them out of all variables.
    #[must_use]
    pub fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            let value = value.into_string().ok().filter(|value| !value.is_empty());
            match name.to_str() {
                Some("KUBERNETES_SERVICE_HOST") => environment.api_host = value,
                Some("KUBERNETES_SERVICE_PORT") => environment.api_port = value,
                Some("CLOAKROOM_LOG") => environment.log = value,
                _ => {}
            }
        }
        environment
    }
}

/// Why a command ended without doing what it was asked.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Arguments(clap::Error),
    #[error("{0}")]
    Usage(&'static str),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("cannot start")]
    Start(#[source] anyhow::Error),
    #[error("something is not as it has to be")]
    NotSo,
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// Runs one command; the first argument is the program's own name.
pub fn run(arguments: impl IntoIterator<Item = OsString>, environment: &Environment, console: &mut Console) -> Exit {
    let ended = Arguments::try_parse_from(arguments)
        .map_err(CliError::Arguments)
        .and_then(|arguments| dispatch(arguments.command, environment, console));
    match ended.and_then(|()| Ok(console.output.flush()?)) {
        Ok(()) => Exit::Done,
        Err(error) => report(&error, console),
    }
}

fn dispatch(command: Command, environment: &Environment, console: &mut Console) -> Result<(), CliError> {
    match command {
        Command::Serve(arguments) => serve(*arguments, environment),
        Command::Check(arguments) => check(&arguments, environment, console),
        Command::Config { command: ConfigCommand::Check { file } } => {
            settings_file::read(&file)?;
            Ok(writeln!(console.output, "ok")?)
        }
        Command::Completions { shell } => Ok(completions::<Arguments>(shell, "cloakroom-injector", console)?),
        Command::Version => Ok(writeln!(console.output, concat!("cloakroom-injector ", env!("CARGO_PKG_VERSION")))?),
    }
}

fn serve(arguments: ServeArguments, environment: &Environment) -> Result<(), CliError> {
    // Before anything is read: from here on no other process of this user can look into this one.
    hardening::harden().map_err(|error| CliError::Start(error.into()))?;
    // Before anything listens: a wrong configuration never becomes ready, and the pods with the right one go on.
    let settings = settings_file::read(&arguments.config)?;
    let admin = admin(&arguments.admin)?;
    let log = LogConfig { level: None, format: LogFormat::Auto };
    // Dropped last, so that the log ends with what ended the injector.
    let _log = telemetry::init(&log, environment.log.as_deref());
    let options = Options {
        settings,
        listen: arguments.listen,
        admin,
        api_server: Address::from_environment(environment.api_host.as_deref(), environment.api_port.as_deref()),
        token_directory: arguments.token_dir.clone(),
        namespace: arguments.namespace.clone(),
        count_pods: !arguments.without_pod_count,
        drain_delay: arguments.drain_delay.into(),
        certificates: certificates(arguments)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(|error| CliError::Start(error.into()))?;
    runtime.block_on(run::injector(options, |_| {})).map_err(CliError::Start)
}

fn check(arguments: &CheckArguments, environment: &Environment, console: &mut Console) -> Result<(), CliError> {
    if !is_name(&arguments.namespace) {
        return Err(CliError::Usage(NAME));
    }
    let address = Address::from_environment(environment.api_host.as_deref(), environment.api_port.as_deref());
    let api = ApiServer::new(&address, &arguments.token_dir).map_err(|error| CliError::Start(error.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Start(error.into()))?;
    let found = runtime.block_on(check::check(&api, &arguments.namespace));
    write!(console.output, "{found}")?;
    if found.good() { Ok(()) } else { Err(CliError::NotSo) }
}

fn certificates(arguments: ServeArguments) -> Result<Certificates, CliError> {
    if let Some(directory) = arguments.certificate_dir {
        return Ok(Certificates::Files(directory));
    }
    let missing = "without --certificate-dir, --webhook-configuration, --secret and --service are needed";
    let names = Names {
        hosts: service_names(arguments.service.as_deref().ok_or(CliError::Usage(missing))?, &arguments.namespace),
        configuration: arguments.webhook_configuration.ok_or(CliError::Usage(missing))?,
        secret: arguments.secret.ok_or(CliError::Usage(missing))?,
        namespace: arguments.namespace,
    };
    let all = [&names.configuration, &names.secret, &names.namespace];
    if !all.into_iter().chain(&names.hosts).all(|name| is_name(name)) {
        return Err(CliError::Usage(NAME));
    }
    let lifetimes = Lifetimes { leaf: arguments.leaf_lifetime.into(), authority: arguments.authority_lifetime.into() };
    // An authority is replaced with a third of it left: every leaf that it makes until then must end before it does.
    if lifetimes.authority < lifetimes.leaf * 4 {
        return Err(CliError::Usage("--authority-lifetime must be at least four times --leaf-lifetime"));
    }
    Ok(Certificates::Own { names, lifetimes })
}

const NAME: &str = "a name of a Kubernetes object has only a-z, 0-9, - and .";

/// Names stand in paths of the API server as they are.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    !name.is_empty() && name.len() <= 253 && !name.starts_with('.') && name.bytes().all(fits)
}

/// `None` is an admin listener that is turned off.
fn admin(text: &str) -> Result<Option<AdminAddress>, CliError> {
    if text.is_empty() {
        return Ok(None);
    }
    let usage = CliError::Usage("--admin is 0.0.0.0:9187, unix:/PATH, or \"\" for nowhere");
    AdminAddress::parse(text).map(Some).ok_or(usage)
}

fn report(error: &CliError, console: &mut Console) -> Exit {
    if let CliError::Arguments(error) = error {
        let (help, exit) = (error.to_string(), if error.use_stderr() { Exit::Usage } else { Exit::Done });
        let stream = if error.use_stderr() { &mut console.errors } else { &mut console.output };
        // Nobody reads it: the exit status says the rest.
        return if stream.write_all(help.as_bytes()).is_ok() { exit } else { Exit::Failed };
    }
    let mut text = format!("cloakroom-injector: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    drop(writeln!(console.errors, "{text}"));
    match error {
        CliError::Arguments(_) | CliError::Usage(_) => Exit::Usage,
        CliError::Settings(_) => Exit::Configuration,
        CliError::Start(_) | CliError::NotSo | CliError::Output(_) => Exit::Failed,
    }
}
