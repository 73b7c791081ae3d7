//! Signals: the first one drains, the second one ends, a hang-up reloads.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The signals of one process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    stop: CancellationToken,
}

/// A second signal came before the drain had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a second signal ended the process before its requests had ended")]
pub struct Aborted;

impl Signals {
    /// Takes the signals over; from here on none of them ends the process by itself.
    ///
    /// # Errors
    /// The kernel's.
    pub fn install(stop: CancellationToken) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            stop,
        })
    }

    /// Waits for signals. SIGTERM and SIGINT cancel `stop`; SIGHUP calls `on_hangup`. Returns at the second end.
    pub async fn run(mut self, on_hangup: impl Fn()) -> Aborted {
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.hangup.recv() => {
                    on_hangup();
                    continue;
                }
            };
            if self.stop.is_cancelled() {
                return Aborted;
            }
            tracing::info!(signal = name, "draining: requests in flight end, new ones are refused");
            self.stop.cancel();
        }
    }
}
