//! What all handlers share: the state, the clock, the settings, and what is going on right now.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::answer::Answer;
use super::clock::Clock;
use super::fault::Faults;
use super::gate::{Gates, Moment};
use super::id::{self, Id};
use super::log::{Log, Side};
use super::request::Asked;
use super::state::State;
use super::store::Store;
use super::token::{Claims, Tokens};

/// What tests turn while the server runs.
#[derive(Clone)]
pub(super) struct Tuning {
    pub(super) latency: Duration,
    pub(super) load_time: Duration,
    pub(super) token_ttl: Duration,
    /// Whether writes of one variable at the same time collide as they do on the real server.
    pub(super) collisions: bool,
    /// The longest target that a proxy in front lets through.
    pub(super) target_limit: Option<usize>,
}

pub(super) struct Core {
    pub(super) account: String,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) tokens: Tokens,
    pub(super) tuning: Mutex<Tuning>,
    pub(super) log: Log,
    pub(super) faults: Faults,
    pub(super) gates: Gates,
    /// Branches into which a load is going on.
    loading: Mutex<HashMap<Id, watch::Receiver<()>>>,
    /// Variables that are being written.
    writing: Mutex<HashSet<Id>>,
}

/// Who asks, with the role that the token is for.
pub(super) struct Caller {
    pub(super) role: Id,
    pub(super) claims: Claims,
}

impl Core {
    pub(super) fn new(account: &str) -> Self {
        Self {
            account: account.to_owned(),
            store: Store::default(),
            clock: Clock::default(),
            tokens: Tokens::new(),
            tuning: Mutex::new(Tuning {
                latency: Duration::ZERO,
                load_time: Duration::ZERO,
                token_ttl: Duration::from_mins(8),
                collisions: true,
                target_limit: None,
            }),
            log: Log::default(),
            faults: Faults::default(),
            gates: Gates::default(),
            loading: Mutex::default(),
            writing: Mutex::default(),
        }
    }

    pub(super) fn tuning(&self) -> Tuning {
        self.tuning.lock().unwrap().clone()
    }

    pub(super) fn view(&self, asked: &Asked) -> Arc<State> {
        self.store.view(asked.side, &self.clock)
    }

    pub(super) fn view_of_leader(&self) -> Arc<State> {
        self.store.view(Side::Leader, &self.clock)
    }

    pub(super) fn full(&self, kind: &str, identifier: &str) -> Id {
        id::full(&self.account, kind, identifier)
    }

    /// Whose request this is, or the 401 that it gets.
    pub(super) fn caller(&self, asked: &Asked) -> Result<Caller, Answer> {
        let claims =
            self.tokens.check(asked.header("authorization"), self.clock.unix()).map_err(Answer::unauthorized)?;
        Ok(Caller { role: id::of_login(&self.account, &claims.subject), claims })
    }

    /// Where a call waits before it has an effect: for a test that holds it, then for as long as calls take here.
    pub(super) async fn pause(&self, asked: &Asked) {
        self.gates.pass(asked, Moment::BeforeEffect).await;
        let latency = self.tuning().latency;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }

    /// Begins to write a variable. `None` when somebody else is at it, which the real server finds out by a unique key.
    pub(super) fn begin_write(&self, variable: &Id) -> Option<Writing<'_>> {
        let first = self.writing.lock().unwrap().insert(Arc::clone(variable));
        if first || !self.tuning().collisions {
            return Some(Writing { core: self, variable: first.then(|| Arc::clone(variable)) });
        }
        None
    }

    /// Begins a load into a branch, or waits for the one that is going on and says so.
    pub(super) async fn begin_load(&self, branch: &Id) -> Option<Loading<'_>> {
        let busy = {
            let mut loading = self.loading.lock().unwrap();
            match loading.get(branch) {
                Some(busy) => busy.clone(),
                None => {
                    let (done, busy) = watch::channel(());
                    loading.insert(Arc::clone(branch), busy);
                    return Some(Loading { core: self, branch: Arc::clone(branch), _done: done });
                }
            }
        };
        let mut busy = busy;
        // Ends with an error, which is the end of the other load.
        while busy.changed().await.is_ok() {}
        None
    }
}

pub(super) struct Writing<'a> {
    core: &'a Core,
    variable: Option<Id>,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if let Some(variable) = &self.variable {
            self.core.writing.lock().unwrap().remove(variable);
        }
    }
}

pub(super) struct Loading<'a> {
    core: &'a Core,
    branch: Id,
    _done: watch::Sender<()>,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.core.loading.lock().unwrap().remove(&self.branch);
    }
}
