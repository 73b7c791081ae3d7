//! One request and its whole answer: a deadline, a size, one renewal of the login, and nothing that is not expected.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use tokio::time::{Instant, timeout_at};

use super::answer::{self, Answer};
use super::lane::Lane;
use super::outbound::Outbound;
use super::session::{Standing, Ticket, Turn};
use super::token::AccessToken;
use super::{Conjur, Side};

/// How long to leave Conjur alone where it does not say so.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A token has less than 2 KiB.
const LOGIN_BYTES_MAX: usize = 64 << 10;

/// Why there is no answer that could be used. Carries no text from the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConjurError {
    /// No connection: nothing was sent.
    #[error("Conjur cannot be reached")]
    Unreachable,
    /// The time passed before anything was sent.
    #[error("there was no time left to ask Conjur")]
    TooLate,
    /// The connection broke, or the time passed, after the request may have arrived.
    #[error("Conjur did not answer")]
    Lost,
    /// 500: it failed. Of a write this means that nothing was stored.
    #[error("Conjur failed")]
    Failed,
    /// Another 5xx than 500 and 503: something in front of it failed, or what it waited for.
    #[error("the way to Conjur failed")]
    Gateway,
    /// 429: we ask too much. Nothing was done.
    #[error("Conjur takes no more requests now")]
    Limited(Duration),
    /// 503. A proxy also says so when the connection behind it broke, so that of a write nobody knows.
    #[error("Conjur is overloaded or not ready")]
    Busy(Duration),
    /// 401, also with a new login.
    #[error("Conjur does not accept its own token")]
    NotAuthenticated,
    /// The credential cannot be read.
    #[error("there is no credential to log in to Conjur with")]
    NoCredential,
    /// 401 to a login.
    #[error("Conjur refused the login")]
    LoginRefused,
    /// 403: our role may not, also with a new login.
    #[error("Conjur's policy refuses the operation")]
    Denied,
    /// A longer answer than there can be.
    #[error("Conjur's answer is too long")]
    TooLarge,
    /// A redirect, or a refusal that has no place here: what was asked was not done.
    #[error("Conjur refused with an unexpected status")]
    Unexpected,
    /// HTML, a cut-off body, a success that has no place here.
    #[error("Conjur answered with something unexpected")]
    Misbehaved,
}

impl ConjurError {
    /// Whether this says something about the way or the moment, and nothing about the request.
    fn is_of_the_way(self) -> bool {
        matches!(
            self,
            Self::Unreachable
                | Self::TooLate
                | Self::Lost
                | Self::Failed
                | Self::Gateway
                | Self::Limited(_)
                | Self::Busy(_)
        )
    }

    /// Whether a request that ended so may have had its effect.
    #[must_use]
    pub fn may_have_arrived(self) -> bool {
        matches!(self, Self::Lost | Self::Gateway | Self::Busy(_) | Self::TooLarge | Self::Misbehaved)
    }
}

/// A request, but for who asks.
#[derive(Clone)]
pub(super) struct Outgoing {
    pub(super) side: Side,
    pub(super) method: Method,
    /// Below the base address; percent-encoded.
    pub(super) target: String,
    pub(super) body: Bytes,
    pub(super) content_type: Option<&'static str>,
    /// Asks for a batch in base64. Any other `Accept-Encoding` would be a word too much for Conjur.
    pub(super) base64: bool,
    /// The longest answer.
    pub(super) limit: usize,
}

impl Outgoing {
    pub(super) fn get(side: Side, target: String, limit: usize) -> Self {
        let (body, content_type) = (Bytes::new(), None);
        Self { side, method: Method::GET, target, body, content_type, base64: false, limit }
    }

    pub(super) fn send(method: Method, target: String, body: Bytes, content_type: &'static str) -> Self {
        let content_type = Some(content_type);
        Self { side: Side::Leader, method, target, body, content_type, base64: false, limit: 64 << 10 }
    }
}

impl Conjur {
    /// Sends, and reads the answer. Every status below 500 other than 401, 403, 429 and a redirect is an [`Answer`].
    pub(super) async fn call(&self, outgoing: Outgoing, within: Duration) -> Result<Answer, ConjurError> {
        self.exchange(outgoing, within, &self.inner.calls).await
    }

    /// The same for what may take minutes: it keeps no other request from its turn.
    pub(super) async fn call_load(&self, outgoing: Outgoing) -> Result<Answer, ConjurError> {
        self.exchange(outgoing, self.inner.settings.load, &self.inner.loads).await
    }

    async fn exchange(&self, outgoing: Outgoing, within: Duration, lane: &Lane) -> Result<Answer, ConjurError> {
        let sent = Arc::new(AtomicBool::new(false));
        let work = async {
            // The turn first: a token that waits in a queue may be out of date at its end.
            let (_place, turn) = lane.enter().await.ok_or(ConjurError::TooLate)?;
            let asking = pin!(self.ask(&outgoing, &sent));
            lane.until_slow(turn, asking).await
        };
        match timeout_at(Instant::now() + within, work).await {
            Ok(outcome) => outcome,
            Err(_elapsed) if sent.load(Ordering::Relaxed) => Err(ConjurError::Lost),
            Err(_elapsed) => Err(ConjurError::TooLate),
        }
    }

    async fn ask(&self, outgoing: &Outgoing, sent: &Arc<AtomicBool>) -> Result<Answer, ConjurError> {
        let mut ticket = self.ticket().await?;
        let first = self.send(outgoing, &ticket, sent).await?;
        match first.status {
            StatusCode::UNAUTHORIZED => ticket = self.renew(ticket.number, Patience::Waits).await?,
            // The role may have been made anew, or the token be bound to an address that we have no more.
            StatusCode::FORBIDDEN => match self.renew(ticket.number, Patience::None).await {
                Ok(new) => ticket = new,
                // It was not confirmed.
                Err(error) if error.is_of_the_way() => return Err(error),
                Err(_) => return Err(ConjurError::Denied),
            },
            _ => return Ok(first),
        }
        let second = self.send(outgoing, &ticket, sent).await?;
        match second.status {
            StatusCode::UNAUTHORIZED => Err(ConjurError::NotAuthenticated),
            StatusCode::FORBIDDEN => Err(ConjurError::Denied),
            _ => Ok(second),
        }
    }

    /// A read whose connection broke is sent once more: whatever is on the way closes idle connections when it likes, and
    /// may do so while a request is on one. Only where Conjur has answered since the last time: an outage is not asked
    /// twice.
    async fn send(&self, outgoing: &Outgoing, ticket: &Ticket, sent: &Arc<AtomicBool>) -> Result<Answer, ConjurError> {
        let answering = &self.inner.answering;
        match self.send_once(outgoing, ticket, sent).await {
            Err(ConjurError::Lost) if outgoing.method == Method::GET && answering.swap(false, Ordering::Relaxed) => {
                self.send_once(outgoing, ticket, sent).await
            }
            Ok(answer) => {
                answering.store(true, Ordering::Relaxed);
                Ok(answer)
            }
            error => error,
        }
    }

    async fn send_once(
        &self,
        outgoing: &Outgoing,
        ticket: &Ticket,
        sent: &Arc<AtomicBool>,
    ) -> Result<Answer, ConjurError> {
        sent.store(outgoing.content_type.is_none(), Ordering::Relaxed);
        let url = format!("{}{}", self.inner.base(outgoing.side), outgoing.target);
        let mut request = self.inner.transport.client().request(outgoing.method.clone(), url);
        request = request.header(header::AUTHORIZATION, ticket.header.clone());
        if outgoing.base64 {
            request = request.header(header::ACCEPT_ENCODING, HeaderValue::from_static("base64"));
        }
        if let Some(content_type) = outgoing.content_type {
            let body = Outbound::new(outgoing.body.clone(), Arc::clone(sent));
            request = request.header(header::CONTENT_TYPE, content_type).body(reqwest::Body::wrap(body));
        }
        self.receive(request, outgoing.limit).await
    }

    async fn receive(&self, request: reqwest::RequestBuilder, limit: usize) -> Result<Answer, ConjurError> {
        let response = request.send().await.map_err(|error| self.unanswered(&error))?;
        let (status, retry_after) = (response.status(), answer::retry_after(response.headers()));
        let retry_after = retry_after.unwrap_or(RETRY_AFTER);
        match status {
            StatusCode::TOO_MANY_REQUESTS => Err(ConjurError::Limited(retry_after)),
            StatusCode::SERVICE_UNAVAILABLE => Err(ConjurError::Busy(retry_after)),
            StatusCode::INTERNAL_SERVER_ERROR => Err(ConjurError::Failed),
            _ if status.is_server_error() => Err(ConjurError::Gateway),
            _ if status.is_redirection() => Err(ConjurError::Unexpected),
            _ if status.is_informational() => Err(ConjurError::Misbehaved),
            // What stands in a refusal is not for us, however long it is.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(Answer::bare(&response)),
            _ => Answer::read(response, limit).await,
        }
    }

    fn unanswered(&self, error: &reqwest::Error) -> ConjurError {
        if error.is_connect() {
            self.inner.transport.tell_why(error);
        }
        if error.is_connect() || error.is_builder() { ConjurError::Unreachable } else { ConjurError::Lost }
    }
}

/// What to do where the last login was good and a moment ago.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Do without another.
    None,
    /// Wait until there may be another.
    Waits,
}

/// Logging in.
impl Conjur {
    /// A token that is good for a request now.
    async fn ticket(&self) -> Result<Ticket, ConjurError> {
        match self.inner.session.standing() {
            Standing::Good(ticket) => Ok(ticket),
            Standing::Aging(ticket) => {
                let (this, number) = (self.clone(), ticket.number);
                // Whoever is first does it; the others go on with what they have.
                if self.inner.session.logging_in.try_lock().is_ok() {
                    self.inner.tasks.spawn(async move { drop(this.renew(number, Patience::None).await) });
                }
                Ok(ticket)
            }
            Standing::Out => self.renew(self.inner.session.number(), Patience::Waits).await,
        }
    }

    /// A newer token than number `number`, by at most one login for all who ask.
    async fn renew(&self, number: u64, patience: Patience) -> Result<Ticket, ConjurError> {
        let session = &self.inner.session;
        let _one = session.logging_in.lock().await;
        match session.turn(number) {
            Turn::Done(ticket) => return Ok(ticket),
            Turn::NotNow(error) => return Err(error),
            Turn::Soon(_) if patience == Patience::None => return Err(ConjurError::NotAuthenticated),
            Turn::Soon(time) => tokio::time::sleep(time).await,
            Turn::Now => {}
        }
        let began = session.now();
        let outcome = self.log_in().await;
        if let Err(error) = &outcome {
            tracing::warn!(error = error as &dyn std::error::Error, "the login to Conjur has failed");
        }
        session.learn(began, outcome)
    }

    /// Logs in unless that has been done, and says what comes of it.
    ///
    /// # Errors
    /// [`ConjurError`].
    pub async fn ensure_login(&self) -> Result<(), ConjurError> {
        self.ticket().await.map(drop)
    }

    /// Where reads go, replicas know who may log in; the leader does where they do not answer.
    async fn log_in(&self) -> Result<AccessToken, ConjurError> {
        // Less than a request has, so that whoever waits for it hears what came of it; both ways share it.
        let within = self.inner.settings.call.mul_f64(0.8);
        if !self.has_follower() {
            return self.log_in_at(Side::Leader, within).await;
        }
        match self.log_in_at(Side::Follower, within / 2).await {
            Err(error) if error.is_of_the_way() => self.log_in_at(Side::Leader, within / 2).await,
            first => first,
        }
    }

    async fn log_in_at(&self, side: Side, within: Duration) -> Result<AccessToken, ConjurError> {
        let inner = Arc::clone(&self.inner);
        // Files are read where a slow one holds up nobody.
        let login = tokio::task::spawn_blocking(move || inner.settings.authn.login(&inner.settings.account)).await;
        let login = login.map_err(|_| ConjurError::NoCredential)?.map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "there is nothing to log in to Conjur with");
            ConjurError::NoCredential
        })?;
        let url = format!("{}{}", self.inner.base(side), login.path);
        let request = self.inner.transport.client().post(url);
        let request = request.header(header::CONTENT_TYPE, login.content_type).body(Bytes::from_owner(login.body));
        let answer = match timeout_at(Instant::now() + within, self.receive(request, LOGIN_BYTES_MAX)).await {
            Ok(answer) => answer?,
            Err(_elapsed) => return Err(ConjurError::Lost),
        };
        match answer.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Err(ConjurError::LoginRefused),
            StatusCode::FORBIDDEN => return Err(ConjurError::Denied),
            _ => return Err(ConjurError::Misbehaved),
        }
        AccessToken::parse(answer.json_text()?).map_err(|_| ConjurError::Misbehaved)
    }
}
