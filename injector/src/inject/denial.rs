//! Why a pod is refused: one sentence each, which names the key and the way out.

use std::fmt;

use super::key::{Key, PREFIX};

/// A refusal. Its text goes to whoever makes the pod, so it holds nothing of the pod but names that are [`Plain`] (N5).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The document is not shaped as a pod.
    #[error("this is no pod: {0}; send a Pod of version v1")]
    Malformed(&'static str),
    /// A list that no real pod has.
    #[error("{0} of the pod or of one of its containers has more than 500 entries; write fewer")]
    TooMany(&'static str),
    /// There is nobody to serve.
    #[error("spec.containers is missing or empty; a pod needs at least one container")]
    NoContainers,
    /// Without the containers whose names are ours, nothing is left.
    #[error(
        "spec.containers holds nothing but the names that are reserved for the agent, cloakroom-agent and \
         cloakroom-install; give your container another name"
    )]
    OnlyReserved,
    /// A key that we do not know.
    #[error(
        "the pod carries {0} under {PREFIX}/, which nothing reads; take it away, or write one of inject, profile, mode, \
         containers, files, templates, env, after, resources, log-level, share-process-namespace"
    )]
    UnknownKey(Plain),
    /// A key of ours with the prefix in other letters.
    #[error("the pod carries a key with the prefix {PREFIX} in capital letters, which nothing reads; write {PREFIX}/")]
    Capitals,
    /// An annotation that was written as a label.
    #[error("{name} is read from annotations only; move it from labels to annotations", name = .0.name())]
    NotALabel(Key),
    /// A value outside its grammar.
    #[error("{name} must be {must}; correct it, or take it away", name = .key.name())]
    Value {
        /// Where.
        key: Key,
        /// What would be right.
        must: &'static str,
    },
    /// A value that is no pod's to choose.
    #[error(
        "{name} is locked by the pod's profile; take it away, or ask the operator for a profile that allows it",
        name = .0.name()
    )]
    Locked(Key),
    /// A profile that is not there.
    #[error(
        "{name} names no profile of this installation; take it away, or ask the operator which profiles there are",
        name = Key::Profile.name()
    )]
    UnknownProfile,
    /// Files that an agent would not take; in the words of the agent, which repeat no text.
    #[error("the pod's files cannot be made: {0}")]
    Files(String),
    /// A volume that is not there.
    #[error(
        "{name} names a volume that the pod does not have; write the name of one of spec.volumes",
        name = Key::Templates.name()
    )]
    NoSuchVolume,
    /// Mode exec has to stand before a command, and the image's own is nothing that the pod tells.
    #[error(
        "{0} has no command, and mode exec puts the agent's program before one; write command (and args) as the image \
         has them, or name only other containers in {name}",
        name = Key::Env.name()
    )]
    NoCommand(Plain),
    /// The pod runs where the agent does not.
    #[error("{name} asks for the agent, which does not run on Windows; take it away", name = Key::Inject.name())]
    Windows,
    /// Other containers could see and signal the agent.
    #[error(
        "with {0} the pod's containers can see and signal the agent; take it away, or accept that with the annotation \
         {name}: acknowledged",
        name = Key::ShareProcessNamespace.name()
    )]
    SharedProcesses(&'static str),
    /// A container that is not there.
    #[error(
        "{name} names a container that the pod does not have; write names of spec.containers or spec.initContainers, \
         separated by commas",
        name = .0.name()
    )]
    NoSuchContainer(Key),
    /// A container that is to ask the agent, and does not see it.
    #[error(
        "{env} names a container that {containers} leaves out; put it on both lists",
        env = Key::Env.name(), containers = Key::Containers.name()
    )]
    NotServed,
    /// A container that has ended, or has started, before the agent.
    #[error(
        "{list} names an init container that runs before the agent; take it from the list, or let {after} name \
         another one",
        list = .0.name(), after = Key::After.name()
    )]
    BeforeAgent(Key),
    /// `after` names what starts later than every init container.
    #[error(
        "{name} names a container of spec.containers, and all of those start after the agent; name a container of \
         spec.initContainers, or take it away",
        name = Key::After.name()
    )]
    AfterApplication,
    /// Something else is where a volume of ours has to be.
    #[error(
        "{0} mounts a volume at or below {1}, where the agent's has to be; mount it elsewhere, or leave the container out \
         of {name}",
        name = Key::Containers.name()
    )]
    Place(Plain, &'static str),
    /// Two containers would listen on one port.
    #[error(
        "{0} has the port that metricsPort of the pod's profile gives to the agent; use another port, or ask the \
         operator for a profile without metricsPort"
    )]
    MetricsPort(Plain),
}

impl Denial {
    /// The reason as metrics and logs name it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::TooMany(_) => "too_many",
            Self::NoContainers => "no_containers",
            Self::OnlyReserved => "only_reserved",
            Self::UnknownKey(_) | Self::Capitals => "unknown_key",
            Self::NotALabel(_) => "not_a_label",
            Self::Value { .. } => "bad_value",
            Self::Locked(_) => "locked",
            Self::UnknownProfile => "unknown_profile",
            Self::Files(_) => "files",
            Self::NoSuchVolume => "no_such_volume",
            Self::NoCommand(_) => "no_command",
            Self::Windows => "windows",
            Self::SharedProcesses(_) => "shared_processes",
            Self::NoSuchContainer(_) => "no_such_container",
            Self::NotServed => "not_served",
            Self::BeforeAgent(_) => "before_agent",
            Self::AfterApplication => "after_application",
            Self::Place(..) => "place_taken",
            Self::MetricsPort(_) => "metrics_port",
        }
    }
}

/// A name out of a pod, if it looks like one: whatever else stands there could be a value that slipped (N5), or text
/// that forges a line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain {
    what: &'static str,
    name: Option<String>,
}

impl Plain {
    pub(super) fn key(name: &str) -> Self {
        Self::of("a key", name)
    }

    pub(super) fn container(name: &str) -> Self {
        Self::of("a container", name)
    }

    fn of(what: &'static str, name: &str) -> Self {
        let plain = !name.is_empty()
            && name.len() < 32
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        Self { what, name: plain.then(|| name.to_owned()) }
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            // "a key `x`", "a container `x`"
            Some(name) => write!(f, "{} `{name}`", self.what),
            None => f.write_str(self.what),
        }
    }
}
