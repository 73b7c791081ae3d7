//! Who may do what: subjects, rights, decisions, and the permits that everything behind authorisation asks for (N1, N3).

pub mod file;
pub mod kubernetes;
mod permit;
pub mod rate;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::id::{Location, Scope};
pub use permit::{OnboardPermit, ReadPermit, WritePermit};

/// Who is calling: a fact from the kernel or the API server, never configuration text (N13).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Arc<str>);

impl Subject {
    /// The uid of a socket peer, from `SO_PEERCRED`: `uid:N`. The overflow uid 65534 stands for every uid that a
    /// user namespace cannot name, so it is nobody's identity.
    #[must_use]
    pub fn from_uid(uid: u32) -> Option<Self> {
        (uid != OVERFLOW_UID && uid != u32::MAX).then(|| Self(format!("uid:{uid}").into()))
    }

    /// Parses the written form that grants use: `uid:N` or `system:serviceaccount:NAMESPACE:NAME`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(uid) = text.strip_prefix("uid:") {
            let number: u32 = uid.parse().ok()?;
            return Self::from_uid(number).filter(|subject| subject.as_str() == text);
        }
        let (namespace, name) = text.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        let plain = |part: &str| {
            !part.is_empty()
                && part.len() <= 253
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
        };
        (plain(namespace) && plain(name)).then(|| Self(text.into()))
    }

    /// The written form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// `/proc/sys/kernel/overflowuid`: what the kernel shows for a uid that has no mapping (`user_namespaces(7)`).
const OVERFLOW_UID: u32 = 65534;

/// What a caller wants to do. None implies another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Resolve.
    SecretsRead,
    /// Put, rotate, delete.
    SecretsWrite,
    /// Create, update and delete scopes.
    OnboardingWrite,
}

impl Right {
    /// All of them, in the order of the documents.
    pub const ALL: [Self; 3] = [Self::SecretsRead, Self::SecretsWrite, Self::OnboardingWrite];

    /// The name that users write.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SecretsRead => "secrets_read",
            Self::SecretsWrite => "secrets_write",
            Self::OnboardingWrite => "onboarding_write",
        }
    }
}

/// What a permit is asked for: a right, and where a provider tells them apart, which half of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Resolve a secret.
    Read,
    /// Put or rotate a secret.
    Write,
    /// Delete a secret.
    Delete,
    /// Create or update a scope.
    Onboard,
    /// Delete a scope.
    Offboard,
}

impl Action {
    /// The right that it takes.
    #[must_use]
    pub fn right(self) -> Right {
        match self {
            Self::Read => Right::SecretsRead,
            Self::Write | Self::Delete => Right::SecretsWrite,
            Self::Onboard | Self::Offboard => Right::OnboardingWrite,
        }
    }
}

impl Right {
    /// What it allows: who holds the right may do all of it.
    #[must_use]
    pub fn actions(self) -> &'static [Action] {
        match self {
            Self::SecretsRead => &[Action::Read],
            Self::SecretsWrite => &[Action::Write, Action::Delete],
            Self::OnboardingWrite => &[Action::Onboard, Action::Offboard],
        }
    }
}

/// The scope of a question, borrowed: empty team or app mean a wider scope.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Environment.
    pub env: &'a str,
    /// Team or empty.
    pub team: &'a str,
    /// Application or empty.
    pub app: &'a str,
}

impl<'a> Target<'a> {
    /// The Kubernetes namespace of the scope's object: `env`, or `env--team` for an application.
    #[must_use]
    pub fn namespace(&self) -> std::borrow::Cow<'a, str> {
        if self.app.is_empty() { self.env.into() } else { format!("{}--{}", self.env, self.team).into() }
    }

    /// The name of the scope's object in that namespace.
    #[must_use]
    pub fn object_name(&self) -> &'a str {
        match (self.team, self.app) {
            ("", _) => "secrets",
            (team, "") => team,
            (_, app) => app,
        }
    }
}

impl<'a> From<&'a Location> for Target<'a> {
    fn from(location: &'a Location) -> Self {
        Self { env: location.env(), team: location.team(), app: location.app() }
    }
}

impl<'a> From<&'a Scope> for Target<'a> {
    fn from(scope: &'a Scope) -> Self {
        Self { env: scope.env(), team: scope.team().unwrap_or_default(), app: scope.app().unwrap_or_default() }
    }
}

/// The answer of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Granted.
    Allow,
    /// Not granted.
    Deny,
}

/// Why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The provider said no.
    #[error("the subject does not hold the right for this scope")]
    Denied,
    /// The provider says that the caller is not who it claims to be.
    #[error("the identity was refused")]
    NotAuthenticated,
    /// The provider could not be asked; nothing is allowed meanwhile.
    #[error("the permission provider cannot be asked")]
    Unavailable,
}

/// A request without a permit, with what it was for: the audit record of a denial names it.
#[derive(Debug)]
pub struct Refused<T> {
    /// Why.
    pub error: AccessError,
    /// For what.
    pub target: T,
}

/// Grants of one subject, for `whoami`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct GrantView {
    /// Rights, by name.
    pub rights: Vec<Right>,
    /// Scope patterns, as written.
    pub scopes: Vec<String>,
}

/// Where permissions come from: a grants file now, Kubernetes RBAC and the gateway later.
#[async_trait]
pub trait PermissionProvider: Send + Sync + 'static {
    /// The name that `whoami` shows.
    fn name(&self) -> &'static str;

    /// The answer, if it is known without waiting. Called on every request.
    fn known(&self, subject: &Subject, action: Action, target: Target<'_>) -> Option<Decision>;

    /// The answer, with a network call if need be.
    async fn ask(&self, subject: &Subject, action: Action, scope: &Scope) -> Result<Decision, AccessError>;

    /// The subject's grants, where the provider can list them.
    fn grants(&self, _subject: &Subject) -> Option<Vec<GrantView>> {
        None
    }

    /// Something that an operator must know, for the log and `/status`.
    fn warning(&self) -> Option<&'static str> {
        None
    }
}

/// Decisions by right, for `cloakroom_decisions_total`.
#[derive(Clone, Debug, Default)]
pub struct AccessMetrics {
    decisions: Family<DecisionLabels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DecisionLabels {
    right: &'static str,
    decision: &'static str,
}

impl AccessMetrics {
    /// Adds the family to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("decisions", "Permission decisions", self.decisions.clone());
    }

    fn handle(&self, right: Right, decision: &'static str) -> Counter {
        self.decisions.get_or_create(&DecisionLabels { right: right.as_str(), decision }).clone()
    }
}

/// The only maker of permits.
#[derive(Clone)]
pub struct Access {
    provider: Arc<dyn PermissionProvider>,
    /// Allowed, then denied, in the order of [`Right::ALL`]: resolved once, because every request counts.
    counters: [[Counter; 2]; 3],
}

impl Access {
    /// Decides by `provider`, counting nowhere.
    #[must_use]
    pub fn new(provider: Arc<dyn PermissionProvider>) -> Self {
        Self::counted(provider, &AccessMetrics::default())
    }

    /// Decides by `provider`.
    #[must_use]
    pub fn counted(provider: Arc<dyn PermissionProvider>, metrics: &AccessMetrics) -> Self {
        let counters = Right::ALL.map(|right| [metrics.handle(right, "allow"), metrics.handle(right, "deny")]);
        Self { provider, counters }
    }

    /// The provider, for `whoami` and `/status`.
    #[must_use]
    pub fn provider(&self) -> &dyn PermissionProvider {
        &*self.provider
    }

    /// May `subject` resolve this secret?
    ///
    /// # Errors
    /// [`Refused`]: there is no permit, so there is nothing to call the backend with.
    pub async fn read(&self, subject: &Subject, location: Location) -> Result<ReadPermit, Refused<Location>> {
        match self.require(subject, Action::Read, Target::from(&location)).await {
            Ok(()) => Ok(ReadPermit::new(location, subject.clone())),
            Err(error) => Err(Refused { error, target: location }),
        }
    }

    /// May `subject` put or rotate this secret?
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn write(&self, subject: &Subject, location: Location) -> Result<WritePermit, Refused<Location>> {
        self.change(subject, Action::Write, location).await
    }

    /// May `subject` delete this secret?
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn delete(&self, subject: &Subject, location: Location) -> Result<WritePermit, Refused<Location>> {
        self.change(subject, Action::Delete, location).await
    }

    async fn change(
        &self,
        subject: &Subject,
        action: Action,
        location: Location,
    ) -> Result<WritePermit, Refused<Location>> {
        match self.require(subject, action, Target::from(&location)).await {
            Ok(()) => Ok(WritePermit::new(location, subject.clone())),
            Err(error) => Err(Refused { error, target: location }),
        }
    }

    /// May `subject` create or update this scope?
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn onboard(&self, subject: &Subject, scope: Scope) -> Result<OnboardPermit, Refused<Scope>> {
        self.change_scope(subject, Action::Onboard, scope).await
    }

    /// May `subject` delete this scope?
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn offboard(&self, subject: &Subject, scope: Scope) -> Result<OnboardPermit, Refused<Scope>> {
        self.change_scope(subject, Action::Offboard, scope).await
    }

    async fn change_scope(
        &self,
        subject: &Subject,
        action: Action,
        scope: Scope,
    ) -> Result<OnboardPermit, Refused<Scope>> {
        match self.require(subject, action, Target::from(&scope)).await {
            Ok(()) => Ok(OnboardPermit::new(scope, subject.clone())),
            Err(error) => Err(Refused { error, target: scope }),
        }
    }

    /// Whether `subject` holds the whole right, for `whoami?scope=`.
    ///
    /// # Errors
    /// [`AccessError::Unavailable`] or [`AccessError::NotAuthenticated`].
    pub async fn holds(&self, subject: &Subject, right: Right, target: Target<'_>) -> Result<bool, AccessError> {
        for action in right.actions() {
            match self.decide(subject, *action, target).await {
                Ok(Decision::Allow) => {}
                Ok(Decision::Deny) | Err(AccessError::Denied) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn decide(&self, subject: &Subject, action: Action, target: Target<'_>) -> Result<Decision, AccessError> {
        if let Some(decision) = self.provider.known(subject, action, target) {
            return Ok(decision);
        }
        let scope = Scope::new(target.env, target.team, target.app).map_err(|_| AccessError::Denied)?;
        self.provider.ask(subject, action, &scope).await
    }

    async fn require(&self, subject: &Subject, action: Action, target: Target<'_>) -> Result<(), AccessError> {
        let decision = self.decide(subject, action, target).await;
        let allowed = decision == Ok(Decision::Allow);
        let right = action.right() as usize;
        if let Some(counter) = self.counters.get(right).and_then(|pair| pair.get(usize::from(!allowed))) {
            counter.inc();
        }
        if decision? == Decision::Allow { Ok(()) } else { Err(AccessError::Denied) }
    }
}
