//! How many requests are under way at one time, so that a few that hang hold up nobody else.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Turns for requests that are answered in time, and places for all.
pub(super) struct Lane {
    turns: Semaphore,
    places: Semaphore,
    /// How long a request keeps its turn. One that is not answered by then waits in its place alone.
    patience: Duration,
}

impl Lane {
    pub(super) fn new(turns: usize, places: usize, patience: Duration) -> Self {
        Self { turns: Semaphore::new(turns), places: Semaphore::new(places), patience }
    }

    /// Waits for a place and a turn.
    pub(super) async fn enter(&self) -> Option<(SemaphorePermit<'_>, SemaphorePermit<'_>)> {
        let place = self.places.acquire().await.ok()?;
        Some((place, self.turns.acquire().await.ok()?))
    }

    /// Waits for `work`, and lets others have the turn when it takes long.
    pub(super) async fn until_slow<T>(
        &self,
        turn: SemaphorePermit<'_>,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> T {
        if let Ok(done) = tokio::time::timeout(self.patience, work.as_mut()).await {
            return done;
        }
        drop(turn);
        work.await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;

    use tokio_util::task::TaskTracker;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_few_that_hang_hold_up_the_others_for_a_moment_only() {
        let lane = Arc::new(Lane::new(2, 5, Duration::from_secs(1)));
        let tasks = TaskTracker::new();
        for _ in 0..2 {
            let lane = Arc::clone(&lane);
            tasks.spawn(async move {
                let (_place, turn) = lane.enter().await.unwrap();
                lane.until_slow(turn, pin!(std::future::pending::<()>())).await;
            });
        }
        tokio::task::yield_now().await;
        let began = tokio::time::Instant::now();
        let (_place, turn) = lane.enter().await.unwrap();
        lane.until_slow(turn, pin!(std::future::ready(()))).await;
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        let others = [lane.enter().await, lane.enter().await];
        assert!(others.iter().all(Option::is_some), "the turns are free again");
        assert!(lane.places.try_acquire().is_err(), "and no more than the places are under way");
    }
}
