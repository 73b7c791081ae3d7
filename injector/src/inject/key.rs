//! The labels and annotations that a pod may carry under our prefix.

/// What stands before the slash.
pub const PREFIX: &str = "cloakroom.dev";

/// A key under [`PREFIX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Whether to inject.
    Inject,
    /// Which profile.
    Profile,
    /// In which way.
    Mode,
    /// Which containers see the socket.
    Containers,
    /// Rendered files.
    Files,
    /// A volume with templates.
    Templates,
    /// Containers whose environment is resolved.
    Env,
    /// Which init container is before the agent.
    After,
    /// What the agent may use.
    Resources,
    /// How much the agent logs.
    LogLevel,
    /// That the pod's containers see the agent's process.
    ShareProcessNamespace,
    /// What the webhook has written.
    Status,
}

impl Key {
    /// All of them, in the order of the documents.
    pub const ALL: [Self; 12] = [
        Self::Inject,
        Self::Profile,
        Self::Mode,
        Self::Containers,
        Self::Files,
        Self::Templates,
        Self::Env,
        Self::After,
        Self::Resources,
        Self::LogLevel,
        Self::ShareProcessNamespace,
        Self::Status,
    ];

    /// As it is written on a pod.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inject => "cloakroom.dev/inject",
            Self::Profile => "cloakroom.dev/profile",
            Self::Mode => "cloakroom.dev/mode",
            Self::Containers => "cloakroom.dev/containers",
            Self::Files => "cloakroom.dev/files",
            Self::Templates => "cloakroom.dev/templates",
            Self::Env => "cloakroom.dev/env",
            Self::After => "cloakroom.dev/after",
            Self::Resources => "cloakroom.dev/resources",
            Self::LogLevel => "cloakroom.dev/log-level",
            Self::ShareProcessNamespace => "cloakroom.dev/share-process-namespace",
            Self::Status => "cloakroom.dev/status",
        }
    }

    /// As a profile's `locks` write it: without the prefix.
    pub fn short(self) -> &'static str {
        self.name().split_once('/').map_or("", |(_, short)| short)
    }

    /// The key with this full name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }

    /// Whether a profile can forbid it. Who may ask at all is the namespace's matter, and nobody reads the status.
    pub fn is_lockable(self) -> bool {
        !matches!(self, Self::Inject | Self::Status)
    }
}

/// Whether a key is meant for us. Annotation prefixes are compared without case by the API server, so a prefix in other
/// letters is a misspelt one of ours and not somebody else's.
pub(super) fn is_ours(name: &str) -> bool {
    name.split_once('/').is_some_and(|(prefix, _)| prefix.eq_ignore_ascii_case(PREFIX))
}
