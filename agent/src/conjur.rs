//! Conjur as this agent speaks to it: one account, one login that is renewed in time, and a bound for everything.
//!
//! What Conjur says is decided by statuses. Its texts are read nowhere: they name ids, differ between versions, and a
//! proxy in front writes others.

mod answer;
mod authn;
pub mod batch;
mod call;
mod cause;
mod diagnosis;
mod lane;
pub mod list;
pub mod metadata;
mod outbound;
pub mod policy;
mod requests;
mod session;
mod stranger;
mod token;
mod transport;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio_util::task::TaskTracker;

pub use answer::Answer;
pub use authn::{Authn, AuthnError};
pub use call::ConjurError;
pub use metadata::Metadata;
pub use requests::{Loaded, SetOutcome};
pub use token::{AccessToken, TokenError};
pub use transport::{Authorities, TransportError};

use lane::Lane;
use session::Session;
use transport::Transport;

/// Requests under way at one time. A kept-alive connection holds one of the server's (by default ten) threads for a
/// while after each answer, and many agents share them.
const CALLS_MAX: usize = 4;

/// Requests beside them whose answer takes its time.
const HANGING_MAX: usize = 12;

/// Where Conjur is, and who we are there.
pub struct ConjurSettings {
    /// The leader, without a slash at the end.
    pub url: String,
    /// Whom reads are sent to, if not the leader.
    pub follower_url: Option<String>,
    /// The account.
    pub account: String,
    /// Whom TLS trusts.
    pub authorities: Authorities,
    /// How to log in.
    pub authn: Authn,
    /// Time for one call.
    pub call: Duration,
    /// Time for loading a policy.
    pub load: Duration,
}

/// Which copy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that takes the writes.
    Leader,
    /// A replica, where one is set.
    Follower,
}

/// One account of one Conjur; clones share login and connections.
#[derive(Clone)]
pub struct Conjur {
    inner: Arc<Inner>,
}

struct Inner {
    settings: ConjurSettings,
    transport: Transport,
    session: Session,
    calls: Lane,
    /// One load at a time: a second one into the same branch would only be told to come again.
    loads: Lane,
    /// Whether it has answered since a connection last broke.
    answering: AtomicBool,
    tasks: TaskTracker,
}

impl Conjur {
    /// Reads the authorities; connects when it is first needed. Renewals of the login run on `tasks`.
    ///
    /// # Errors
    /// [`TransportError`]: there is nobody to trust.
    pub fn new(settings: ConjurSettings, tasks: TaskTracker) -> Result<Self, TransportError> {
        let by_tls = [Some(&settings.url), settings.follower_url.as_ref()];
        let by_tls = by_tls.into_iter().flatten().any(|url| url.starts_with("https:"));
        let transport = Transport::new(settings.authorities.clone(), by_tls)?;
        let calls = Lane::new(CALLS_MAX, CALLS_MAX + HANGING_MAX, Duration::from_millis(500));
        let loads = Lane::new(1, HANGING_MAX, Duration::from_secs(5));
        let (session, answering) = (Session::default(), AtomicBool::new(true));
        let inner = Inner { settings, transport, session, calls, loads, answering, tasks };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether a login has ever succeeded.
    #[must_use]
    pub fn has_logged_in(&self) -> bool {
        self.inner.session.number() > 0
    }

    /// When the login ends, by its own word.
    #[must_use]
    pub fn login_expiry(&self) -> Option<jiff::Timestamp> {
        self.inner.session.expiry()
    }

    /// Whether reads go to a replica.
    #[must_use]
    pub fn has_follower(&self) -> bool {
        self.inner.settings.follower_url.is_some()
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.inner.settings.account
    }
}

impl Inner {
    fn base(&self, side: Side) -> &str {
        match (side, &self.settings.follower_url) {
            (Side::Follower, Some(follower)) => follower,
            _ => &self.settings.url,
        }
    }
}
