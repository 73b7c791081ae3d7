//! Time that the API server has asked for: one watch is told, and all the others of this agent wait with it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::jitter;

/// How far apart those who waited come back, at most.
const SPREAD: Duration = Duration::from_secs(2);

/// Until when nobody asks for a watch.
#[derive(Default)]
pub(super) struct Calm(Mutex<Option<Instant>>);

impl Calm {
    /// The server wants to be left alone for `time`.
    pub(super) fn keep(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.lock();
        *state = Some(state.map_or(until, |before| before.max(until)));
    }

    /// Waits as long as the server has asked for, and longer if it asks again meanwhile.
    pub(super) async fn wait(&self) {
        loop {
            let until = *self.lock();
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => tokio::time::sleep_until(until + jitter::up_to(SPREAD)).await,
                None => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        // One moment, replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_waits_for_the_last_that_the_server_has_asked_for() {
        let calm = Calm::default();
        let began = Instant::now();
        calm.wait().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        calm.keep(Duration::from_secs(5));
        calm.keep(Duration::from_secs(1));
        calm.wait().await;
        assert!(began.elapsed() >= Duration::from_secs(5) && began.elapsed() <= Duration::from_secs(5) + SPREAD);
    }
}
