//! The command `exec`: puts values where its environment has placeholders, and becomes the command that gets it.
//!
//! Nothing of the start may show in the command: signal mask, limits, umask and descriptors are those that `exec` was
//! started with. So `exec` changes none of them for good, and what it opens is closed by the kernel.

mod error;
mod front;
mod program;
mod resolve;
mod signals;
mod variables;
mod watch;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::signal::unix::SignalKind;

use super::arguments::ExecArguments;
use super::client::runtime;
use super::console::Console;
use super::environment::Environment;
use super::error::{CliError, Exit};
pub(super) use error::ExecError;
use program::Program;
use resolve::Agent;
use signals::{Inherited, Interruptions};
use variables::{Assembled, Variables};

pub(super) fn run(
    arguments: &ExecArguments,
    socket: Option<PathBuf>,
    environment: &Environment,
    console: &mut Console,
) -> Result<Exit, CliError> {
    // Until the command is started values are in this memory: no sibling may look at it, and no core may hold it. The
    // kernel takes this back when another program is executed.
    nix::sys::prctl::set_dumpable(false).map_err(|error| CliError::Runtime(error.into()))?;
    let inherited = Inherited::note();
    let variables = Variables::new(environment.variables(), arguments.clear_env);
    let agent = Agent::new(socket, environment);
    // The runtime stays until the end: a signal that it has taken is one that execve gives back its default.
    runtime()?.block_on(async {
        let interruptions = inherited.interruptions().map_err(ExecError::Signals)?;
        let resolving = resolve::all(&agent, &variables, Duration::from_secs(arguments.wait), console);
        let secrets = match or_interrupted(resolving, &interruptions).await? {
            Ok(secrets) => secrets?,
            Err(signal) => return Ok(ended_by(signal)),
        };
        let values = secrets.iter().map(|secret| &secret.value);
        let assembled = variables.assemble(values.collect::<Vec<_>>().as_slice())?;
        let program = Program::new(&arguments.command, &assembled)?;
        let Some(signal) = arguments.watch else {
            return Err(become_it(&program, &assembled, &inherited, interruptions));
        };
        let front = front::start(&program, &assembled, &inherited).map_err(|error| named(error, &assembled))?;
        let watched = variables.watched(&secrets);
        drop((assembled, secrets, interruptions));
        let ended = tokio::select! {
            ended = front.serve() => ended.map_err(ExecError::Signals)?,
            never = watch::tell(&agent, watched, || front.send(signal), console) => match never {},
        };
        Ok(Exit::Command(ended))
    })
}

/// Runs `work` until it has ended, or a signal comes that would have ended this process.
async fn or_interrupted<T>(
    work: impl Future<Output = T>,
    interruptions: &Interruptions,
) -> Result<Result<T, Signal>, ExecError> {
    tokio::select! {
        biased;
        signal = interruptions.next() => Ok(Err(signal.map_err(ExecError::Signals)?)),
        done = work => Ok(Ok(done)),
    }
}

/// As a shell tells it.
fn ended_by(signal: Signal) -> Exit {
    Exit::Command(u8::try_from(128 + signal as i32).unwrap_or(u8::MAX))
}

/// Returns only where the command cannot be started.
fn become_it(program: &Program, assembled: &Assembled, inherited: &Inherited, waiting: Interruptions) -> CliError {
    // Rust's runtime has ignored SIGPIPE before `main`, and an ignored signal stays ignored in the command, which would
    // then not end where the reader of its output has. One that has a handler gets its default back.
    if let Err(error) = tokio::signal::unix::signal(SignalKind::pipe()) {
        return CliError::Runtime(error);
    }
    drop(waiting);
    if let Err(error) = inherited.restore_mask() {
        return ExecError::Signals(error).into();
    }
    match program.launch(|file, arguments| nix::unistd::execve(file, arguments, &assembled.pointers())) {
        Ok(never) => match never {},
        Err(error) => named(error, assembled).into(),
    }
}

/// Says of what is too large by how much, and which variables.
fn named(error: ExecError, assembled: &Assembled) -> ExecError {
    match error {
        ExecError::TooLarge { total, .. } => assembled.too_large(total),
        other => other,
    }
}
