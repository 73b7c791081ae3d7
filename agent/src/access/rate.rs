//! A bucket of tokens for each caller: what one of them can make the backend do in a second.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Subject;
use crate::clock::{Clock, Moment};

/// The size of each bucket.
#[derive(Clone, Copy, Debug)]
pub struct RateSettings {
    /// Tokens that come back each second.
    pub per_second: u32,
    /// Tokens in a full bucket.
    pub burst: u32,
    /// Callers that are remembered. Beyond it, full buckets are forgotten first, which changes nothing for them.
    pub subjects_max: usize,
}

/// The bucket is empty; this is when it will hold enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller asks too often")]
pub struct RetryAfter(pub Duration);

/// The buckets of one agent.
pub struct RateLimiter {
    settings: RateSettings,
    clock: Clock,
    buckets: Mutex<HashMap<Subject, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// In billionths of a token: with whole tokens, a caller that asks often would never see one come back.
    nano_tokens: u64,
    at: Moment,
}

const NANO: u64 = 1_000_000_000;

impl RateLimiter {
    /// All buckets full.
    #[must_use]
    pub fn new(settings: RateSettings, clock: Clock) -> Self {
        Self { settings, clock, buckets: Mutex::new(HashMap::new()) }
    }

    /// Takes `tokens` from the bucket of `subject`.
    ///
    /// # Errors
    /// [`RetryAfter`]; nothing was taken.
    pub fn take(&self, subject: &Subject, tokens: u32) -> Result<(), RetryAfter> {
        let now = self.clock.now();
        // A panic cannot happen under this lock, and a bucket is one number: there is nothing half-written to see.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(subject) && buckets.len() >= self.settings.subjects_max {
            buckets.retain(|_, bucket| self.filled(*bucket, now).nano_tokens < self.full());
            if buckets.len() >= self.settings.subjects_max {
                // Everybody at once is over the limit: the newcomer waits, nobody's empty bucket is forgiven.
                return Err(RetryAfter(Duration::from_secs(1)));
            }
        }
        let bucket = buckets.entry(subject.clone()).or_insert(Bucket { nano_tokens: self.full(), at: now });
        *bucket = self.filled(*bucket, now);
        let wanted = u64::from(tokens) * NANO;
        if let Some(left) = bucket.nano_tokens.checked_sub(wanted) {
            bucket.nano_tokens = left;
            return Ok(());
        }
        let missing = wanted - bucket.nano_tokens;
        let per_second = u64::from(self.settings.per_second.max(1));
        Err(RetryAfter(Duration::from_nanos(missing.div_ceil(per_second))))
    }

    fn full(&self) -> u64 {
        u64::from(self.settings.burst) * NANO
    }

    fn filled(&self, bucket: Bucket, now: Moment) -> Bucket {
        let passed = u64::try_from(now.since(bucket.at).as_nanos()).unwrap_or(u64::MAX);
        let back = passed.saturating_mul(u64::from(self.settings.per_second));
        Bucket { nano_tokens: bucket.nano_tokens.saturating_add(back).min(self.full()), at: now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(subjects_max: usize) -> (RateLimiter, Clock) {
        let clock = Clock::manual();
        (RateLimiter::new(RateSettings { per_second: 100, burst: 200, subjects_max }, clock.clone()), clock)
    }

    fn subject(uid: u32) -> Subject {
        Subject::from_uid(uid).unwrap()
    }

    #[test]
    fn a_burst_is_taken_at_once_and_comes_back_at_the_rate() {
        let (limiter, clock) = limiter(10);
        for _ in 0..200 {
            assert_eq!(limiter.take(&subject(1), 1), Ok(()));
        }
        assert_eq!(limiter.take(&subject(1), 1), Err(RetryAfter(Duration::from_millis(10))));
        clock.advance(Duration::from_millis(10));
        assert_eq!(limiter.take(&subject(1), 1), Ok(()));
        assert!(limiter.take(&subject(1), 1).is_err());
        clock.advance(Duration::from_hours(1));
        assert_eq!((0..300).filter(|_| limiter.take(&subject(1), 1).is_ok()).count(), 200);
    }

    #[test]
    fn one_callers_flood_takes_nothing_from_another() {
        let (limiter, _) = limiter(10);
        while limiter.take(&subject(1), 1).is_ok() {}
        assert_eq!(limiter.take(&subject(2), 200), Ok(()));
    }

    #[test]
    fn asking_while_empty_does_not_keep_the_bucket_empty() {
        let (limiter, clock) = limiter(10);
        while limiter.take(&subject(1), 1).is_ok() {}
        for _ in 0..100 {
            clock.advance(Duration::from_micros(100));
            let _refused = limiter.take(&subject(1), 200);
        }
        assert_eq!(limiter.take(&subject(1), 1), Ok(()));
    }

    #[test]
    fn callers_beyond_the_cap_wait_until_a_full_bucket_can_be_forgotten() {
        let (limiter, clock) = limiter(2);
        assert!(limiter.take(&subject(1), 1).is_ok() && limiter.take(&subject(2), 1).is_ok());
        assert!(limiter.take(&subject(3), 1).is_err());
        clock.advance(Duration::from_secs(10));
        assert!(limiter.take(&subject(3), 1).is_ok());
    }
}
