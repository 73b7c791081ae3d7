//! A double of Conjur OSS: stateful, on real HTTP, a leader and a follower, and as stubborn as the real one.
//!
//! What it lets through and the real server does not is a defect of the double. `suite/conjur_recordings.rs` holds it to
//! recordings of a real server.

mod answer;
mod authn;
mod certificate;
mod clock;
mod core;
mod door;
mod fault;
mod gate;
mod graph;
mod id;
mod info;
mod jwt;
mod keys;
mod load;
mod log;
mod policies;
mod request;
mod resources;
mod roles;
mod route;
mod search;
mod secrets;
mod server;
mod service;
mod state;
mod statement;
mod store;
mod token;
mod wire;
mod yaml;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::task::AbortOnDropHandle;

pub use certificate::Certificate;
pub use fault::{Fault, When};
pub use gate::{Gate, Moment};
pub use log::{Call, Kind, Side};
pub use service::{Jwt, JwtService};

use self::certificate::Certificates;
use self::core::{Core, Tuning};
use self::door::Door;
use self::id::Id;
use self::load::Mode;
use self::server::Served;
use self::state::Resource;

/// How a server is started.
pub struct Settings {
    /// The account.
    pub account: String,
    /// TLS, or plain HTTP.
    pub tls: bool,
    /// A branch that the admin loads first, and owns.
    pub branch: Option<String>,
    /// Where the leader listens; the follower does on the same host, at a port that is free.
    pub address: SocketAddr,
    /// What its certificate is for, beside its address.
    pub names: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            account: "main".to_owned(),
            tls: true,
            branch: Some("controlplane".to_owned()),
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            names: vec!["localhost".to_owned(), "conjur.test".to_owned()],
        }
    }
}

/// What a policy load made.
#[derive(Debug)]
pub struct Loaded {
    /// How often the branch was loaded.
    pub version: u64,
    /// The API keys of new hosts and users, by login.
    pub api_keys: BTreeMap<String, String>,
}

/// A running server; it ends when it is dropped.
pub struct FakeConjur {
    core: Arc<Core>,
    doors: [Arc<Door>; 2],
    certificates: Option<Arc<Certificates>>,
    _serving: [AbortOnDropHandle<()>; 2],
}

impl FakeConjur {
    /// TLS, account `main`, a user `admin`, an empty branch `controlplane`.
    pub async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    /// Starts as told. Needs a runtime, and nothing of a test.
    #[expect(clippy::unused_async, reason = "what it starts needs the runtime that an async function has")]
    pub async fn with(settings: Settings) -> Self {
        let core = Arc::new(Core::new(&settings.account));
        let (admin, root) = (core.full("user", "admin"), core.full("policy", "root"));
        core.store.change(&core.clock, |state| {
            for id in [&admin, &root] {
                state.put(Resource {
                    id: Arc::clone(id),
                    owner: Arc::clone(&admin),
                    policy: None,
                    created: core.clock.unix(),
                    annotations: BTreeMap::new(),
                    restricted_to: Vec::new(),
                });
            }
            Arc::make_mut(&mut state.keys).insert(Arc::clone(&admin), token::api_key().into());
        });
        let certificates = settings.tls.then(|| Arc::new(Certificates::new(settings.address.ip(), settings.names)));
        let follower = SocketAddr::new(settings.address.ip(), 0);
        let serve = |side| {
            let address = if side == Side::Leader { settings.address } else { follower };
            let (door, listeners) = Door::new(address);
            let (door, core, certificates) = (Arc::new(door), Arc::clone(&core), certificates.clone());
            (Arc::clone(&door), server::run(Served { core, side, door, certificates }, listeners))
        };
        let (leader, leading) = serve(Side::Leader);
        let (follower, following) = serve(Side::Follower);
        let fake = Self { core, doors: [leader, follower], certificates, _serving: [leading, following] };
        if let Some(branch) = settings.branch {
            fake.admin_load("root", &format!("- !policy {branch}\n"));
        }
        fake
    }

    /// The base URL of the leader.
    pub fn url(&self) -> String {
        self.address(Side::Leader)
    }

    /// The base URL of the follower.
    pub fn follower_url(&self) -> String {
        self.address(Side::Follower)
    }

    fn address(&self, side: Side) -> String {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.door(side).address)
    }

    fn door(&self, side: Side) -> &Door {
        &self.doors[usize::from(side == Side::Follower)]
    }

    /// What has to be trusted to speak TLS with it now.
    pub fn ca_pem(&self) -> String {
        self.certificates.as_ref().unwrap().ca_pem()
    }

    /// The account.
    pub fn account(&self) -> &str {
        &self.core.account
    }

    // === state ===

    /// POSTs a text into a branch as the admin, without a request and at once. It panics if the text is refused.
    pub fn admin_load(&self, branch: &str, text: &str) -> Loaded {
        self.load_as("admin", branch, text).unwrap()
    }

    /// Loads a text by PATCH into a branch as the admin.
    pub fn admin_patch(&self, branch: &str, text: &str) -> Loaded {
        self.apply("admin", branch, text, Mode::Change).unwrap()
    }

    /// POSTs a text into a branch in the name of any role; nobody asks whether it may. The error is the server's sentence.
    pub fn load_as(&self, login: &str, branch: &str, text: &str) -> Result<Loaded, String> {
        self.apply(login, branch, text, Mode::Add)
    }

    fn apply(&self, login: &str, branch: &str, text: &str, mode: Mode) -> Result<Loaded, String> {
        let statements = statement::read(&self.core.account, branch, text).map_err(|fault| fault.message)?;
        let (branch, role) = (self.core.full("policy", branch), id::of_login(&self.core.account, login));
        let done = policies::commit(&self.core, &branch, mode, &statements, text, &role);
        let (version, keys) = done.map_err(|told| told.unwrap_or_else(|| id::missing(&branch)))?;
        let api_keys = keys.into_iter().map(|(role, key)| (id::login(&role), key.to_string())).collect();
        Ok(Loaded { version, api_keys })
    }

    /// The API key of a host or user, by login.
    pub fn api_key(&self, login: &str) -> String {
        self.core.view_of_leader().keys[&id::of_login(&self.core.account, login)].to_string()
    }

    /// The API key of the host `host/{id}`, which is made in the root branch if there is none.
    pub fn host(&self, id: &str) -> String {
        let role = self.core.full("host", id);
        if self.core.view_of_leader().resource(&role).is_none() {
            self.admin_load("root", &format!("- !host\n  id: {id:?}\n  annotations:\n    authn/api-key: true\n"));
        }
        self.api_key(&format!("host/{id}"))
    }

    /// A value of the header `Authorization` that is good for the set time, without a login.
    pub fn authorization(&self, login: &str) -> String {
        let token = self.core.tokens.issue(login, self.core.clock.unix(), self.core.tuning().token_ttl);
        format!("Token token=\"{}\"", token::encode(&token))
    }

    /// The latest value of a variable of the account, as it is stored.
    pub fn value(&self, id: &str) -> Option<Bytes> {
        self.core.view_of_leader().value(&self.variable(id)).cloned()
    }

    /// The versions that are kept, with their numbers.
    pub fn versions(&self, id: &str) -> Vec<(u64, Bytes)> {
        let state = self.core.view_of_leader();
        state.secrets.get(&self.variable(id)).map(|found| found.kept.iter().cloned().collect()).unwrap_or_default()
    }

    /// Stores a value past all requests and rights. The variable must be there.
    pub fn set_value(&self, id: &str, value: impl Into<Bytes>) {
        let variable = self.variable(id);
        assert!(self.exists("variable", id), "there is no variable {id}");
        self.core.store.change(&self.core.clock, |state| state.set_value(&variable, value.into()));
    }

    /// Whether there is a record, whoever may see it.
    pub fn exists(&self, kind: &str, id: &str) -> bool {
        self.core.view_of_leader().resource(&self.core.full(kind, id)).is_some()
    }

    /// Whether a role has a privilege on a record, by whatever way.
    pub fn allowed(&self, login: &str, privilege: &str, kind: &str, id: &str) -> bool {
        let role = id::of_login(&self.core.account, login);
        self.core.view_of_leader().allowed(&role, privilege, &self.core.full(kind, id))
    }

    fn variable(&self, id: &str) -> Id {
        self.core.full("variable", id)
    }

    // === behaviour ===

    fn tune(&self, tune: impl FnOnce(&mut Tuning)) {
        tune(&mut self.core.tuning.lock().unwrap());
    }

    /// How far the follower is behind, from now on. It keeps what it needs for that only while this is not nought.
    pub fn set_lag(&self, lag: Duration) {
        self.core.store.set_lag(lag);
    }

    /// How long every call takes before it does anything.
    pub fn set_latency(&self, latency: Duration) {
        self.tune(|tuning| tuning.latency = latency);
    }

    /// How long a policy load takes on top of that.
    pub fn set_load_time(&self, time: Duration) {
        self.tune(|tuning| tuning.load_time = time);
    }

    /// How long tokens are good that are issued from now on; whole seconds.
    pub fn set_token_ttl(&self, ttl: Duration) {
        self.tune(|tuning| tuning.token_ttl = ttl);
    }

    /// Whether writes of one variable at the same time collide with a 500; they do, unless a test wants it otherwise.
    pub fn set_collisions(&self, collide: bool) {
        self.tune(|tuning| tuning.collisions = collide);
    }

    /// The longest target that the proxy in front lets through; longer ones are a 414.
    pub fn set_target_limit(&self, limit: Option<usize>) {
        self.tune(|tuning| tuning.target_limit = limit);
    }

    /// Moves the server's clock: tokens expire and the follower catches up without anybody waiting.
    pub fn advance(&self, by: Duration) {
        self.core.clock.advance(by);
    }

    /// Shows another certificate to new connections, and ends those that there are.
    pub fn set_certificate(&self, shown: Certificate) {
        self.certificates.as_ref().unwrap().show(shown);
        self.cut_connections();
    }

    /// Makes a new authority, whose certificate `ca_pem` gives from now on, and ends all connections.
    pub fn rotate_ca(&self) {
        self.certificates.as_ref().unwrap().rotate();
        self.cut_connections();
    }

    /// Ends all connections, idle or not.
    pub fn cut_connections(&self) {
        self.doors.iter().for_each(|door| door.cut());
    }

    // === what goes wrong, what waits, what was asked ===

    /// Lets calls fail; the first fault that is for a call and not used up is taken. A [`Kind`] will do for `when`.
    /// `Refuse` and `TlsStall` are for a whole address: they end its connections and are for new ones.
    pub fn fail(&self, when: impl Into<When>, fault: Fault) {
        let at_the_door = matches!(fault, Fault::Refuse | Fault::TlsStall);
        self.core.faults.arm(when.into(), fault);
        for side in [Side::Leader, Side::Follower] {
            if self.core.faults.refuses(side) {
                self.door(side).shut();
            } else if at_the_door && self.core.faults.would_stall(side) {
                self.door(side).cut();
            }
        }
    }

    /// Ends all faults. Calls that hang go on hanging; connections that are ignored end.
    pub fn clear_faults(&self) {
        let stalled = [Side::Leader, Side::Follower].map(|side| self.core.faults.ever_stalled(side));
        self.core.faults.clear();
        for (door, stalled) in self.doors.iter().zip(stalled) {
            door.open();
            if stalled {
                door.cut();
            }
        }
    }

    /// Holds the next call that this is for, until the gate is opened or dropped.
    pub fn hold(&self, when: impl Into<When>, moment: Moment) -> Gate {
        self.core.gates.hold(when.into(), moment)
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.core.log.calls()
    }

    /// How many calls there were of a kind, on both sides.
    pub fn count(&self, kind: Kind) -> usize {
        self.core.log.calls().iter().filter(|call| call.endpoint == kind).count()
    }

    /// Empties the log, and begins to count calls in flight anew.
    pub fn forget_calls(&self) {
        self.core.log.forget();
    }

    /// How many calls are in flight now.
    pub fn in_flight(&self) -> usize {
        self.core.log.flying()
    }

    /// The most calls that were in flight at once.
    pub fn max_in_flight(&self) -> usize {
        self.core.log.most()
    }
}
