//! `identity` and `permissions`: who calls, and who decides.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::reader::Reader;
use super::{IdentityConfig, IdentityKind, Permissions};

/// Where injected pods have `token` and `ca.crt`.
pub const TOKEN_DIRECTORY: &str = "/var/run/secrets/cloakroom/kube";

pub(super) fn identity(reader: &mut Reader<'_>) -> Option<IdentityConfig> {
    let kinds = [("pod", IdentityKind::Pod), ("uid", IdentityKind::Uid)];
    let description = "Who calls: the pod, told by the API server, or the uid of the socket's peer on a single host.";
    let kind = reader.choice("identity.kind", &kinds, Some("pod"), description);
    let description = "The directory of the projected token: `token` and `ca.crt`. \
                       Default: /var/run/secrets/cloakroom/kube";
    let token_dir = reader.absolute("identity.tokenDir", description);
    Some(IdentityConfig { kind: kind?, token_dir: token_dir.unwrap_or_else(|| PathBuf::from(TOKEN_DIRECTORY)) })
}

pub(super) fn permissions(reader: &mut Reader<'_>, identity: Option<&IdentityConfig>) -> Option<Permissions> {
    const KIND: &str = "permissions.kind";
    const FILE: &str = "permissions.file";
    let description = "Who decides: Kubernetes RBAC on cloakroom.dev, or a file of grants.";
    let schema = json!({"enum": ["kubernetes", "file"], "default": "kubernetes", "description": description});
    let kind = reader.value(KIND, schema).map(Value::as_str);
    let file = reader.absolute(FILE, "The grants. Default: /etc/cloakroom/grants.yaml");
    match kind {
        None | Some(Some("kubernetes")) => {
            if file.is_some() {
                reader.problem(FILE, "stands without `kind: file`; add it, or take the key away");
            }
            // RBAC is asked about our own token: it says nothing about a uid.
            if identity.is_some_and(|identity| identity.kind == IdentityKind::Uid) {
                reader.problem(KIND, "kubernetes, the default, needs identity pod; with identity uid write file");
                return None;
            }
            Some(Permissions::Kubernetes)
        }
        Some(Some("file")) => {
            Some(Permissions::File(file.unwrap_or_else(|| PathBuf::from("/etc/cloakroom/grants.yaml"))))
        }
        Some(_) => {
            reader.problem(KIND, "must be kubernetes or file");
            None
        }
    }
}
