//! Every key of the settings, in the order of the documents.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::reader::{Lines, Reader, plain_key};
use super::{LogLevel, Problems, Profile, Resources, Settings, config};
use crate::inject::key::Key;

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];

pub(super) fn parse(text: &str) -> Result<Settings, Problems> {
    let tree: Value = serde_saphyr::from_str(text).map_err(|error| {
        let place =
            error.location().map_or_else(String::new, |at| format!("line {}, column {}: ", at.line(), at.column()));
        Problems::new(vec![format!(
            "{place}this is no YAML, or a key stands twice; check indentation, colons and quotes"
        )])
    })?;
    let empty = Map::new();
    let members = match &tree {
        Value::Object(members) => members,
        Value::Null => &empty,
        _ => {
            return Err(Problems::new(vec![
                "the settings are a map of keys such as `image` and `profiles`".to_owned(),
            ]));
        }
    };
    let mut lines = Lines::new();
    match read(members, &mut lines) {
        Some(settings) if lines.is_empty() => Ok(settings),
        _ => Err(Problems::new(lines)),
    }
}

/// Reads everything; nothing where something is missing or wrong, and then there is a line about it.
fn read(members: &Map<String, Value>, lines: &mut Lines) -> Option<Settings> {
    let mut reader = Reader::new(members, "");
    let image = reader.read(lines, "image", "the agent's image", image);
    if image.is_none() && reader.value("image").is_none() {
        lines.push("image: is missing; write the agent's image".to_owned());
    }
    let policy = |value: &Value| PULL_POLICIES.into_iter().find(|policy| value.as_str() == Some(policy));
    let pull = reader.read(lines, "imagePullPolicy", "one of Always, IfNotPresent, Never", policy);
    let mut id = |name, usual| reader.read(lines, name, "a number from 1 to 2147483647", id).unwrap_or(usual);
    let (uid, gid, group) = (id("uid", 65532), id("gid", 65532), id("group", 65533));
    let profiles = profiles(&mut reader, lines);
    let named = |name: &str| profiles.get(name).cloned();
    let chosen = reader.read(lines, "defaultProfile", "the name of a profile", Value::as_str).unwrap_or("default");
    let default = named(chosen);
    if default.is_none() && !profiles.is_empty() {
        lines.push("defaultProfile: names no profile; write one of `profiles`, or call one of them default".to_owned());
    }
    let mut namespaces = BTreeMap::new();
    let entries = reader.read(lines, "namespaces", "a map of namespaces and names of profiles", Value::as_object);
    for (namespace, profile) in entries.into_iter().flatten() {
        match profile.as_str().and_then(named) {
            Some(profile) => drop(namespaces.insert(namespace.clone(), profile)),
            None => lines.push(format!("namespaces.{}: names no profile", shown(namespace))),
        }
    }
    reader.finish(lines);
    Some(Settings {
        image: image?,
        image_pull_policy: pull.unwrap_or("IfNotPresent"),
        uid,
        gid,
        group,
        default: default?,
        profiles,
        namespaces,
    })
}

fn image(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let plain = (1..=1024).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    plain.then(|| text.to_owned())
}

/// What the API server takes as an id; 0 is root, whom `restricted` refuses.
fn id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok()).filter(|id| (1..=0x7fff_ffff).contains(id))
}

fn shown(name: &str) -> &str {
    plain_key(name).unwrap_or("(a key)")
}

fn profiles(reader: &mut Reader<'_>, lines: &mut Lines) -> BTreeMap<String, Profile> {
    let mut profiles = BTreeMap::new();
    let entries = reader.read(lines, "profiles", "a map of names and profiles", Value::as_object);
    if entries.is_none_or(Map::is_empty) {
        lines.push("profiles: is missing or empty; write at least `default`".to_owned());
    }
    for (name, members) in entries.into_iter().flatten() {
        let path = format!("profiles.{}", shown(name));
        let Some(members) = members.as_object() else {
            lines.push(format!("{path}: must be a map of keys"));
            continue;
        };
        profiles.insert(name.clone(), profile(members, &path, lines));
    }
    profiles
}

/// Wrong values are told and stand as defaults: nobody sees the profile then.
fn profile(members: &Map<String, Value>, path: &str, lines: &mut Lines) -> Profile {
    let mut reader = Reader::new(members, path);
    let given = reader.read(lines, "config", "the agent's configuration, a map of keys", Value::as_object);
    let config = given.cloned().unwrap_or_default();
    config::check(&config, &reader.at("config"), lines);
    let resources = resources(&mut reader, lines);
    let locks = list(&mut reader, lines, "locks", "a list of annotations, without cloakroom.dev/", |text| {
        Key::ALL.into_iter().find(|key| key.short() == text && key.is_lockable())
    });
    let log_levels =
        list(&mut reader, lines, "logLevels", "a list of error, warn, info, debug, trace", LogLevel::parse);
    let port = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port >= 1024);
    let metrics_port = reader.read(lines, "metricsPort", "a port from 1024 to 65535", port);
    let is_conjur = config.get("backend").and_then(|backend| backend.get("kind")).and_then(Value::as_str);
    let conjur = reader.read(lines, "conjur", "true or false", Value::as_bool);
    let audience = reader.read(lines, "conjurAudience", "an audience, without spaces", |value| {
        value.as_str().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()))
    });
    let seconds = |value: &Value| {
        value
            .as_u64()
            .and_then(|seconds| u32::try_from(seconds).ok())
            .filter(|seconds| (600..=86_400).contains(seconds))
    };
    let expiration = reader.read(lines, "tokenExpirationSeconds", "a number from 600 to 86400", seconds);
    let from_namespace = reader.read(lines, "runAsUserFromNamespace", "true or false", Value::as_bool);
    reader.finish(lines);
    let has_conjur = conjur.unwrap_or(is_conjur == Some("conjur"));
    Profile {
        resources,
        log_levels,
        metrics_port,
        conjur_audience: has_conjur.then(|| audience.unwrap_or("conjur").to_owned()),
        token_expiration_seconds: expiration.unwrap_or(3600),
        run_as_user_from_namespace: from_namespace.unwrap_or_default(),
        config,
        locks: BTreeSet::from_iter(locks),
    }
}

fn resources(reader: &mut Reader<'_>, lines: &mut Lines) -> Resources {
    let mut resources = Resources::default();
    let path = reader.at("resources");
    if let Some(tree) = reader.value("resources") {
        for (place, what) in resources.read(tree) {
            let place = if place.is_empty() { path.clone() } else { format!("{path}.{place}") };
            lines.push(format!("{place}: {what}"));
        }
        if !resources.is_consistent() {
            lines.push(format!("{path}: a request is above its limit; lower it, or raise the limit"));
        }
    }
    resources
}

fn list<T>(
    reader: &mut Reader<'_>,
    lines: &mut Lines,
    name: &'static str,
    must: &str,
    take: impl Fn(&str) -> Option<T>,
) -> Vec<T> {
    let all = |value: &Value| value.as_array()?.iter().map(|item| item.as_str().and_then(&take)).collect();
    reader.read(lines, name, must, all).unwrap_or_default()
}
