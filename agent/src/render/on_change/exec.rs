//! A command of the operator: an absolute path and arguments, no shell, nothing of ours in its environment.
//!
//! What it prints is thrown away. It may well print what it has read from the file, and there is no masking a value that
//! was encoded once more.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::ActionError;

/// How long a command may take.
const WITHIN: Duration = Duration::from_secs(30);

/// Where a command finds others. Not ours, which whoever started us chose.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) async fn run(argv: &[String]) -> Result<(), ActionError> {
    let Some((program, arguments)) = argv.split_first() else { return Err(ActionError::NotStarted) };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|_| ActionError::NotStarted)?;
    let Ok(ended) = tokio::time::timeout(WITHIN, child.wait()).await else {
        // With what it has started itself, which is in its group.
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _killed = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let _reaped = child.wait().await;
        return Err(ActionError::TimedOut);
    };
    match ended {
        Ok(status) if status.success() => Ok(()),
        _ => Err(ActionError::Failed),
    }
}
