//! The Lease of a slot as an object: its name, what is written into it, and what is read from it.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{LASTS, LeaseError};
use crate::kubernetes::Answer;

/// What is believed of a Lease that says to last longer than ours, so that nothing that somebody writes into it by hand
/// locks a slot for good.
const LASTS_MAX: Duration = Duration::from_mins(1);

/// A Lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// Its `resourceVersion`: a Lease of the same version has not changed.
    pub(super) version: Box<str>,
    /// Its uid. Sent with a write, because a PUT of a Lease that is gone makes it anew.
    pub(super) uid: Box<str>,
    /// Who holds it; empty when nobody does.
    pub(super) holder: Box<str>,
    /// How long it must be seen unchanged to count as forgotten.
    pub(super) lasts: Duration,
}

impl Lease {
    /// Reads the object of an answer.
    pub(super) fn parse(answer: &Answer) -> Result<Self, LeaseError> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
            #[serde(default)]
            spec: Spec,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            uid: Box<str>,
            resource_version: Box<str>,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Spec {
            #[serde(default)]
            holder_identity: Option<Box<str>>,
            #[serde(default)]
            lease_duration_seconds: Option<u32>,
        }
        let Object { metadata, spec } = answer.json().map_err(|_| LeaseError::Misbehaved)?;
        let lasts = Duration::from_secs(spec.lease_duration_seconds.unwrap_or_default().into());
        Ok(Self {
            version: metadata.resource_version,
            uid: metadata.uid,
            holder: spec.holder_identity.unwrap_or_default(),
            // An agent of another version may think of another time; the longer one is true for both.
            lasts: lasts.clamp(LASTS, LASTS_MAX),
        })
    }
}

/// The object's name: a location has characters that a name cannot have, and may be longer.
pub(super) fn name(key: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let (half, _) = digest.split_at(16);
    let number = half.iter().fold(0, |number: u128, byte| number << 8 | u128::from(*byte));
    format!("cloakroom-{number:032x}")
}

/// The whole object, as it is to be. The times are for people: no agent reads them.
pub(super) fn body(key: &str, namespace: &str, base: Option<&Lease>, holder: Option<&str>) -> Value {
    let mut metadata = json!({
        "name": name(key), "namespace": namespace,
        "labels": {"app.kubernetes.io/managed-by": "cloakroom"},
        "annotations": {"cloakroom.dev/slot": key},
    });
    if let (Some(base), Some(members)) = (base, metadata.as_object_mut()) {
        members.insert("resourceVersion".to_owned(), (*base.version).into());
        members.insert("uid".to_owned(), (*base.uid).into());
    }
    let mut spec = json!({"leaseDurationSeconds": LASTS.as_secs(), "renewTime": format!("{:.6}", Timestamp::now())});
    if let (Some(holder), Some(members)) = (holder, spec.as_object_mut()) {
        members.insert("holderIdentity".to_owned(), holder.into());
    }
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})
}
