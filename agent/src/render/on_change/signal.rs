//! A signal to a process, which the kernel allows to the same uid only, or to root (`kill(2)`).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use super::ActionError;
use crate::render::spec::Process;

/// A process id has at most seven digits (`proc(5)`, `pid_max`).
const PID_BYTES: usize = 32;

/// The kernel keeps 15 bytes of a name (`TASK_COMM_LEN`).
const NAME_BYTES: usize = 15;

pub(super) fn send(to: &Process, signal: Signal) -> Result<(), ActionError> {
    let (mut sent, mut refused) = (0_usize, None);
    for pid in processes(to)? {
        match kill(pid, signal) {
            Ok(()) => sent += 1,
            Err(Errno::EPERM) => refused = Some(ActionError::NotAllowed),
            // It has ended meanwhile.
            Err(_) => {}
        }
    }
    if sent > 0 { Ok(()) } else { Err(refused.unwrap_or(ActionError::NoProcess)) }
}

fn processes(to: &Process) -> Result<Vec<Pid>, ActionError> {
    match to {
        Process::PidFile(path) => Ok(vec![pid_in(path)?]),
        Process::Name(name) => Ok(named(name)),
    }
}

/// The id in a file. Never that of everybody, of a group or of ourselves: `kill` takes 0 and negative numbers for those.
fn pid_in(path: &Path) -> Result<Pid, ActionError> {
    let text = fs::read(path).map_err(|_| ActionError::NoPid)?;
    let text = std::str::from_utf8(text.get(..text.len().min(PID_BYTES)).unwrap_or_default())
        .map_err(|_| ActionError::NoPid)?;
    let number: i32 = text.trim().parse().map_err(|_| ActionError::NoPid)?;
    if number > 1 && number != getpid().as_raw() { Ok(Pid::from_raw(number)) } else { Err(ActionError::NoPid) }
}

/// All with this name but ourselves.
fn named(name: &str) -> Vec<Pid> {
    let wanted = name.as_bytes().get(..name.len().min(NAME_BYTES)).unwrap_or_default();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let named = pids.filter(|pid| {
        let comm = fs::read(PathBuf::from(format!("/proc/{pid}/comm"))).unwrap_or_default();
        *pid != getpid().as_raw() && comm.trim_ascii_end() == wanted
    });
    named.map(Pid::from_raw).collect()
}

/// Why no process that there is now could ever be signalled; none where one could, or where there is none yet.
pub(in crate::render) fn refusal(to: &Process) -> Option<&'static str> {
    let own = nix::unistd::geteuid();
    if own.is_root() {
        return None;
    }
    let found = processes(to).unwrap_or_default();
    let owners: Vec<u32> =
        found.iter().filter_map(|pid| Some(fs::metadata(format!("/proc/{pid}")).ok()?.uid())).collect();
    let foreign = !owners.is_empty() && owners.iter().all(|owner| *owner != own.as_raw());
    foreign.then_some(
        "the process runs as another uid, and the kernel lets the agent signal its own only: run both as one uid, or use \
         onChange.http",
    )
}
