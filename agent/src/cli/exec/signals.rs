//! The signals as `exec` found them, and those that come while it works.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use tokio::io::unix::AsyncFd;

/// What ends a process that does not care for signals and that somebody waits for.
const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// Not passed on: what the kernel sends for a mistake of this very process, what cannot be caught, and what stops a
/// process at a terminal, where the shell stops and continues the whole group.
const OUR_OWN: [Signal; 11] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGSYS,
    Signal::SIGABRT,
    Signal::SIGPIPE,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

/// The signals as they were at the start.
pub(super) struct Inherited {
    mask: SigSet,
    /// Bit n - 1 is signal n.
    ignored: u64,
}

/// Signals that are read one after the other instead of ending this process.
pub(super) struct SignalReader(AsyncFd<SignalFd>);

/// While it lives, what would end this process is read here.
pub(super) struct Interruptions(Option<SignalReader>);

impl Inherited {
    /// Must come before any signal is taken over.
    pub(super) fn note() -> Self {
        // Without /proc nothing is known to be ignored, and a signal that was would end the wait for the agent.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self { mask: SigSet::thread_get_mask().unwrap_or_else(|_| SigSet::empty()), ignored: ignored(&status) }
    }

    /// The mask that the command is to have.
    pub(super) fn mask(&self) -> &SigSet {
        &self.mask
    }

    /// The mask of the start, for a command that takes this process over.
    pub(super) fn restore_mask(&self) -> Result<(), Errno> {
        self.mask.thread_set_mask()
    }

    /// Takes over what would end this process. As process 1 of a container it would otherwise not even do that.
    pub(super) fn interruptions(&self) -> Result<Interruptions, Errno> {
        let ignored = |signal: Signal| self.ignored & (1 << (signal as u32 - 1)) != 0;
        let cared_for = ENDING.into_iter().filter(|signal| !ignored(*signal) && !self.mask.contains(*signal));
        let signals: SigSet = cared_for.collect();
        if signals == SigSet::empty() {
            Ok(Interruptions(None))
        } else {
            Ok(Interruptions(Some(SignalReader::take(&signals)?)))
        }
    }
}

impl Interruptions {
    pub(super) async fn next(&self) -> Result<Signal, Errno> {
        match &self.0 {
            None => std::future::pending().await,
            Some(reader) => loop {
                if let Some(signal) = number(&reader.next().await?) {
                    return Ok(signal);
                }
            },
        }
    }
}

impl SignalReader {
    /// Every signal that a process in front of another one has to care for.
    pub(super) fn all() -> Result<Self, Errno> {
        Self::take(&passed_on())
    }

    fn take(signals: &SigSet) -> Result<Self, Errno> {
        signals.thread_block()?;
        let descriptor = SignalFd::with_flags(signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "what it does not check is so here: the descriptor is owned, and stays the same one"
        )]
        let registered = AsyncFd::new(descriptor);
        registered.map(Self).map_err(|error| errno(&error))
    }

    /// The next signal.
    pub(super) async fn next(&self) -> Result<siginfo, Errno> {
        loop {
            let mut ready = self.0.readable().await.map_err(|error| errno(&error))?;
            match self.0.get_ref().read_signal()? {
                Some(signal) => return Ok(signal),
                None => ready.clear_ready(),
            }
        }
    }
}

fn passed_on() -> SigSet {
    let mut signals = SigSet::all();
    for signal in OUR_OWN {
        signals.remove(signal);
    }
    signals
}

/// Which signal it is; none for a real-time signal, which has no name.
pub(super) fn number(signal: &siginfo) -> Option<Signal> {
    Signal::try_from(i32::try_from(signal.ssi_signo).ok()?).ok()
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}

fn ignored(status: &str) -> u64 {
    let digits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    digits.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_words_say_what_is_ignored() {
        assert_eq!(ignored("SigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"), 0x1001);
        assert_eq!(ignored("nothing of the kind"), 0);
    }

    #[test]
    fn a_front_cares_for_its_child_and_leaves_the_terminals_stops_alone() {
        let signals = passed_on();
        assert!(
            [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGWINCH].into_iter().all(|signal| signals.contains(signal))
        );
        assert!([Signal::SIGTSTP, Signal::SIGSEGV].into_iter().all(|signal| !signals.contains(signal)));
    }
}
