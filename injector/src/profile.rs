//! What the operator decides about injected pods: one YAML text, checked as a whole before the first review (N10).

mod config;
mod quantity;
mod reader;
mod resources;
mod settings;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

pub use config::Admin;
pub use resources::Resources;

pub use cloakroom_agent::config::Problems;

use crate::inject::key::Key;

/// What is the same for all pods, and the profiles.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The agent's image.
    pub image: String,
    /// When a node pulls it.
    pub image_pull_policy: &'static str,
    /// The agent's uid.
    pub uid: u32,
    /// The agent's own group.
    pub gid: u32,
    /// The group that may connect to the socket.
    pub group: u32,
    default: Profile,
    profiles: BTreeMap<String, Profile>,
    namespaces: BTreeMap<String, Profile>,
}

/// What is the same for all pods of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// What the agent may use.
    pub resources: Resources,
    /// The levels of the log that a pod may choose.
    pub log_levels: Vec<LogLevel>,
    /// The pod's port for probes and metrics; none means a socket beside the API's.
    pub metrics_port: Option<u16>,
    /// The audience of the token for Conjur, where there is one.
    pub conjur_audience: Option<String>,
    /// For how long tokens are asked.
    pub token_expiration_seconds: u32,
    /// Whether the namespace decides the agent's uid, as on `OpenShift`.
    pub run_as_user_from_namespace: bool,
    config: Map<String, Value>,
    locks: BTreeSet<Key>,
}

impl Settings {
    /// Reads the text; an error names everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        settings::parse(text)
    }

    /// The profile of a pod that names none.
    pub fn usual_profile(&self, namespace: &str) -> &Profile {
        self.namespaces.get(namespace).unwrap_or(&self.default)
    }

    /// The profile of this name.
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.get(name)
    }
}

impl Profile {
    /// Whether a pod may not set the key.
    pub fn locks(&self, key: Key) -> bool {
        self.locks.contains(&key)
    }
}

/// How much the agent logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLevel(&'static str);

impl LogLevel {
    /// The level of this name.
    pub fn parse(text: &str) -> Option<Self> {
        ["error", "warn", "info", "debug", "trace"].into_iter().find(|level| *level == text).map(Self)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0
    }
}
