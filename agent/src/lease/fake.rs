//! Leases as an API server keeps them, in memory: versions, conflicts, time that passes on the way, and faults.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::kubernetes::{Answer, CallError};

/// How long a request is on its way, and an answer on its way back; a write takes as long again in between.
const WAY: Duration = Duration::from_millis(1);
const STORING: Duration = Duration::from_millis(4);

/// What goes wrong with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is done, and the answer is lost.
    AnswerLost,
    /// It is not done until so much later, and the answer is lost at once.
    Late(Duration),
    /// Nothing can be sent.
    Unreachable,
    /// A status.
    Status(StatusCode),
}

#[derive(Default)]
pub(super) struct Server {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    objects: HashMap<String, Value>,
    version: u64,
    faults: VecDeque<Fault>,
    /// Every call meets it.
    down: Option<Fault>,
    calls: Vec<Method>,
}

impl Server {
    /// The next writes meet these.
    pub(super) fn faults(&self, faults: &[Fault]) {
        self.lock().faults.extend(faults);
    }

    /// Every call meets it, from now on.
    pub(super) fn down(&self, fault: Option<Fault>) {
        self.lock().down = fault;
    }

    /// The calls since this was last asked.
    pub(super) fn calls(&self) -> Vec<Method> {
        std::mem::take(&mut self.lock().calls)
    }

    /// Who holds the only Lease there is.
    pub(super) fn holder(&self) -> String {
        let state = self.lock();
        let lease = state.objects.values().next();
        lease.and_then(|lease| lease["spec"]["holderIdentity"].as_str()).unwrap_or_default().to_owned()
    }

    /// Somebody touches every Lease without meaning it.
    pub(super) fn touch(&self) {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version.to_string();
        for lease in state.objects.values_mut() {
            lease["metadata"]["resourceVersion"] = version.clone().into();
        }
    }

    /// Somebody deletes every Lease.
    pub(super) fn delete(&self) {
        self.lock().objects.clear();
    }

    pub(super) async fn call(
        self: &std::sync::Arc<Self>,
        request: Request<Vec<u8>>,
        within: Duration,
    ) -> Result<Answer, CallError> {
        let answer = async {
            let is_read = request.method() == Method::GET;
            tokio::time::sleep(if is_read { WAY } else { WAY + STORING }).await;
            let fault = {
                let mut state = self.lock();
                state.calls.push(request.method().clone());
                state.down.or_else(|| if is_read { None } else { state.faults.pop_front() })
            };
            match fault {
                None => {
                    let answer = self.lock().apply(&request);
                    tokio::time::sleep(WAY).await;
                    Ok(answer)
                }
                Some(Fault::AnswerLost) => {
                    self.lock().apply(&request);
                    Err(CallError::Lost)
                }
                Some(Fault::Late(by)) => {
                    let server = std::sync::Arc::clone(self);
                    tokio_util::task::TaskTracker::new().spawn(async move {
                        tokio::time::sleep(by).await;
                        server.lock().apply(&request);
                    });
                    Err(CallError::Lost)
                }
                Some(Fault::Unreachable) => Err(CallError::Unreachable),
                Some(Fault::Status(status)) => Ok(Answer::made(status, &json!({}))),
            }
        };
        tokio::time::timeout(within, answer).await.unwrap_or(Err(CallError::Lost))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn apply(&mut self, request: &Request<Vec<u8>>) -> Answer {
        let refused = |status| Answer::made(status, &json!({}));
        let path = request.uri().path();
        let name = path.rsplit('/').next().unwrap().to_owned();
        match *request.method() {
            Method::GET => match self.objects.get(&name) {
                Some(lease) => Answer::made(StatusCode::OK, lease),
                None => refused(StatusCode::NOT_FOUND),
            },
            Method::POST => {
                let mut lease: Value = serde_json::from_slice(request.body()).unwrap();
                let name = lease["metadata"]["name"].as_str().unwrap().to_owned();
                if self.objects.contains_key(&name) {
                    return refused(StatusCode::CONFLICT);
                }
                self.version += 1;
                lease["metadata"]["uid"] = format!("uid-{}", self.version).into();
                self.store(name, lease, StatusCode::CREATED)
            }
            Method::PUT => {
                let lease: Value = serde_json::from_slice(request.body()).unwrap();
                let same = |stored: &Value, field: &str| stored["metadata"][field] == lease["metadata"][field];
                match self.objects.get(&name) {
                    Some(stored) if same(stored, "uid") && same(stored, "resourceVersion") => {
                        self.version += 1;
                        self.store(name, lease, StatusCode::OK)
                    }
                    _ => refused(StatusCode::CONFLICT),
                }
            }
            _ => refused(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn store(&mut self, name: String, mut lease: Value, status: StatusCode) -> Answer {
        lease["metadata"]["resourceVersion"] = self.version.to_string().into();
        let answer = Answer::made(status, &lease);
        self.objects.insert(name, lease);
        answer
    }
}
