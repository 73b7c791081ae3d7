//! A pod as far as we look into it: its shape is checked once, so that nothing behind has to wonder.

use serde_json::{Map, Value};

use super::Denial;

/// The parts of a pod. Lists that are absent or `null` are empty.
pub(super) struct Pod<'a> {
    pub(super) labels: Option<&'a Map<String, Value>>,
    pub(super) annotations: Option<&'a Map<String, Value>>,
    pub(super) containers: &'a [Value],
    pub(super) init_containers: &'a [Value],
    pub(super) volumes: &'a [Value],
    spec: &'a Map<String, Value>,
}

type Members = Map<String, Value>;

/// No list that we edit is longer: taking many entries out of a long one costs their product (N8).
const LONGEST: usize = 500;

impl<'a> Pod<'a> {
    pub(super) fn read(pod: &'a Value) -> Result<Self, Denial> {
        let pod = pod.as_object().ok_or(Denial::Malformed("it is not an object"))?;
        let metadata = object(pod, "metadata", "metadata is not an object")?;
        let texts = |name, what| match metadata.map(|metadata| object(metadata, name, what)) {
            None => Ok(None),
            Some(Ok(Some(map))) if !map.values().all(Value::is_string) => Err(Denial::Malformed(what)),
            Some(found) => found,
        };
        let labels = texts("labels", "metadata.labels is not a map of strings")?;
        let annotations = texts("annotations", "metadata.annotations is not a map of strings")?;
        let spec = object(pod, "spec", "spec is not an object")?.ok_or(Denial::Malformed("spec is missing"))?;
        let containers = objects(spec, "containers", "spec.containers is not a list of objects with names")?;
        if containers.is_empty() {
            return Err(Denial::NoContainers);
        }
        let init_containers =
            objects(spec, "initContainers", "spec.initContainers is not a list of objects with names")?;
        for container in containers.iter().chain(init_containers).filter_map(Value::as_object) {
            objects(container, "volumeMounts", "a container's volumeMounts is not a list of objects with names")?;
        }
        let volumes = objects(spec, "volumes", "spec.volumes is not a list of objects with names")?;
        if let Some(context) = object(spec, "securityContext", "spec.securityContext is not an object")? {
            list(context, "supplementalGroups", "spec.securityContext.supplementalGroups is not a list")?;
        }
        Ok(Self { labels, annotations, containers, init_containers, volumes, spec })
    }

    pub(super) fn annotation(&self, name: &str) -> Option<&'a str> {
        self.annotations?.get(name)?.as_str()
    }

    pub(super) fn label(&self, name: &str) -> Option<&'a str> {
        self.labels?.get(name)?.as_str()
    }

    /// Whether it says that it is the picture of a static pod.
    pub(super) fn is_mirror(&self) -> bool {
        self.annotation("kubernetes.io/config.mirror").is_some()
    }

    pub(super) fn is_windows(&self) -> bool {
        let os = self.spec.get("os").and_then(|os| os.get("name"));
        let selector = |label| self.spec.get("nodeSelector").and_then(|selector| selector.get(label));
        [os, selector("kubernetes.io/os"), selector("beta.kubernetes.io/os")]
            .into_iter()
            .flatten()
            .any(|name| name.as_str() == Some("windows"))
    }

    fn flag(&self, name: &str) -> bool {
        self.spec.get(name).and_then(Value::as_bool) == Some(true)
    }

    pub(super) fn has_host_network(&self) -> bool {
        self.flag("hostNetwork")
    }

    /// The field by which other containers see the agent's process: with the node's processes they see it as well.
    pub(super) fn shares_processes(&self) -> Option<&'static str> {
        if self.flag("shareProcessNamespace") {
            return Some("spec.shareProcessNamespace");
        }
        self.flag("hostPID").then_some("spec.hostPID")
    }
}

/// The name of a container, volume or mount whose shape was checked.
pub(super) fn name(entry: &Value) -> &str {
    entry.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn present<'a>(members: &'a Members, name: &str) -> Option<&'a Value> {
    members.get(name).filter(|value| !value.is_null())
}

fn object<'a>(members: &'a Members, name: &str, what: &'static str) -> Result<Option<&'a Members>, Denial> {
    present(members, name).map(|value| value.as_object().ok_or(Denial::Malformed(what))).transpose()
}

fn list<'a>(members: &'a Members, name: &'static str, what: &'static str) -> Result<&'a [Value], Denial> {
    match present(members, name) {
        None => Ok(&[]),
        Some(Value::Array(items)) if items.len() > LONGEST => Err(Denial::TooMany(name)),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(Denial::Malformed(what)),
    }
}

fn objects<'a>(members: &'a Members, name: &'static str, what: &'static str) -> Result<&'a [Value], Denial> {
    let items = list(members, name, what)?;
    let named = |item: &Value| item.get("name").is_some_and(Value::is_string);
    if items.iter().all(named) { Ok(items) } else { Err(Denial::Malformed(what)) }
}
