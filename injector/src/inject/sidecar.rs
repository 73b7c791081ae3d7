//! Our containers: the agent, beside the application or before it, and what brings its program to the others. The
//! `restricted` Pod Security Standard admits them.

use serde_json::{Value, json};

use super::Denial;
use super::key::Key;
use super::mode::Mode;
use super::volumes::{
    BIN, BIN_DIRECTORY, CONJUR, FILES, FILES_DIRECTORY, KUBE, SOCKET, SOCKET_DIRECTORY, TEMPLATES_DIRECTORY,
    TOKEN_DIRECTORY,
};
use super::wish::Wish;
use crate::profile::{Admin, Settings};

/// The agent's name, which is reserved.
pub(super) const AGENT: &str = "cloakroom-agent";

/// The name of the container that brings the program, reserved as well.
const INSTALL: &str = "cloakroom-install";

/// What Linux takes as one string of an environment, less some for the name (`MAX_ARG_STRLEN`).
const CONFIG_MAX: usize = 127 * 1024;

/// Whether a container's name is ours to give.
pub(super) fn is_reserved(name: &str) -> bool {
    [AGENT, INSTALL].contains(&name)
}

/// All of them, in their order: the agent is first.
pub(super) fn containers(wish: &Wish<'_>, settings: &Settings) -> Result<Vec<Value>, Denial> {
    let mut containers = vec![agent(wish, settings)?];
    if wish.mode == Mode::Exec {
        let mut install = bare(INSTALL, &["cloakroom", "install", BIN_DIRECTORY], wish, settings);
        install["volumeMounts"] = json!([{"name": BIN, "mountPath": BIN_DIRECTORY}]);
        containers.push(install);
    }
    Ok(containers)
}

/// The agent in full: nothing of it is left to a default that a pod's author could move, but for what the API server
/// fills in with fixed values.
fn agent(wish: &Wish<'_>, settings: &Settings) -> Result<Value, Denial> {
    let profile = wish.profile;
    // Under hostNetwork the port would be the node's.
    let admin = match profile.metrics_port {
        Some(port) if wish.mode.stays() && !wish.has_host_network => Admin::Port(port),
        _ => Admin::Socket,
    };
    let config = profile.inline(settings.group, admin, wish.log_level, &wish.files);
    if config.len() > CONFIG_MAX {
        return Err(Denial::Value {
            key: Key::Files,
            must: "shorter: with the profile's configuration it is beyond 127 KiB",
        });
    }
    let command = if wish.mode.stays() { ["cloakroom", "agent"] } else { ["cloakroom", "render"] };
    let mut container = bare(AGENT, &command, wish, settings);
    container["env"] = json!([{"name": "CLOAKROOM_CONFIG_INLINE", "value": config}]);
    container["volumeMounts"] = mounts(wish);
    if wish.mode.stays() {
        container["restartPolicy"] = "Always".into();
        let ready: &[&str] =
            if wish.has_files() { &["cloakroom", "ready", "--files"] } else { &["cloakroom", "ready"] };
        // An exec probe: an HTTP one would need a port, and its `host` is what `restricted` looks at. A probe of a busy
        // node may need some seconds for its process.
        container["startupProbe"] = json!({
            "exec": {"command": ready},
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "failureThreshold": 60,
        });
    }
    if let Admin::Port(port) = admin {
        container["ports"] = json!([{"name": "cloakroom", "containerPort": port, "protocol": "TCP"}]);
    }
    Ok(container)
}

fn mounts(wish: &Wish<'_>) -> Value {
    let mut mounts = Vec::new();
    if wish.mode.stays() {
        mounts.push(json!({"name": SOCKET, "mountPath": SOCKET_DIRECTORY}));
    }
    mounts.push(json!({"name": KUBE, "mountPath": format!("{TOKEN_DIRECTORY}/kube"), "readOnly": true}));
    if wish.profile.conjur_audience.is_some() {
        mounts.push(json!({"name": CONJUR, "mountPath": format!("{TOKEN_DIRECTORY}/conjur"), "readOnly": true}));
    }
    if wish.has_files() {
        mounts.push(json!({"name": FILES, "mountPath": FILES_DIRECTORY}));
    }
    if let Some(volume) = wish.templates {
        mounts.push(json!({"name": volume, "mountPath": TEMPLATES_DIRECTORY, "readOnly": true}));
    }
    Value::Array(mounts)
}

fn bare(name: &str, command: &[&str], wish: &Wish<'_>, settings: &Settings) -> Value {
    let mut security = json!({
        "runAsNonRoot": true,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    // `OpenShift` gives each namespace a range of uids and refuses any other.
    if !wish.profile.run_as_user_from_namespace {
        security["runAsUser"] = settings.uid.into();
        security["runAsGroup"] = settings.gid.into();
    }
    json!({
        "name": name,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": command,
        "resources": wish.resources.value(),
        "securityContext": security,
    })
}
