//! What a pod's annotations may choose, and what they may not: a closed grammar, checked as a whole.

use serde_json::Value;

use super::Denial;
use super::denial::Plain;
use super::files::{self, Surroundings};
use super::key::{self, Key};
use super::mode::Mode;
use super::pod::{Pod, name};
use super::volumes;
use crate::profile::{LogLevel, Profile, Resources, Settings};

/// No value of ours is longer; what is, is not looked into.
const LONGEST: usize = 4096;

/// A pod's choices, within those of its profile.
pub(super) struct Wish<'a> {
    pub(super) profile: &'a Profile,
    pub(super) mode: Mode,
    /// What the pod adds to the profile's files.
    pub(super) files: Vec<Value>,
    /// The pod's volume of templates.
    pub(super) templates: Option<&'a str>,
    /// Whose environment is resolved; none means everybody who sees the socket.
    pub(super) env: Option<Vec<String>>,
    /// Who sees the socket; none means everybody.
    pub(super) containers: Option<Vec<String>>,
    pub(super) after: Option<&'a str>,
    pub(super) resources: Resources,
    pub(super) log_level: Option<LogLevel>,
    pub(super) shares_processes: bool,
    pub(super) has_host_network: bool,
}

impl<'a> Wish<'a> {
    pub(super) fn read(pod: &Pod<'a>, namespace: &str, settings: &'a Settings) -> Result<Self, Denial> {
        known(pod)?;
        let given = |key: Key| pod.annotation(key.name());
        let usual = settings.usual_profile(namespace);
        let profile = match given(Key::Profile) {
            Some(_) if usual.locks(Key::Profile) => return Err(Denial::Locked(Key::Profile)),
            Some(name) => settings.profile(name).ok_or(Denial::UnknownProfile)?,
            None => usual,
        };
        if let Some(key) = Key::ALL.into_iter().find(|key| given(*key).is_some() && profile.locks(*key)) {
            return Err(Denial::Locked(key));
        }
        let is_long = |key: Key| {
            let longest = if key == Key::Files { files::LONGEST } else { LONGEST };
            given(key).is_some_and(|text| text.len() > longest)
        };
        if let Some(key) = Key::ALL.into_iter().find(|key| is_long(*key)) {
            let must = if key == Key::Files { "shorter than 32 KiB" } else { "shorter than 4096 bytes" };
            return Err(Denial::Value { key, must });
        }
        let mode = given(Key::Mode).map_or(Ok(Mode::Sidecar), Mode::parse)?;
        let templates = given(Key::Templates).map(|name| volume(name, pod)).transpose()?;
        let shares_processes = given(Key::ShareProcessNamespace).map(acknowledged).transpose()?.is_some();
        let around = Surroundings {
            has_templates: templates.is_some(),
            sees_processes: shares_processes && pod.shares_processes().is_some(),
        };
        let files = given(Key::Files).map_or(Ok(Vec::new()), |text| files::read(text, profile, around))?;
        if mode == Mode::Init && files.is_empty() && profile.files().is_empty() {
            let must = "sidecar or exec where there are no files: mode init writes them and ends";
            return Err(Denial::Value { key: Key::Mode, must });
        }
        if given(Key::Env).is_some() && mode != Mode::Exec {
            return Err(Denial::Value { key: Key::Env, must: "used together with cloakroom.dev/mode: exec" });
        }
        Ok(Self {
            profile,
            mode,
            files,
            templates,
            env: given(Key::Env).map(|text| names(Key::Env, text)).transpose()?,
            containers: given(Key::Containers).map(|text| names(Key::Containers, text)).transpose()?,
            after: given(Key::After).map(after).transpose()?,
            resources: match given(Key::Resources) {
                Some(text) => resources(text, &profile.resources)?,
                None => profile.resources.clone(),
            },
            log_level: given(Key::LogLevel).map(|text| level(text, profile)).transpose()?,
            shares_processes,
            has_host_network: pod.has_host_network(),
        })
    }

    /// Whether the container of this name sees the socket and the files.
    pub(super) fn serves(&self, container: &str) -> bool {
        is_among(self.containers.as_ref(), container)
    }

    /// Whether the environment of the container of this name is resolved.
    pub(super) fn wraps(&self, container: &str) -> bool {
        self.mode == Mode::Exec && self.serves(container) && is_among(self.env.as_ref(), container)
    }

    /// Whether the agent makes files.
    pub(super) fn has_files(&self) -> bool {
        !self.files.is_empty() || !self.profile.files().is_empty()
    }

    /// The lists of containers, by the keys that hold them.
    pub(super) fn lists(&self) -> impl Iterator<Item = (Key, &str)> {
        let lists = [(Key::Containers, &self.containers), (Key::Env, &self.env)];
        lists.into_iter().flat_map(|(key, list)| list.iter().flatten().map(move |name| (key, name.as_str())))
    }
}

fn is_among(names: Option<&Vec<String>>, container: &str) -> bool {
    names.is_none_or(|names| names.iter().any(|name| name == container))
}

/// A volume of the pod's own: ours hold sockets and tokens.
fn volume<'a>(wanted: &'a str, pod: &Pod<'_>) -> Result<&'a str, Denial> {
    let is_there = pod.volumes.iter().any(|volume| name(volume) == wanted);
    if is_there && !volumes::is_reserved(wanted) { Ok(wanted) } else { Err(Denial::NoSuchVolume) }
}

/// Every key under our prefix is one of ours: a misspelt wish must not be an unheard one.
fn known(pod: &Pod<'_>) -> Result<(), Denial> {
    let keys = |map: Option<&'_ serde_json::Map<String, Value>>| -> Vec<String> {
        map.into_iter().flat_map(|map| map.keys()).filter(|name| key::is_ours(name)).cloned().collect()
    };
    let unknown = |name: &str| match name.split_once('/') {
        Some((key::PREFIX, rest)) => Denial::UnknownKey(Plain::key(rest)),
        _ => Denial::Capitals,
    };
    for name in keys(pod.annotations) {
        Key::of(&name).ok_or_else(|| unknown(&name))?;
    }
    for name in keys(pod.labels) {
        match Key::of(&name) {
            Some(Key::Inject) => {}
            Some(key) => return Err(Denial::NotALabel(key)),
            None => return Err(unknown(&name)),
        }
    }
    Ok(())
}

fn names(key: Key, text: &str) -> Result<Vec<String>, Denial> {
    let wrong = Denial::Value { key, must: "names of containers, separated by commas" };
    let text = text.trim();
    let names: Vec<String> = if text.starts_with(['[', '-']) {
        serde_saphyr::from_str(text).map_err(|_| wrong.clone())?
    } else {
        text.split(',').map(|name| name.trim().to_owned()).collect()
    };
    if names.is_empty() || names.iter().any(|name| !is_label(name)) { Err(wrong) } else { Ok(names) }
}

fn after(text: &str) -> Result<&str, Denial> {
    if is_label(text) {
        Ok(text)
    } else {
        Err(Denial::Value { key: Key::After, must: "the name of an init container" })
    }
}

/// A DNS label, as the names of containers are.
fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn resources(text: &str, usual: &Resources) -> Result<Resources, Denial> {
    let wrong = Denial::Value {
        key: Key::Resources,
        must: "a map such as {requests: {cpu: 5m, memory: 16Mi}, limits: {memory: 64Mi}}, with requests that are not \
               above the limits",
    };
    let tree: Value = serde_saphyr::from_str(text).map_err(|_| wrong.clone())?;
    let mut found = usual.clone();
    if found.read(&tree).is_empty() && found.is_consistent() { Ok(found) } else { Err(wrong) }
}

fn level(text: &str, profile: &Profile) -> Result<LogLevel, Denial> {
    let level = LogLevel::parse(text)
        .ok_or(Denial::Value { key: Key::LogLevel, must: "one of error, warn, info, debug, trace" })?;
    if profile.log_levels.contains(&level) { Ok(level) } else { Err(Denial::Locked(Key::LogLevel)) }
}

fn acknowledged(text: &str) -> Result<(), Denial> {
    match text {
        "acknowledged" => Ok(()),
        _ => Err(Denial::Value { key: Key::ShareProcessNamespace, must: "acknowledged" }),
    }
}
