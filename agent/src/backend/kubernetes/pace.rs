//! The rate at which one agent writes one object, found from the conflicts that it meets.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How far apart the writers of one object keep, at least and at most.
const WINDOW_MIN: Duration = Duration::from_millis(25);
const WINDOW_MAX: Duration = Duration::from_secs(2);

/// How long after a conflict half of the way apart is enough. Not at once none at all: on a slow server an agent writes
/// once in such a time, and would begin to look for its pace again with every write.
const HALF: Duration = Duration::from_secs(4);

/// Less than this is as good as nothing.
const WINDOW_LEAST: Duration = Duration::from_millis(6);

/// How fast this agent writes an object that others write too: the time before a first try doubles with each conflict
/// and shrinks with each success and with time, so that ten agents find the rate at which most first tries hold. Who has lost is let
/// in sooner, the more often it has lost.
#[derive(Default)]
pub(super) struct Pace(Mutex<Option<(Duration, Instant)>>);

impl Pace {
    /// How long a first try waits at most.
    pub(super) fn window(&self) -> Duration {
        let Some((window, last)) = *self.lock() else { return Duration::ZERO };
        let halvings = last.elapsed().as_secs_f64() / HALF.as_secs_f64();
        Some(window.mul_f64((-halvings).exp2())).filter(|window| *window >= WINDOW_LEAST).unwrap_or_default()
    }

    /// Somebody else was faster: the window from now on.
    pub(super) fn conflict(&self) -> Duration {
        let window = (self.window() * 2).clamp(WINDOW_MIN, WINDOW_MAX);
        *self.lock() = Some((window, Instant::now()));
        window
    }

    /// A write is stored.
    pub(super) fn success(&self) {
        if let Some((window, _)) = &mut *self.lock() {
            *window = window.mul_f64(0.88);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Duration, Instant)>> {
        // Two numbers, written together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn conflicts_widen_the_window_successes_and_time_narrow_it_and_calm_closes_it() {
        let pace = Pace::default();
        assert_eq!(pace.window(), Duration::ZERO);
        assert_eq!(pace.conflict(), WINDOW_MIN);
        assert_eq!(pace.conflict(), WINDOW_MIN * 2);
        pace.success();
        assert!(pace.window() < WINDOW_MIN * 2 && pace.window() > WINDOW_MIN);
        for _ in 0..20 {
            pace.conflict();
        }
        assert_eq!(pace.window(), WINDOW_MAX);
        tokio::time::advance(HALF).await;
        assert_eq!(pace.window(), WINDOW_MAX / 2, "whoever writes seldom keeps its pace");
        tokio::time::advance(HALF * 9).await;
        assert_eq!(pace.window(), Duration::ZERO);
        assert_eq!(pace.conflict(), WINDOW_MIN);
    }
}
