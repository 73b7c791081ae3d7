//! The configuration: one YAML text, checked as a whole before anything is opened; all problems in one report (N1).

mod access;
mod backend;
mod conjur;
mod document;
mod keys;
mod limits;
mod reader;
mod render;
mod schema;
mod secrets;
mod units;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::admin::AdminAddress;
use crate::conjur::policy::RootBranch;
use crate::conjur::{Authn, Authorities};
use crate::render::spec::SetSpec;
use crate::slots::{Catalogue, Generator};

pub use access::TOKEN_DIRECTORY;
pub use limits::Limits;
pub use render::check_added_files;
pub use schema::schema;

/// Everything that an operator may say.
#[derive(Clone, Debug)]
pub struct Config {
    /// Sockets.
    pub listen: Listen,
    /// Where values live.
    pub backend: BackendConfig,
    /// Who calls.
    pub identity: IdentityConfig,
    /// Who decides.
    pub permissions: Permissions,
    /// What is kept in memory.
    pub cache: CacheConfig,
    /// What scopes hold.
    pub secrets: Secrets,
    /// Where records go.
    pub audit: AuditConfig,
    /// Files that are made of secrets.
    pub render: Vec<SetSpec>,
    /// Numbers.
    pub limits: Limits,
    /// The agent's own log.
    pub log: LogConfig,
    dev: bool,
}

/// `listen`
#[derive(Clone, Debug)]
pub struct Listen {
    /// The API's socket.
    pub socket: PathBuf,
    /// Group of directory and socket.
    pub group: Option<u32>,
    /// Who may connect; with identity pod, none means everybody who has the mount.
    pub allow_uids: Vec<u32>,
    /// Probes and metrics; none turns them off.
    pub admin: Option<AdminAddress>,
}

/// `backend`
#[derive(Clone, Debug)]
pub enum BackendConfig {
    /// One sealed file.
    Embedded(EmbeddedConfig),
    /// Kubernetes Secrets.
    Kubernetes(KubernetesConfig),
    /// Conjur.
    Conjur(Box<ConjurConfig>),
}

/// `backend.embedded`
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// The store.
    pub file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

/// `backend.kubernetes`
#[derive(Clone, Debug)]
pub struct KubernetesConfig {
    /// The name of the environment's label; empty for none.
    pub environment: String,
    /// The name of the team's.
    pub team: String,
    /// The name of the application's.
    pub application: String,
    /// Labels with the same value on each Secret.
    pub fixed_labels: BTreeMap<String, String>,
    /// The finalizer; empty for none.
    pub finalizer: String,
    /// Whether onboarding makes a missing namespace.
    pub create_namespaces: bool,
}

/// `backend.conjur`
#[derive(Clone, Debug)]
pub struct ConjurConfig {
    /// The leader, without a slash at the end.
    pub url: String,
    /// Whom reads are sent to, if not the leader.
    pub follower_url: Option<String>,
    /// The account.
    pub account: String,
    /// Whom TLS trusts.
    pub authorities: Authorities,
    /// The branch that everything lives under.
    pub root: RootBranch,
    /// How often entries in use are looked at for changes that others made; zero for never.
    pub version_poll: Duration,
    /// How the agent logs in.
    pub authn: Authn,
    /// How merges of one slot are serialised.
    pub lease: LeaseConfig,
}

/// `backend.conjur.lease`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseConfig {
    /// By a Kubernetes `Lease`; in the pod's own namespace where none is named.
    Kubernetes {
        /// Where the Leases are.
        namespace: Option<String>,
    },
    /// By nothing: this agent is the only writer.
    None,
}

/// `identity`
#[derive(Clone, Debug)]
pub struct IdentityConfig {
    /// How callers are told apart.
    pub kind: IdentityKind,
    /// Where the pod's token for the API server is.
    pub token_dir: PathBuf,
}

/// How callers are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityKind {
    /// All are the pod.
    Pod,
    /// Each is its uid.
    Uid,
}

/// `permissions`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permissions {
    /// Development mode: the own uid may do everything.
    Development,
    /// A file of grants.
    File(PathBuf),
    /// Kubernetes RBAC.
    Kubernetes,
}

/// `cache`
#[derive(Clone, Copy, Debug)]
pub struct CacheConfig {
    /// Bytes of values and keys.
    pub max_bytes: u64,
    /// Entries.
    pub max_entries: u64,
    /// How long a value is fresh.
    pub ttl: Duration,
    /// How long an absence is.
    pub negative_ttl: Duration,
    /// How long past its time a value may stand in for an unavailable backend.
    pub stale_if_error: Duration,
    /// The last part of its time in which a value is fetched again.
    pub refresh_ahead: f64,
}

/// `secrets`
#[derive(Clone, Debug)]
pub struct Secrets {
    /// How fingerprints are made.
    pub checksum: ChecksumScheme,
    /// How values are generated.
    pub generator: Generator,
    /// Which slots there are.
    pub catalogue: Catalogue,
}

/// `secrets.checksum`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumScheme {
    /// Plain SHA-256 on Conjur, which has no key that only readers can see; keyed elsewhere.
    Auto,
    /// HMAC under a key that only readers of the backend can see.
    Keyed,
    /// Plain SHA-256, as the reference's Conjur scheme.
    Sha256,
}

/// `audit`
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// Where records go.
    pub sink: AuditSink,
    /// The key of value fingerprints.
    pub hmac_key_file: Option<PathBuf>,
    /// How long a request waits for its record.
    pub timeout: Duration,
}

/// `audit.sink`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditSink {
    /// Standard output.
    Stdout,
    /// A file, a FIFO or a character device.
    File(PathBuf),
}

/// `log`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The level, if the operator fixed one.
    pub level: Option<&'static str>,
    /// How lines look.
    pub format: LogFormat,
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Lines for people.
    Text,
    /// Lines for programs.
    Json,
}

/// Everything that is wrong with a configuration, one line each. Names keys, never what stands under them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Problems {
    /// These lines, of which there is at least one.
    #[must_use]
    pub fn new(lines: Vec<String>) -> Self {
        Self(lines)
    }

    /// How many there are; at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Each of them.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`Problems`]: all that one reading can find.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let (document, mut problems) = document::read(text)?;
        let mut reader = reader::Reader::new(&document);
        let config = keys::read(&mut reader);
        problems.extend(reader.finish());
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(Problems(problems)),
        }
    }

    /// `--dev`: everything in one directory, everything allowed to the own uid.
    #[must_use]
    pub fn dev(state: &Path, socket: &Path, admin: Option<AdminAddress>) -> Self {
        let beside = AdminAddress::Unix(socket.with_file_name("admin.sock"));
        let (mut reader, file) = (reader::Reader::describing(), state.join("store.redb"));
        Self {
            listen: Listen {
                socket: socket.to_owned(),
                group: None,
                allow_uids: vec![nix::unistd::geteuid().as_raw()],
                admin: Some(admin.unwrap_or(beside)),
            },
            backend: BackendConfig::Embedded(EmbeddedConfig { file, key_file: state.join("store.key") }),
            identity: IdentityConfig { kind: IdentityKind::Uid, token_dir: PathBuf::new() },
            permissions: Permissions::Development,
            cache: keys::cache(&mut reader),
            secrets: secrets::read(&mut reader),
            audit: AuditConfig {
                sink: AuditSink::File(state.join("audit.jsonl")),
                hmac_key_file: None,
                timeout: crate::audit::DEFAULT_TIMEOUT,
            },
            render: Vec::new(),
            limits: limits::read(&mut reader),
            log: LogConfig { level: None, format: LogFormat::Auto },
            dev: true,
        }
    }

    /// Whether this is `--dev`.
    #[must_use]
    pub fn is_dev(&self) -> bool {
        self.dev
    }
}
