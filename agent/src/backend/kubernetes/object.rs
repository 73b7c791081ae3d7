//! A Secret as it is on the wire and as it is kept: slots by name, everything else only as far as it decides something.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::names::Names;
use super::version::Version;
use crate::backend::BackendError;
use crate::backend::plan::Plan;
use crate::id::Fingerprinter;
use crate::secret::SecretValue;

/// One Secret.
pub struct Object {
    pub(super) uid: Box<str>,
    pub(super) version: Version,
    pub(super) terminating: bool,
    pub(super) immutable: bool,
    pub(super) finalizers: Names,
    labels: Names,
    /// By name, in order, with the content in base64 as it came: decoded when it is asked for.
    slots: Box<[(Box<str>, SecretValue)]>,
}

/// The part of a Secret that is read. Unknown members are left where they are.
#[derive(Deserialize)]
struct Wire {
    metadata: Metadata,
    #[serde(default)]
    data: Option<BTreeMap<Box<str>, Option<SecretValue>>>,
    #[serde(default)]
    immutable: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    uid: Box<str>,
    #[serde(default)]
    resource_version: Version,
    #[serde(default)]
    deletion_timestamp: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    finalizers: Names,
    #[serde(default)]
    labels: Names,
}

impl Object {
    /// Reads the JSON of a Secret.
    ///
    /// # Errors
    /// [`BackendError::Misbehaved`]: it is none. Nothing of the text is told.
    pub fn parse(json: &[u8]) -> Result<Self, BackendError> {
        // As one text: what is read from bytes has each of its strings looked at again.
        std::str::from_utf8(json).map_err(|_| BackendError::Misbehaved).and_then(Self::read)
    }

    fn read(json: &str) -> Result<Self, BackendError> {
        serde_json::from_str::<Wire>(json).map_err(|_| BackendError::Misbehaved).map(Self::from)
    }

    /// The slot's content. What is blank counts as absent: no backend keeps such values, and the reference writes them
    /// where it deletes.
    ///
    /// # Errors
    /// [`BackendError::Unreadable`] for bytes that are no UTF-8, [`BackendError::Misbehaved`] for a text that is no base64.
    pub fn slot(&self, name: &str) -> Result<Option<SecretValue>, BackendError> {
        let found = self.slots.binary_search_by(|(slot, _)| (**slot).cmp(name));
        let Some((_, encoded)) = found.ok().and_then(|index| self.slots.get(index)) else { return Ok(None) };
        let mut bytes = Zeroizing::new(Vec::with_capacity(encoded.len() / 4 * 3 + 3));
        STANDARD.decode_vec(encoded.expose().as_bytes(), &mut bytes).map_err(|_| BackendError::Misbehaved)?;
        let value = SecretValue::from_bytes(std::mem::take(&mut *bytes)).map_err(|_| BackendError::Unreadable)?;
        let empty_map = || value.expose().trim() == "{}";
        Ok(if value.is_blank() || empty_map() { None } else { Some(value) })
    }

    /// How ids of this object's slots are fingerprinted: only who may read the Secret sees its uid.
    pub(super) fn fingerprinter(&self, keyed: bool) -> Fingerprinter {
        if keyed { Fingerprinter::Keyed(Zeroizing::new(self.uid.as_bytes().to_vec())) } else { Fingerprinter::Sha256 }
    }

    /// The names of its slots.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|(name, _)| &**name)
    }

    /// Whether it only waits for the finalizers of others: for us it is gone.
    pub(super) fn is_gone(&self, finalizer: &str) -> bool {
        self.terminating && !finalizer.is_empty() && !self.holds(finalizer)
    }

    /// Whether the slots that `plan` changes are as it would leave them.
    pub(super) fn is_as(&self, plan: &Plan) -> bool {
        plan.changes.iter().all(|(slot, wanted)| match (self.slot(slot.as_str()), wanted) {
            (Ok(Some(found)), Some(wanted)) => found.expose() == wanted.expose(),
            (Ok(None), None) => true,
            _ => false,
        })
    }

    /// Whether the finalizer is on it.
    pub(super) fn holds(&self, finalizer: &str) -> bool {
        finalizer.is_empty() || self.finalizers.contains(finalizer)
    }

    /// Whether it has a label of that name, whatever its value.
    pub(super) fn has_label(&self, name: &str) -> bool {
        self.labels.contains(name)
    }

    /// Bytes of decoded data, as the API server counts them (`MaxSecretSize`), without the slots in `replaced`.
    pub(super) fn data_bytes(&self, replaced: &dyn Fn(&str) -> bool) -> usize {
        let kept = self.slots.iter().filter(|(name, _)| !replaced(name));
        kept.map(|(_, encoded)| encoded.len() / 4 * 3).sum()
    }

    /// Bytes that it takes in memory, roughly.
    pub(super) fn kept_bytes(&self) -> usize {
        512 + self.slots.iter().map(|(name, encoded)| name.len() + encoded.len() + 64).sum::<usize>()
    }
}

impl From<Wire> for Object {
    fn from(wire: Wire) -> Self {
        let slots = wire.data.unwrap_or_default();
        Self {
            version: wire.metadata.resource_version,
            uid: wire.metadata.uid,
            terminating: wire.metadata.deletion_timestamp.is_some(),
            immutable: wire.immutable.unwrap_or_default(),
            finalizers: wire.metadata.finalizers,
            labels: wire.metadata.labels,
            slots: slots.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect(),
        }
    }
}

/// What a watch says.
pub enum Event {
    /// The object is this now.
    Is(Object),
    /// It is gone: this is what it was last.
    Gone(Object),
    /// Nothing has changed up to this version.
    Bookmark(Version),
    /// The version that the watch began at is not kept any more: begin anew.
    Expired,
    /// Something that a watch does not say.
    Unknown,
}

impl Event {
    /// Reads one line of a watch.
    ///
    /// # Errors
    /// [`BackendError::Misbehaved`].
    pub fn parse(line: &[u8]) -> Result<Self, BackendError> {
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(rename = "type")]
            kind: &'a str,
            #[serde(borrow)]
            object: &'a serde_json::value::RawValue,
        }
        #[derive(Deserialize)]
        struct Status {
            #[serde(default)]
            code: u16,
        }
        let line: Line<'_> = serde_json::from_slice(line).map_err(|_| BackendError::Misbehaved)?;
        let object = line.object.get();
        Ok(match line.kind {
            "ADDED" | "MODIFIED" => Self::Is(Object::read(object)?),
            "DELETED" => Self::Gone(Object::read(object)?),
            "BOOKMARK" => Self::Bookmark(Object::read(object)?.version),
            "ERROR" => {
                let status: Status = serde_json::from_str(object).map_err(|_| BackendError::Misbehaved)?;
                // 410: `Expired` and `Gone` (Kubernetes API concepts, "410 Gone responses").
                if status.code == 410 { Self::Expired } else { Self::Unknown }
            }
            _ => Self::Unknown,
        })
    }
}
