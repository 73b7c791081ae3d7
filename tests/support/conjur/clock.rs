//! The server's clock: real time plus what a test has moved it by.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Default)]
pub(super) struct Clock {
    moved: Mutex<Duration>,
}

impl Clock {
    pub(super) fn advance(&self, by: Duration) {
        *self.moved.lock().unwrap() += by;
    }

    pub(super) fn instant(&self) -> Instant {
        Instant::now() + *self.moved.lock().unwrap()
    }

    /// Since 1970.
    pub(super) fn unix(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + *self.moved.lock().unwrap()
    }
}

/// A point in time as the server writes it.
pub(super) fn stamp(unix: Duration) -> String {
    let time = jiff::Timestamp::from_duration(unix.try_into().unwrap()).unwrap();
    format!("{}+00:00", time.strftime("%Y-%m-%dT%H:%M:%S.%3f"))
}
