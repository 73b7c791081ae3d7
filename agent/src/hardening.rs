//! Keeps other processes of the same uid, and core files, away from the agent's memory.

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};

/// The kernel refused a step; without all of them the agent does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hardening the process: {step}")]
pub struct HardeningError {
    step: &'static str,
    #[source]
    source: Errno,
}

/// Must come before anything is read: what is in memory before it can be looked at.
///
/// # Errors
/// [`HardeningError`].
pub fn harden() -> Result<(), HardeningError> {
    let failed = |step| move |source| HardeningError { step, source };
    // `PR_SET_DUMPABLE` 0 makes root the owner of /proc/PID/*, so that a process of our uid can neither ptrace us nor
    // read environ, mem, maps, fd and root (`proc(5)`), and no core is written, to a pipe either (`core(5)`).
    nix::sys::prctl::set_dumpable(false).map_err(failed("the process stays dumpable"))?;
    // A second bar for the same door: RLIMIT_CORE 0 survives what would set the first one back.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(failed("core files stay allowed"))?;
    umask(Mode::from_bits_truncate(0o077));
    Ok(())
}
