//! Times that differ from agent to agent, so that what happened to all at once is not answered by all at once.

use std::time::Duration;

/// Something between half of `time` and one and a half of it.
#[must_use]
pub fn around(time: Duration) -> Duration {
    time / 2 + up_to(time)
}

/// Something between nothing and `time`. Without random bytes, half of it.
#[must_use]
pub fn up_to(time: Duration) -> Duration {
    let mut random = [0_u8; 4];
    let part = match getrandom::fill(&mut random) {
        Ok(()) => f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    };
    time.mul_f64(part)
}
