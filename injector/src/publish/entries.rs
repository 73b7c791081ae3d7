//! The entries of the webhook configuration: what they trust, and the patch that makes them trust our authorities.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_agent::kubernetes::Answer;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::certificate::state::Digest;

/// What we leave at the configuration: which bundle was written, and when it had to be repaired.
const MARK: &str = "cloakroom.dev/ca-bundle";

/// The configuration as it was read.
pub struct Entries {
    version: String,
    mark: Option<Mark>,
    all: Vec<Entry>,
}

struct Entry {
    name: String,
    bundle: Vec<u8>,
    authorities: Vec<Digest>,
}

/// The mark of the last writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) digest: String,
    pub(super) repaired: Option<Timestamp>,
}

impl Mark {
    fn parse(text: &str) -> Self {
        let (digest, repaired) = text.split_once(' ').unwrap_or((text, ""));
        Self { digest: digest.to_owned(), repaired: repaired.parse().ok() }
    }

    fn text(&self) -> String {
        self.repaired.map_or_else(|| self.digest.clone(), |repaired| format!("{} {repaired:.0}", self.digest))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    webhooks: Vec<Webhook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    name: String,
    client_config: ClientConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientConfig {
    #[serde(default)]
    ca_bundle: Option<String>,
}

impl Entries {
    /// Reads the object; none where it is none.
    #[must_use]
    pub fn parse(answer: &Answer) -> Option<Self> {
        answer.json().ok().map(Self::of)
    }

    fn of(object: Object) -> Self {
        let entries = object.webhooks.into_iter().map(|webhook| {
            let bundle = webhook.client_config.ca_bundle.and_then(|text| STANDARD.decode(text.as_bytes()).ok());
            let bundle = bundle.unwrap_or_default();
            let authorities = CertificateDer::pem_slice_iter(&bundle).filter_map(Result::ok);
            let authorities = authorities.map(|der| Sha256::digest(&der).into()).collect();
            Entry { name: webhook.name, bundle, authorities }
        });
        Self {
            all: entries.collect(),
            mark: object.metadata.annotations.get(MARK).map(|text| Mark::parse(text)),
            version: object.metadata.resource_version,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether every entry has exactly this bundle.
    #[must_use]
    pub fn have(&self, bundle: &str) -> bool {
        self.all.iter().all(|entry| entry.bundle == bundle.as_bytes())
    }

    /// Whether every entry trusts this authority, among others perhaps.
    #[must_use]
    pub fn trust(&self, authority: &Digest) -> bool {
        self.all.iter().all(|entry| entry.authorities.contains(authority))
    }

    pub(super) fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// A strategic merge patch: it names entries, so that it touches nothing else whatever their order, and the
    /// version, so that it is refused where anything has changed since.
    pub(super) fn patch(&self, bundle: &str, mark: &Mark) -> Value {
        let encoded = STANDARD.encode(bundle);
        let webhooks: Vec<Value> =
            self.all.iter().map(|entry| json!({"name": entry.name, "clientConfig": {"caBundle": encoded}})).collect();
        json!({
            "metadata": {"resourceVersion": self.version, "annotations": {MARK: mark.text()}},
            "webhooks": webhooks,
        })
    }
}

/// Names a bundle in a mark.
pub(super) fn digest(bundle: &str) -> String {
    let digest: Digest = Sha256::digest(bundle).into();
    let half = digest.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    format!("{half:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_anything_else_is_no_time() {
        let repaired = "2026-01-02T03:04:05Z".parse().ok();
        for mark in [Mark { digest: "ab".into(), repaired }, Mark { digest: "ab".into(), repaired: None }] {
            assert_eq!(Mark::parse(&mark.text()), mark);
        }
        assert_eq!(Mark::parse("ab yesterday").repaired, None);
    }

    #[test]
    fn a_placeholder_is_no_authority_and_a_patch_names_entries_and_version() {
        let object = json!({
            "metadata": {"resourceVersion": "7"},
            "webhooks": [
                {"name": "a.cloakroom.dev", "clientConfig": {}},
                {"name": "b.cloakroom.dev", "clientConfig": {"caBundle": "Cg=="}},
            ],
        });
        let entries = Entries::of(serde_json::from_value(object).unwrap());
        assert!(!entries.trust(&[0; 32]) && !entries.have("x") && !entries.is_empty());
        let patch = entries.patch("x", &Mark { digest: "ab".into(), repaired: None });
        assert_eq!(patch["metadata"], json!({"resourceVersion": "7", "annotations": {MARK: "ab"}}));
        assert_eq!(patch["webhooks"][1], json!({"name": "b.cloakroom.dev", "clientConfig": {"caBundle": "eA=="}}));
    }
}
