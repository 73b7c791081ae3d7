//! Requests about Leases, and what their answers mean.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Request, StatusCode, header};

use super::object::{self, Lease};
use super::{CALL, LeaseError};
use crate::kubernetes::{Answer, ApiServer, CallError};

/// How long to leave the API server alone where it does not say so.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long to leave a namespace alone that is on its way out.
const TERMINATING_RETRY: Duration = Duration::from_secs(5);

/// Who writes, in `managedFields`.
const MANAGER: &str = "fieldManager=cloakroom";

/// Who is asked.
pub(super) enum Api {
    Server(ApiServer),
    #[cfg(test)]
    Fake(std::sync::Arc<super::fake::Server>),
}

/// What became of a write.
pub(super) enum Outcome {
    /// It is stored, as this.
    Done(Lease),
    /// Somebody else wrote first: nothing was changed.
    Conflict,
    /// Nobody knows.
    Unsure,
}

/// The Leases of one namespace.
pub(super) struct Store {
    api: Api,
    namespace: String,
    /// What every holder of ours begins with: the agent's name and a number of this process that nobody else has.
    ours: String,
    /// Tells one write of ours from the other.
    writes: AtomicU64,
}

impl Store {
    pub(super) fn new(api: Api, namespace: String, holder: &str) -> Result<Self, getrandom::Error> {
        let mut nonce = [0_u8; 16];
        getrandom::fill(&mut nonce)?;
        let nonce = u128::from_le_bytes(nonce);
        Ok(Self { api, namespace, ours: format!("{holder}/{nonce:032x}."), writes: AtomicU64::new(1) })
    }

    /// Whether a section of this very process took it. Not whether it still runs: who has the turn knows that.
    pub(super) fn is_ours(&self, lease: &Lease) -> bool {
        lease.holder.starts_with(&self.ours)
    }

    /// The Lease of `key`; none where there is none yet.
    pub(super) async fn get(&self, key: &str, within: Duration) -> Result<Option<Lease>, LeaseError> {
        let answer = self.call(Request::get(self.path(key)), Vec::new(), within).await;
        let answer = answer.map_err(|error| match error {
            CallError::Busy(retry_after) => LeaseError::Unavailable { retry_after },
            CallError::Unreachable | CallError::Lost | CallError::Failed => {
                LeaseError::Unavailable { retry_after: RETRY_AFTER }
            }
            CallError::NotAuthenticated | CallError::Misbehaved => LeaseError::Misbehaved,
        })?;
        match answer.status {
            StatusCode::OK => Lease::parse(&answer).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::FORBIDDEN => Err(self.forbidden(&answer)),
            _ => Err(LeaseError::Misbehaved),
        }
    }

    /// Takes it: as it is in `base` and in no later state, or by making it.
    pub(super) async fn take(&self, key: &str, base: Option<&Lease>, within: Duration) -> Result<Outcome, LeaseError> {
        // Another one each time, so that every write changes the object, whatever the wall clock says.
        let holder = format!("{}{}", self.ours, self.writes.fetch_add(1, Ordering::Relaxed));
        self.write(key, base, Some(&holder), within).await
    }

    /// Leaves it to whoever comes.
    pub(super) async fn free(&self, key: &str, base: &Lease, within: Duration) -> Result<Outcome, LeaseError> {
        self.write(key, Some(base), None, within).await
    }

    async fn write(
        &self,
        key: &str,
        base: Option<&Lease>,
        holder: Option<&str>,
        within: Duration,
    ) -> Result<Outcome, LeaseError> {
        let request = match base {
            Some(_) => Request::put(format!("{}?{MANAGER}", self.path(key))),
            None => Request::post(format!("{}?{MANAGER}", self.collection())),
        };
        let body = object::body(key, &self.namespace, base, holder).to_string().into_bytes();
        let answer = match self.call(request.header(header::CONTENT_TYPE, "application/json"), body, within).await {
            Ok(answer) => answer,
            Err(CallError::Lost | CallError::Failed | CallError::Misbehaved) => return Ok(Outcome::Unsure),
            Err(CallError::Busy(retry_after)) => return Err(LeaseError::Unavailable { retry_after }),
            Err(CallError::Unreachable) => return Err(LeaseError::Unavailable { retry_after: RETRY_AFTER }),
            Err(CallError::NotAuthenticated) => return Err(LeaseError::Misbehaved),
        };
        match answer.status {
            StatusCode::OK | StatusCode::CREATED => Lease::parse(&answer).map(Outcome::Done),
            // Another version or uid, or made by somebody else a moment ago.
            StatusCode::CONFLICT => Ok(Outcome::Conflict),
            StatusCode::NOT_FOUND if base.is_some() => Ok(Outcome::Conflict),
            StatusCode::NOT_FOUND => Err(LeaseError::NamespaceMissing { namespace: (*self.namespace).into() }),
            StatusCode::FORBIDDEN => Err(self.forbidden(&answer)),
            _ => Err(LeaseError::Misbehaved),
        }
    }

    fn forbidden(&self, answer: &Answer) -> LeaseError {
        if answer.causes().iter().any(|reason| reason == "NamespaceTerminating") {
            return LeaseError::Unavailable { retry_after: TERMINATING_RETRY };
        }
        LeaseError::Denied { namespace: (*self.namespace).into() }
    }

    fn collection(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    fn path(&self, key: &str) -> String {
        format!("{}/{}", self.collection(), object::name(key))
    }

    async fn call(
        &self,
        request: http::request::Builder,
        body: Vec<u8>,
        within: Duration,
    ) -> Result<Answer, CallError> {
        let request = request.header(header::ACCEPT, "application/json").body(body);
        let request = request.map_err(|_| CallError::Misbehaved)?;
        let within = within.min(CALL);
        match &self.api {
            Api::Server(api) => api.call(request, within).await,
            #[cfg(test)]
            Api::Fake(server) => server.call(request, within).await,
        }
    }
}
