//! Calls that a test holds still: before they do anything, or before they are answered.

use std::sync::Mutex;

use tokio::sync::watch;

use super::fault::When;
use super::request::Asked;

/// Where a call is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Authorised, and nothing done yet. A load has its turn, a write is under way.
    BeforeEffect,
    /// Done, and nobody knows.
    BeforeAnswer,
}

/// Holds the next call that it is for, and lets it go when it is opened or dropped.
pub struct Gate {
    reached: watch::Receiver<bool>,
    _open: watch::Sender<()>,
}

impl Gate {
    /// Waits until a call stands at the gate.
    pub async fn reached(&mut self) {
        self.reached.wait_for(|reached| *reached).await.unwrap();
    }

    /// Lets the call go.
    pub fn open(self) {}
}

struct Held {
    when: When,
    moment: Moment,
    reached: watch::Sender<bool>,
    open: watch::Receiver<()>,
}

#[derive(Default)]
pub(super) struct Gates {
    held: Mutex<Vec<Held>>,
}

impl Gates {
    pub(super) fn hold(&self, when: When, moment: Moment) -> Gate {
        let (arrive, reached) = watch::channel(false);
        let (open, opened) = watch::channel(());
        self.held.lock().unwrap().push(Held { when, moment, reached: arrive, open: opened });
        Gate { reached, _open: open }
    }

    /// Passes all gates; at one that is for this call, and for no other before, it waits.
    pub(super) async fn pass(&self, asked: &Asked, moment: Moment) {
        let found = {
            let mut held = self.held.lock().unwrap();
            let at = held.iter().position(|held| held.moment == moment && held.when.matches(asked));
            at.map(|at| held.remove(at))
        };
        if let Some(mut held) = found {
            held.reached.send_replace(true);
            // Ends with an error when the gate is gone, which opens it.
            while held.open.changed().await.is_ok() {}
        }
    }
}
