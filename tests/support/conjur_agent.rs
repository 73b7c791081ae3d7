//! Our side of Conjur for tests: the backend as an agent has it, logged in to a double.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_agent::access::{Right, Subject};
use cloakroom_agent::backend::conjur::{ConjurBackendSettings, ConjurVariables};
use cloakroom_agent::backend::{Backend, BackendError, Freshness, Guard, Put};
use cloakroom_agent::cache::{Cache, CacheMetrics, CacheSettings, Served, Source};
use cloakroom_agent::clock::Clock;
use cloakroom_agent::conjur::policy::{self, HostGrant, OperatorPolicy, RootBranch};
use cloakroom_agent::conjur::{Authn, Authorities, Conjur, ConjurSettings};
use cloakroom_agent::id::{Checksum, Scope, ScopePattern};
use cloakroom_agent::lease::Leases;
use cloakroom_agent::secret::SecretValue;
use cloakroom_agent::slots::{Catalogue, Generator, OnboardRequest, Strategy};
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{onboard_permit, read_permit, write_permit};
use crate::conjur::{FakeConjur, JwtService};

/// The service of `authn-jwt` that tests use.
pub const SERVICE: &str = "k8s";

/// A double with the policy that `cloakroom conjur policy` prints, for service accounts that hold `rights` everywhere.
pub async fn prepared(hosts: &[(&str, &[Right])]) -> FakeConjur {
    let fake = FakeConjur::start().await;
    fake.enable_jwt(SERVICE, &JwtService::default());
    let grant = |(name, right): (&str, Right)| HostGrant {
        subject: Subject::parse(&format!("system:serviceaccount:poc:{name}")).unwrap(),
        right,
        scope: ScopePattern::parse("*").unwrap(),
    };
    let grants = hosts.iter().flat_map(|(name, rights)| rights.iter().map(|right| grant((name, *right)))).collect();
    let text = OperatorPolicy {
        root: RootBranch::default(),
        hosts: RootBranch::parse("apps").unwrap(),
        service: SERVICE.to_owned(),
        authenticator: None,
        may_delete: true,
        grants,
    };
    fake.admin_load("root", &text.text());
    fake
}

/// Makes a scope and those around it as an agent would, without a request.
pub fn scope_in(fake: &FakeConjur, scope: &str) {
    let catalogue = Catalogue::default();
    let slots = |kind| catalogue.slots(kind).iter().map(|spec| spec.name.clone()).collect();
    let scope = Scope::parse(scope).unwrap();
    let load = policy::onboard(&RootBranch::default(), &scope, &slots, policy::LoadInto::Root);
    fake.admin_load(&load.branch, &load.body);
}

/// All rights.
pub const ALL: &[Right] = &[Right::SecretsRead, Right::SecretsWrite, Right::OnboardingWrite];

/// One agent's backend.
pub struct ConjurAgent {
    /// What an agent has.
    pub backend: Arc<ConjurVariables>,
    /// The client under it.
    pub conjur: Conjur,
    directory: TempDir,
    stop: CancellationToken,
}

impl Drop for ConjurAgent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// How an agent is made.
pub struct Making {
    /// The service account's name, in namespace `poc`.
    pub account: &'static str,
    /// Whether it reads from the follower.
    pub follower: bool,
    /// What keeps writers apart.
    pub leases: Leases,
    /// Whether it believes to be the only writer.
    pub single_writer: bool,
    /// How often versions are asked for.
    pub version_poll: Duration,
    /// How long one call may take.
    pub call: Duration,
    /// How long a policy load may take; onboarding with all its loads may take twice that.
    pub load: Duration,
    /// Another address than the double's.
    pub url: Option<String>,
    /// An authority that is trusted beside the double's.
    pub also_trusts: Option<String>,
    /// Another root branch than the default one.
    pub root: Option<&'static str>,
}

impl Default for Making {
    fn default() -> Self {
        Self {
            account: "agent",
            follower: false,
            leases: Leases::none(),
            single_writer: false,
            version_poll: Duration::ZERO,
            call: Duration::from_millis(4500),
            load: Duration::from_secs(50),
            url: None,
            also_trusts: None,
            root: None,
        }
    }
}

/// What a caller is served: the value, where it is from, and how old it says to be.
pub type Answer = Result<(String, Source, Duration), BackendError>;

/// The cache of an agent in front of its backend, which tells it of changes.
pub struct CachedConjur {
    /// What the cache goes by.
    pub clock: Clock,
    cache: Cache,
}

impl CachedConjur {
    /// With a time to live, on a clock that is moved or on the real one.
    pub fn new(agent: &ConjurAgent, ttl: Duration, clock: Clock) -> Self {
        let settings = CacheSettings {
            max_bytes: 1 << 20,
            max_entries: 1000,
            ttl,
            negative_ttl: Duration::from_secs(1),
            stale_if_error: Duration::ZERO,
            refresh_ahead: 0.0,
        };
        let tasks = TaskTracker::new();
        let spawner = Arc::new(move |work| drop(tasks.spawn(work)));
        let backend: Arc<dyn Backend> = Arc::<ConjurVariables>::clone(&agent.backend);
        let cache = Cache::new(settings, clock.clone(), backend, spawner, CacheMetrics::default());
        let told = cache.clone();
        agent.backend.on_change(Arc::new(move |scope| told.scope_changed(scope)));
        Self { clock, cache }
    }

    /// Asks as a caller does whose id carries `checksum`.
    pub async fn ask(&self, id: &str, checksum: &Checksum) -> Answer {
        let permit = read_permit(id).await;
        let served = match self.cache.peek(&permit, checksum) {
            Some(served) => served,
            None => self.cache.get(permit, checksum.clone()).await,
        };
        served.map(|served| (served.entry.value().expose().to_owned(), served.source, served.age))
    }

    /// Asks for several at once.
    pub async fn ask_all(&self, wanted: &[(&str, Checksum)]) -> Vec<Answer> {
        let permits = join_all(wanted.iter().map(|(id, _)| read_permit(id))).await;
        let wanted = permits.into_iter().zip(wanted.iter().map(|(_, checksum)| checksum.clone())).collect();
        let served = self.cache.get_many(wanted).await.into_iter();
        let text = |served: Served| (served.entry.value().expose().to_owned(), served.source, served.age);
        served.map(|one| one.map(text)).collect()
    }

    /// Asks as a caller does who knows of no value.
    pub async fn get(&self, id: &str) -> Answer {
        self.ask(id, &Checksum::default()).await
    }

    /// Writes through the cache.
    pub async fn put(&self, id: &str, text: &str) -> Result<(), BackendError> {
        let put = Put { value: SecretValue::new(text.to_owned()), guard: Guard::None, keep_previous: None };
        self.cache.put(&write_permit(id).await, put).await.map(drop)
    }
}

impl ConjurAgent {
    /// Logs in to `fake` by the token of a service account.
    pub fn new(fake: &FakeConjur, making: Making) -> Self {
        let directory = TempDir::new().unwrap();
        let (token, ca) = (directory.path().join("token"), directory.path().join("ca.pem"));
        std::fs::write(&token, fake.jwt("poc", making.account).sign()).unwrap();
        std::fs::write(&ca, making.also_trusts.unwrap_or_default() + &fake.ca_pem()).unwrap();
        let authn = Authn::Jwt { service_id: SERVICE.to_owned(), host_id: None, token_file: token };
        let settings = ConjurSettings {
            url: making.url.unwrap_or_else(|| fake.url()),
            follower_url: making.follower.then(|| fake.follower_url()),
            account: fake.account().to_owned(),
            authorities: Authorities::File(ca),
            authn,
            call: making.call,
            load: making.load,
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let conjur = Conjur::new(settings, tasks.clone()).unwrap();
        let settings = ConjurBackendSettings {
            root: making.root.map_or_else(RootBranch::default, |root| RootBranch::parse(root).unwrap()),
            slot_bytes_max: 1 << 20,
            version_poll: making.version_poll,
            in_use: Duration::from_mins(5),
            call: making.call,
            write: making.call,
            single_writer: making.single_writer,
            onboard: making.load * 2,
        };
        let slots = (Arc::new(Catalogue::default()), Generator::default());
        let backend = ConjurVariables::new(conjur.clone(), settings, slots, making.leases, tasks, stop.clone());
        Self { backend: Arc::new(backend), conjur, directory, stop }
    }

    /// The same, once it is logged in.
    pub async fn logged_in(fake: &FakeConjur, making: Making) -> Self {
        let agent = Self::new(fake, making);
        while agent.conjur.ensure_login().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        agent
    }

    /// The value of a secret, as any copy has it.
    pub async fn read(&self, id: &str) -> Result<String, BackendError> {
        self.read_all(&[id.to_owned()]).await.pop().unwrap()
    }

    /// The values of several, by one fetch.
    pub async fn read_all(&self, ids: &[String]) -> Vec<Result<String, BackendError>> {
        let permits = join_all(ids.iter().map(|id| read_permit(id))).await;
        let fetched = self.backend.fetch(&permits, Freshness::Any).await;
        fetched.into_iter().map(|one| one.map(|one| one.value.expose().to_owned())).collect()
    }

    /// Writes a secret.
    pub async fn put(&self, id: &str, text: &str) -> Result<(), BackendError> {
        let put = Put { value: SecretValue::new(text.to_owned()), guard: Guard::None, keep_previous: None };
        self.backend.put(&write_permit(id).await, put).await.map(drop)
    }

    /// Deletes a secret.
    pub async fn delete(&self, id: &str) -> Result<(), BackendError> {
        self.backend.delete(&write_permit(id).await, Guard::None).await
    }

    /// Onboards a scope, and names nothing in it.
    pub async fn onboard(&self, scope: &str) -> Result<(), BackendError> {
        let permit = onboard_permit(scope).await;
        let request = OnboardRequest::new(Strategy::Merge, Vec::new(), &Catalogue::default(), permit.scope().kind());
        self.backend.onboard(&permit, request.unwrap()).await.map(drop)
    }

    /// The file of the token that it logs in with.
    pub fn token_file(&self) -> PathBuf {
        self.directory.path().join("token")
    }

    /// The file of the authorities that it trusts.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }
}
