//! The process in front of a watched command: passes signals on, reaps, and ends as the command does.

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::SignalKind;

use super::error::ExecError;
use super::program::Program;
use super::signals::{Inherited, SignalReader, number};
use super::variables::Assembled;

/// What a command gets as its status that ended in a way which the kernel tells and nobody has a name for.
const UNNAMED_END: u8 = 255;

/// A command that runs, and the signals of the process in front of it.
pub(super) struct Front {
    command: Pid,
    signals: SignalReader,
}

/// Starts the command with the signals as they were inherited.
pub(super) fn start(program: &Program, environment: &Assembled, inherited: &Inherited) -> Result<Front, ExecError> {
    // A parent that ignores SIGCHLD has left us a kernel that reaps by itself and tells no status: a handler ends that.
    let _handler = tokio::signal::unix::signal(SignalKind::child()).map_err(|_| ExecError::Signals(Errno::EINVAL))?;
    // Before there is a command, so that none of its end and nothing that is for it is missed.
    let signals = SignalReader::all().map_err(ExecError::Signals)?;
    let actions = PosixSpawnFileActions::init().map_err(ExecError::Signals)?;
    let attributes = attributes(inherited).map_err(ExecError::Signals)?;
    let environment = environment.pointers();
    let command =
        program.launch(|file, arguments| posix_spawn(file, &actions, &attributes, arguments, &environment))?;
    Ok(Front { command, signals })
}

fn attributes(inherited: &Inherited) -> Result<PosixSpawnAttr, Errno> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF)?;
    attributes.set_sigmask(inherited.mask())?;
    // Rust's runtime ignores it, and that would stay.
    attributes.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
    Ok(attributes)
}

impl Front {
    /// Sends the command a signal. One that has just ended is found by who waits for it.
    pub(super) fn send(&self, signal: Signal) {
        let _ended = kill(self.command, signal);
    }

    /// Serves the command until it ends; its exit status, as a shell tells it.
    pub(super) async fn serve(&self) -> Result<u8, Errno> {
        loop {
            let told = self.signals.next().await?;
            match number(&told) {
                Some(Signal::SIGCHLD) => {
                    if let Some(status) = self.reap() {
                        return Ok(status);
                    }
                }
                // What the terminal sends it sends to the whole group, and the command is in it: it would hear the same
                // twice. Only a hang-up is told to the leader of the session alone.
                Some(signal) if told.ssi_code > 0 && signal != Signal::SIGHUP => {}
                Some(signal) => self.send(signal),
                None => {}
            }
        }
    }

    /// Takes the status of every child that has ended: as process 1, also of those that others have left behind.
    fn reap(&self) -> Option<u8> {
        loop {
            match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) if pid == self.command => {
                    return Some(u8::try_from(status).unwrap_or(UNNAMED_END));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.command => {
                    return Some(u8::try_from(128 + signal as i32).unwrap_or(UNNAMED_END));
                }
                Ok(WaitStatus::StillAlive) => return None,
                Ok(_) | Err(Errno::EINTR) => {}
                // A child was ended by a signal without a name, and it was this one if it is not there any more.
                Err(Errno::EINVAL) if kill(self.command, None).is_ok() => {}
                Err(_) => return Some(UNNAMED_END),
            }
        }
    }
}
