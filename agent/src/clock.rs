//! Time as a value: one monotonic clock that goes on while the machine sleeps, and that tests can move.

use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A moment: time since boot, suspend included. Meaningless across boots, so it is never stored or shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Moment {
    /// How long after boot this is.
    #[must_use]
    pub fn since_boot(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Where moments come from.
///
/// `CLOCK_BOOTTIME` and not `CLOCK_MONOTONIC`: the latter stands still during suspend and would stretch every time to
/// live (`clock_gettime(2)`). Setting the wall clock moves neither.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// `CLOCK_BOOTTIME`.
    #[default]
    Boot,
    /// Moved by a test.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that stands still until [`Clock::advance`] moves it.
    #[must_use]
    pub fn manual() -> Self {
        Self::Manual(Arc::new(AtomicU64::new(1_000_000_000)))
    }

    /// Now.
    ///
    /// # Panics
    /// On a kernel without `CLOCK_BOOTTIME`, older than 2.6.39.
    #[must_use]
    pub fn now(&self) -> Moment {
        match self {
            Self::Boot => {
                let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("the kernel must have CLOCK_BOOTTIME");
                let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
                let nanos = u64::try_from(time.tv_nsec()).unwrap_or_default();
                Moment(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
            }
            Self::Manual(nanos) => Moment(nanos.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock; the kernel's cannot be moved.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(nanos) = self {
            nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
        }
    }
}
