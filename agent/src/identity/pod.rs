//! The pod that we run in, told by the API server itself: asked with our own token, and again whenever it is rotated.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::access::{AccessError, Subject};
use crate::jitter;
use crate::kubernetes::{ApiServer, CallError, MINOR_MIN, TooOld};

/// How long one question may take.
const WITHIN: Duration = Duration::from_secs(5);

/// How often the token is looked at. The files themselves are read again at most every ten seconds.
const LOOK: Duration = Duration::from_secs(5);

/// Pauses between questions that were not answered.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Who the pod is, as far as is known.
pub struct PodIdentity {
    state: RwLock<State>,
    /// Grows with each change of the state.
    generation: AtomicU64,
}

struct State {
    subject: Result<Subject, AccessError>,
    pod: Option<Box<str>>,
}

impl Default for PodIdentity {
    /// Nobody, until the API server has answered.
    fn default() -> Self {
        let state = State { subject: Err(AccessError::Unavailable), pod: None };
        Self { state: RwLock::new(state), generation: AtomicU64::new(1) }
    }
}

impl PodIdentity {
    /// Subject and pod name.
    pub fn now(&self) -> (Result<Subject, AccessError>, Option<Box<str>>) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        (state.subject.clone(), state.pod.clone())
    }

    /// Grows with each change.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Something that an operator must know.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        match self.state.read().unwrap_or_else(PoisonError::into_inner).subject {
            Ok(_) => None,
            Err(AccessError::NotAuthenticated | AccessError::Denied) => {
                Some("the API server does not accept the pod's token: every request is refused")
            }
            Err(AccessError::Unavailable) => {
                Some("the API server has not said yet who this pod is: every request is refused")
            }
        }
    }

    /// Asks until `stop`.
    ///
    /// # Errors
    /// [`TooOld`], before anything is served under an identity.
    pub async fn keep(self: Arc<Self>, api: ApiServer, stop: CancellationToken) -> Result<(), TooOld> {
        let mut asked = 0;
        let mut checked = false;
        let mut pause = RETRY_MIN;
        while !stop.is_cancelled() {
            let token = api.token_generation();
            if asked == token {
                rest(LOOK, &stop).await;
                api.look_at_token();
                continue;
            }
            if self.check_version(&api, &mut checked).await? && self.ask(&api).await {
                (asked, pause) = (token, RETRY_MIN);
                continue;
            }
            rest(jitter::around(pause), &stop).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
        Ok(())
    }

    /// Whether the server is known to be new enough.
    async fn check_version(&self, api: &ApiServer, checked: &mut bool) -> Result<bool, TooOld> {
        if !*checked {
            match api.minor_version(WITHIN).await {
                Ok(minor) if minor < MINOR_MIN => return Err(TooOld { minor }),
                Ok(_) => *checked = true,
                Err(error) => self.not_answered(error),
            }
        }
        Ok(*checked)
    }

    /// Whether there was an answer.
    async fn ask(&self, api: &ApiServer) -> bool {
        match api.who_am_i(WITHIN).await {
            Ok(identified) => {
                let subject = Subject::parse(&identified.user)
                    .filter(|subject| subject.as_str().starts_with("system:serviceaccount:"));
                if subject.is_none() {
                    tracing::error!("the token in identity.tokenDir belongs to no service account");
                }
                tracing::info!(
                    subject = subject.as_ref().map(Subject::as_str),
                    "the API server has said who this pod is"
                );
                self.set(subject.ok_or(AccessError::NotAuthenticated), identified.pod.filter(|name| is_pod_name(name)));
                true
            }
            Err(error) => {
                self.not_answered(error);
                false
            }
        }
    }

    fn not_answered(&self, error: CallError) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the API server has not said who this pod is");
        if error == CallError::NotAuthenticated {
            self.set(Err(AccessError::NotAuthenticated), None);
        }
        // Otherwise what it said last still holds: the old token has not ended by itself, and every decision asks again.
    }

    fn set(&self, subject: Result<Subject, AccessError>, pod: Option<String>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State { subject, pod: pod.map(Into::into) };
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

/// RFC 1123 subdomain: what the API server lets a pod be called.
fn is_pod_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    !name.is_empty() && name.len() <= 253 && name.bytes().all(plain)
}

async fn rest(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}
