//! The command line of `cloakroom`: parses what was typed, runs the command, and turns its end into an exit status.

mod about;
mod agent;
mod arguments;
mod banner;
mod can_i;
mod client;
mod configuration;
mod console;
mod environment;
mod error;
mod help;
mod onboarding;
mod secrets;
mod source;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, Parser as _};

use arguments::{Arguments, Command, Shell};
pub use console::Console;
pub use environment::Environment;
use error::CliError;
pub use error::Exit;

/// Commands that are announced and not there yet. They must not look like a typing mistake, and must do nothing.
const LATER: [&str; 8] = ["render", "exec", "install", "resolve", "obfuscate", "watch", "conjur", "gateway"];

/// Runs one command on the process's own streams.
pub fn main(arguments: impl IntoIterator<Item = OsString>, environment: &Environment) -> ExitCode {
    run(arguments, environment, &mut Console::standard()).into()
}

/// Runs one command; the first argument is the program's own name.
pub fn run(arguments: impl IntoIterator<Item = OsString>, environment: &Environment, console: &mut Console) -> Exit {
    let ended = parse(arguments).and_then(|arguments| dispatch(arguments, environment, console));
    match ended.and_then(|()| Ok(console.output.flush()?)) {
        Ok(()) => Exit::Done,
        Err(error) => error.report(console),
    }
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, CliError> {
    Arguments::try_parse_from(arguments).map_err(|mut error| {
        if error.kind() == ErrorKind::InvalidSubcommand
            && let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand)
            && let Some(command) = LATER.iter().find(|command| *command == typed)
        {
            return CliError::NotInThisVersion { command };
        }
        hide_typed(&mut error);
        CliError::Arguments(error)
    })
}

/// Takes out of the error what may be a secret: a value typed in a wrong place must not reach the log of a pipeline.
fn hide_typed(error: &mut clap::Error) {
    let hidden = || ContextValue::String("…".to_owned());
    // An empty one is a value that is missing, which clap says in other words.
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue)
        && !value.is_empty()
    {
        error.insert(ContextKind::InvalidValue, hidden());
    }
    let unknown = error.kind() == ErrorKind::UnknownArgument;
    if let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg)
        && unknown
        && !argument.starts_with("--")
    {
        error.insert(ContextKind::InvalidArg, hidden());
        error.remove(ContextKind::Suggested);
    }
}

fn dispatch(arguments: Arguments, environment: &Environment, console: &mut Console) -> Result<(), CliError> {
    let Arguments { socket, json, command } = arguments;
    let client = || client::Client::new(socket.clone(), environment, json);
    match command {
        Command::Agent(arguments) => agent::run(arguments, socket, environment, console),
        Command::Ready { files: _ } => about::ready(&client()?),
        Command::Get(secret) => secrets::get(&client()?, &secret, console),
        Command::Put(arguments) => secrets::put(client, arguments, console),
        Command::Rotate { secret, keep_previous } => {
            secrets::rotate(&client()?, &secret, keep_previous.as_deref(), console)
        }
        Command::Delete(secret) => secrets::delete(&client()?, &secret, console),
        Command::Onboard { scope } => onboarding::onboard(client, scope, console),
        Command::Offboard { scope } => onboarding::offboard(&client()?, &scope, console),
        Command::Whoami { scope } => about::whoami(&client()?, scope.as_deref(), console),
        Command::Status { watch } => about::status(&client()?, watch, console),
        Command::CanI(arguments) => can_i::run(&arguments, json, environment, console),
        Command::Config { command } => configuration::run(&command, console),
        Command::Completions { shell } => completions(shell, console),
        Command::Version => Ok(console.line(concat!("cloakroom ", env!("CARGO_PKG_VERSION")))?),
    }
}

fn completions(shell: Shell, console: &mut Console) -> Result<(), CliError> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    // Into memory first: the generator panics where its writer fails, as a closed pipe does.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "cloakroom", &mut script);
    Ok(console.output.write_all(&script)?)
}
