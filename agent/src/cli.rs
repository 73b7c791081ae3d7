//! The command line of `cloakroom`: parses what was typed, runs the command, and turns its end into an exit status.

mod about;
mod agent;
mod arguments;
mod banner;
mod can_i;
mod client;
mod configuration;
mod conjur;
mod console;
mod documents;
mod environment;
mod error;
mod events;
mod exec;
mod help;
mod install;
mod onboarding;
mod render;
mod secrets;
mod source;
mod watch;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser as _};

pub use arguments::Shell;
use arguments::{Arguments, Command, ConjurCommand};
pub use console::Console;
pub use environment::Environment;
use error::CliError;
pub use error::Exit;

/// Commands that are announced and not there yet. They must not look like a typing mistake, and must do nothing.
const LATER: [&str; 1] = ["gateway"];

/// Runs one command on the process's own streams.
pub fn main(arguments: impl IntoIterator<Item = OsString>, environment: &Environment) -> ExitCode {
    run(arguments, environment, &mut Console::standard()).into()
}

/// Runs one command; the first argument is the program's own name.
pub fn run(arguments: impl IntoIterator<Item = OsString>, environment: &Environment, console: &mut Console) -> Exit {
    let ended = parse(arguments).and_then(|arguments| dispatch(arguments, environment, console));
    match ended.and_then(|exit| Ok(console.output.flush().map(|()| exit)?)) {
        Ok(exit) => exit,
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

fn dispatch(arguments: Arguments, environment: &Environment, console: &mut Console) -> Result<Exit, CliError> {
    let Arguments { socket, json, command } = arguments;
    let client = || client::Client::new(socket.clone(), environment, json);
    match command {
        Command::Exec(arguments) => return exec::run(&arguments, socket, environment, console),
        Command::Install { directory } => install::run(&directory, console),
        Command::Agent(arguments) => agent::run(arguments, socket, environment, console),
        Command::Ready { files } => about::ready(&client()?, files),
        Command::Render { config, wait } => render::run(config.as_deref(), wait, environment, console),
        Command::Get(secret) => secrets::get(&client()?, &secret, console),
        Command::Put(arguments) => secrets::put(client, arguments, console),
        Command::Rotate { secret, keep_previous } => {
            secrets::rotate(&client()?, &secret, keep_previous.as_deref(), console)
        }
        Command::Delete(secret) => secrets::delete(&client()?, &secret, console),
        Command::Resolve(arguments) => documents::resolve(client, &arguments, console),
        Command::Obfuscate(arguments) => documents::obfuscate(client, arguments, console),
        Command::Watch(secret) => watch::run(&client()?, &secret, console),
        Command::Onboard { scope } => onboarding::onboard(client, scope, console),
        Command::Offboard { scope } => onboarding::offboard(&client()?, &scope, console),
        Command::Whoami { scope } => about::whoami(&client()?, scope.as_deref(), console),
        Command::Status { watch } => about::status(&client()?, watch, console),
        Command::CanI(arguments) => can_i::run(&arguments, json, environment, console),
        Command::Config { command } => configuration::run(&command, json, environment, console),
        Command::Conjur { command: ConjurCommand::Policy(arguments) } => conjur::policy(&arguments, console),
        Command::Completions { shell } => Ok(completions::<Arguments>(shell, "cloakroom", console)?),
        Command::Version => Ok(console.line(concat!("cloakroom ", env!("CARGO_PKG_VERSION")))?),
    }?;
    Ok(Exit::Done)
}

/// Prints the completion script of a program whose arguments are `A`.
///
/// # Errors
/// The output's.
pub fn completions<A: CommandFactory>(shell: Shell, program: &str, console: &mut Console) -> io::Result<()> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    // Into memory first: the generator panics where its writer fails, as a closed pipe does.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut A::command(), program, &mut script);
    console.output.write_all(&script)
}
