//! How often one agent looks at a Lease that others hold, found from the conflicts that it meets.

use std::time::Duration;

use crate::clock::Moment;
use crate::jitter;

/// How far apart the looks of one agent are, at least and at most.
const WINDOW_MIN: Duration = Duration::from_millis(20);
const WINDOW_MAX: Duration = Duration::from_secs(1);

/// Nobody who waits looks more often than this, however long it has waited.
const LOOK_MIN: Duration = Duration::from_millis(10);

/// Nobody who waits looks more rarely than this at a Lease that has one holder for long.
const LOOK_MAX: Duration = Duration::from_millis(250);

/// After so long of waiting, one looks twice as often as who has just come; after twice as long, three times.
const AGES: Duration = Duration::from_millis(100);

/// Whoever has had it stands back for half of what one waits at present, and for no longer than this: otherwise it would
/// be first again and again, while the others sleep between two looks.
const STAND_BACK_MAX: Duration = Duration::from_millis(500);

/// Without a sight of others for so long, this agent is alone.
const CALM: Duration = Duration::from_secs(2);

/// The window widens where two found the Lease free at one time and narrows with each success, so that it follows how
/// many wait, whatever a call takes. Who has waited longer looks more often and so wins more often; that keeps the
/// longest wait near the mean.
#[derive(Default)]
pub(super) struct Pace {
    window: Duration,
    /// How long one waits at present.
    usual: Duration,
    others: Option<Moment>,
}

impl Pace {
    /// Whether others have been seen a moment ago.
    pub(super) fn is_contended(&self, now: Moment) -> bool {
        self.others.is_some_and(|seen| now.since(seen) < CALM)
    }

    /// Somebody else holds it.
    pub(super) fn held(&mut self, now: Moment) {
        if !self.is_contended(now) {
            (self.window, self.usual) = (WINDOW_MIN, Duration::ZERO);
        }
        self.others = Some(now);
    }

    /// Somebody else was faster.
    pub(super) fn conflict(&mut self, now: Moment) {
        self.held(now);
        self.window = (self.window * 3 / 2).min(WINDOW_MAX);
    }

    /// We have it, after so long.
    pub(super) fn success(&mut self, waited: Duration) {
        self.usual = (self.usual * 3 + waited) / 4;
        self.window = (self.window * 4 / 5).max(WINDOW_MIN);
    }

    /// How long to wait before the first look.
    pub(super) fn first(&self, now: Moment) -> Duration {
        if !self.is_contended(now) {
            return Duration::ZERO;
        }
        jitter::around(self.window.max(self.usual / 2).min(STAND_BACK_MAX))
    }

    /// How long to wait before the next look, having `waited` so long, at a Lease that is unchanged for `unchanged`: what
    /// takes long already may take as long again, and is not asked about all the time.
    pub(super) fn next(&self, waited: Duration, unchanged: Duration) -> Duration {
        let aged = self.window.div_f64(1.0 + waited.div_duration_f64(AGES)).max(LOOK_MIN);
        jitter::around(aged.max((unchanged / 8).min(LOOK_MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn conflicts_widen_the_window_successes_narrow_it_and_calm_ends_it() {
        let (clock, mut pace) = (Clock::manual(), Pace::default());
        assert_eq!(pace.first(clock.now()), Duration::ZERO);
        pace.held(clock.now());
        assert_eq!(pace.window, WINDOW_MIN);
        for _ in 0..20 {
            pace.conflict(clock.now());
        }
        assert_eq!(pace.window, WINDOW_MAX);
        pace.success(Duration::ZERO);
        assert_eq!(pace.window, WINDOW_MAX * 4 / 5);
        clock.advance(CALM);
        assert!(!pace.is_contended(clock.now()));
        pace.held(clock.now());
        assert_eq!(pace.window, WINDOW_MIN);
    }

    #[test]
    fn who_has_waited_looks_more_often_and_a_long_holder_is_looked_at_more_rarely() {
        let pace = Pace { window: Duration::from_millis(400), others: None, usual: Duration::ZERO };
        assert!(pace.next(Duration::ZERO, Duration::ZERO) >= Duration::from_millis(200));
        assert!(pace.next(AGES * 9, Duration::ZERO) <= Duration::from_millis(60));
        assert!(pace.next(AGES * 1000, Duration::from_secs(2)) >= LOOK_MAX / 2);
        assert!(pace.next(AGES * 1000, Duration::ZERO) >= LOOK_MIN / 2);
    }
}
