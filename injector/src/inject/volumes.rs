//! The volumes: the socket's directory, and the tokens that only the agent mounts.

use serde_json::{Value, json};

use super::draft::Draft;
use super::mode::Mode;
use super::pod::name;
use super::wish::Wish;

/// The volume of the socket.
pub(super) const SOCKET: &str = "cloakroom-socket";
/// The volume of the token for the API server.
pub(super) const KUBE: &str = "cloakroom-kube";
/// The volume of the token for Conjur.
pub(super) const CONJUR: &str = "cloakroom-conjur";

/// The volume of rendered files.
pub(super) const FILES: &str = "cloakroom-files";
/// The volume of the agent's program, for mode exec.
pub(super) const BIN: &str = "cloakroom-bin";

/// Where the socket's volume is mounted.
pub(super) const SOCKET_DIRECTORY: &str = "/run/cloakroom";
/// Below which the tokens are mounted.
pub(super) const TOKEN_DIRECTORY: &str = "/var/run/secrets/cloakroom";

/// Where rendered files are: a volume of its own, since one inside another would hide or be hidden.
pub(super) const FILES_DIRECTORY: &str = "/cloakroom/files";
/// Where the pod's volume of templates is mounted, for the agent alone.
pub(super) const TEMPLATES_DIRECTORY: &str = "/cloakroom/templates";
/// Where the program is.
pub(super) const BIN_DIRECTORY: &str = "/cloakroom/bin";

/// Whether a volume's name is ours to give.
pub(super) fn is_reserved(name: &str) -> bool {
    name.starts_with("cloakroom-")
}

fn wanted(wish: &Wish<'_>) -> Vec<Value> {
    let seconds = wish.profile.token_expiration_seconds;
    let mut volumes = vec![projected(
        KUBE,
        &[
            json!({"serviceAccountToken": {"expirationSeconds": seconds, "path": "token"}}),
            json!({"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}),
            json!({"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
            ]}}),
        ],
    )];
    if let Some(audience) = &wish.profile.conjur_audience {
        let token = json!({"audience": audience, "expirationSeconds": seconds, "path": "token"});
        volumes.push(projected(CONJUR, &[json!({"serviceAccountToken": token})]));
    }
    if wish.mode.stays() {
        volumes.insert(0, memory(SOCKET, "1Mi"));
    }
    if wish.has_files() {
        volumes.push(memory(FILES, "32Mi"));
    }
    if wish.mode == Mode::Exec {
        volumes.push(memory(BIN, "32Mi"));
    }
    volumes
}

/// Memory: secrets are on no disk, and the cluster autoscaler does not count it as one, so nothing has to be said about
/// evictions.
fn memory(name: &str, limit: &str) -> Value {
    json!({"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": limit}})
}

/// Without an `fsGroup`, which is not ours to set, the kubelet writes as root:root: only 0444 is readable for our uid.
/// Who cannot mount the volume cannot read it all the same.
fn projected(name: &str, sources: &[Value]) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o444, "sources": sources}})
}

/// Brings the reserved names of `spec.volumes` to what is wanted; what else has such a name is never trusted.
pub(super) fn arrange(draft: &mut Draft, wish: &Wish<'_>) {
    const LIST: &str = "/spec/volumes";
    let mut missing = wanted(wish);
    let mut index = 0;
    while let Some(volume) = draft.list(LIST).get(index) {
        if !is_reserved(name(volume)) {
            index += 1;
            continue;
        }
        match missing.iter().position(|wanted| name(wanted) == name(volume)) {
            Some(found) => {
                let wanted = missing.remove(found);
                if *volume != wanted {
                    draft.replace(LIST, index, wanted);
                }
                index += 1;
            }
            None => draft.remove(LIST, index),
        }
    }
    for volume in missing {
        draft.append("/spec", "volumes", volume);
    }
}
