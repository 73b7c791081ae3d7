//! What was asked: a log of calls without a value in it, and how many were in flight at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// What a call is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// `…/authenticate` and `…/login`.
    Login,
    /// The value of one variable.
    Read,
    /// The values of several variables.
    Batch,
    /// A new value.
    Write,
    /// `POST`, `PATCH` and `PUT` on `/policies`, dry runs too.
    PolicyLoad,
    /// One resource, and permission checks on it.
    Metadata,
    /// A list of resources.
    List,
    /// Roles, status, whoami and whatever does not exist.
    Other,
}

/// Which address was asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// Takes writes.
    Leader,
    /// Reads only, and possibly late.
    Follower,
}

/// One request that arrived. It carries no body and no credential.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it was for.
    pub endpoint: Kind,
    /// Which address it came to.
    pub side: Side,
    /// The HTTP method.
    pub method: String,
    /// The target as it was sent.
    pub path_and_query: String,
    /// Whose token came with it, if one did and it could be read; nobody has checked it yet.
    pub subject: Option<String>,
    /// When it had arrived as a whole.
    pub time: Instant,
}

#[derive(Default)]
pub(super) struct Log {
    calls: Mutex<Vec<Call>>,
    flying: AtomicUsize,
    most: AtomicUsize,
}

impl Log {
    pub(super) fn push(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(super) fn forget(&self) {
        self.calls.lock().unwrap().clear();
        self.most.store(self.flying.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    pub(super) fn flying(&self) -> usize {
        self.flying.load(Ordering::SeqCst)
    }

    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    pub(super) fn enter(&self) -> Flight<'_> {
        let now = self.flying.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        Flight(self)
    }
}

/// A request in flight; it lands when its answer is ready or nobody waits for it any more.
pub(super) struct Flight<'a>(&'a Log);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.flying.fetch_sub(1, Ordering::SeqCst);
    }
}
