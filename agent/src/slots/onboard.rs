//! Onboarding requests: checked as a whole when they are made, then applied slot by slot inside a backend's write.

use std::collections::{BTreeMap, HashSet};

use super::{Catalogue, Generator, Initial, MapError, MapSlot, SlotKind, SlotSpec};
use crate::id::{Checksum, Fingerprinter, IdError, Location, ScopeKind, Slot, SubKey};
use crate::secret::SecretValue;

/// What happens to the sub-keys of a named map slot that the request does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// They stay.
    Merge,
    /// They go.
    #[default]
    Replace,
}

/// One `{name, value}` as a caller wrote it.
pub struct OnboardEntry {
    /// `slot` or `slot/sub-key`.
    pub name: String,
    /// The value; an empty one means that the entry is ignored.
    pub value: SecretValue,
}

/// Why a request cannot be carried out. Carries no caller text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnboardError {
    /// A name breaks the grammar.
    #[error("a name is no slot and no slot/sub-key")]
    Name(#[source] IdError),
    /// A slot that this kind of scope does not have (403, as in the reference).
    #[error("the secret is not allowed for onboarding")]
    NotAllowed,
    /// A sub-key under a scalar slot.
    #[error("a sub-key stands under a slot that holds one value")]
    SubKeyOfScalar,
    /// The same name twice.
    #[error("a name stands twice")]
    Duplicate,
    /// A slot together with one of its own sub-keys.
    #[error("a slot stands together with one of its own sub-keys")]
    SlotAndSubKey,
    /// A value of only white space.
    #[error("a value is only white space")]
    Blank,
    /// A map slot's value is no flat object.
    #[error("a map slot's value does not fit")]
    Map(#[source] MapError),
}

/// A mistake, and the entry that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry of the onboarding request is invalid")]
pub struct OnboardRefusal {
    /// The entry, counted from 0.
    pub position: usize,
    /// The mistake.
    #[source]
    pub cause: OnboardError,
}

/// What a request says about one slot.
pub enum SlotInput {
    /// The value of a scalar slot.
    Scalar(SecretValue),
    /// A whole map slot, as text.
    Whole(SecretValue),
    /// Some entries of a map slot.
    Entries(Vec<(SubKey, SecretValue)>),
}

/// A checked request: every slot is allowed and named in one way only.
pub struct OnboardRequest {
    strategy: Strategy,
    inputs: BTreeMap<Slot, SlotInput>,
    /// Slots that were named only by ignored (empty) entries do not count as named.
    order: Vec<(Slot, Option<SubKey>)>,
}

/// What the entries so far have named, ignored ones included.
#[derive(Default)]
struct Named {
    names: HashSet<String>,
    whole: HashSet<Slot>,
    partial: HashSet<Slot>,
}

/// One line of the answer.
#[derive(Debug, PartialEq, Eq)]
pub struct OnboardedItem {
    /// The slot.
    pub slot: Slot,
    /// The sub-key, for an entry that the request named.
    pub sub_key: Option<SubKey>,
    /// Fingerprint of what is stored now.
    pub checksum: Checksum,
}

impl OnboardedItem {
    /// The lines for what a write has named, under the backend's fingerprints.
    #[must_use]
    pub fn list(named: &[(Location, SecretValue)], fingerprinter: &Fingerprinter) -> Vec<Self> {
        let line = |(location, value): &(Location, SecretValue)| {
            let slot = Slot::parse(location.slot()).ok()?;
            let sub_key = location.sub_key().map(SubKey::parse).transpose().ok()?;
            Some(Self { slot, sub_key, checksum: fingerprinter.checksum(location, value) })
        };
        named.iter().filter_map(line).collect()
    }
}

/// What a write must do with one slot.
pub enum SlotChange {
    /// Leave it.
    Keep,
    /// Store this.
    Set(SecretValue),
    /// It holds nothing any more.
    Remove,
}

impl OnboardRequest {
    /// Checks the entries against the catalogue.
    ///
    /// # Errors
    /// The first [`OnboardRefusal`] in the order of the entries.
    pub fn new(
        strategy: Strategy,
        entries: Vec<OnboardEntry>,
        catalogue: &Catalogue,
        scope: ScopeKind,
    ) -> Result<Self, OnboardRefusal> {
        let mut request = Self { strategy, inputs: BTreeMap::new(), order: Vec::new() };
        let mut named = Named::default();
        for (position, entry) in entries.into_iter().enumerate() {
            let taken = request.take(entry, &mut named, catalogue, scope);
            taken.map_err(|cause| OnboardRefusal { position, cause })?;
        }
        Ok(request)
    }

    fn take(
        &mut self,
        entry: OnboardEntry,
        named: &mut Named,
        catalogue: &Catalogue,
        scope: ScopeKind,
    ) -> Result<(), OnboardError> {
        let (slot, sub_key) = parse_name(&entry.name).map_err(OnboardError::Name)?;
        let spec = catalogue.slot(scope, slot.as_str()).map_err(|_| OnboardError::NotAllowed)?;
        if sub_key.is_some() && spec.kind == SlotKind::Scalar {
            return Err(OnboardError::SubKeyOfScalar);
        }
        if !named.names.insert(entry.name) {
            return Err(OnboardError::Duplicate);
        }
        let (this_way, other_way) =
            if sub_key.is_some() { (&mut named.partial, &named.whole) } else { (&mut named.whole, &named.partial) };
        if other_way.contains(&slot) {
            return Err(OnboardError::SlotAndSubKey);
        }
        this_way.insert(slot.clone());
        if entry.value.is_empty() { Ok(()) } else { self.place(slot, sub_key, spec.kind, entry.value) }
    }

    fn place(
        &mut self,
        slot: Slot,
        sub_key: Option<SubKey>,
        kind: SlotKind,
        value: SecretValue,
    ) -> Result<(), OnboardError> {
        if value.is_blank() {
            return Err(OnboardError::Blank);
        }
        if let Some(key) = sub_key {
            self.order.push((slot.clone(), Some(key.clone())));
            match self.inputs.entry(slot).or_insert_with(|| SlotInput::Entries(Vec::new())) {
                SlotInput::Entries(entries) => entries.push((key, value)),
                SlotInput::Scalar(_) | SlotInput::Whole(_) => return Err(OnboardError::SlotAndSubKey),
            }
            return Ok(());
        }
        let input = match kind {
            SlotKind::Scalar => SlotInput::Scalar(value),
            SlotKind::Map => {
                MapSlot::accept(value.expose()).map_err(OnboardError::Map)?;
                SlotInput::Whole(value)
            }
        };
        self.inputs.insert(slot, input);
        Ok(())
    }

    /// The sub-keys that the request named, in its order: each is a line of the answer.
    pub fn named_sub_keys(&self) -> impl Iterator<Item = (&Slot, &SubKey)> {
        self.order.iter().filter_map(|(slot, key)| key.as_ref().map(|key| (slot, key)))
    }

    /// Whether the request says anything about `slot`.
    #[must_use]
    pub fn names(&self, slot: &Slot) -> bool {
        self.inputs.contains_key(slot)
    }

    /// What becomes of one slot that now holds `current`. Pure, so that a backend may ask again after a conflict.
    ///
    /// # Errors
    /// [`SlotError`]: what the backend holds cannot be merged, or the kernel gave no random bytes.
    pub fn change(
        &self,
        spec: &SlotSpec,
        current: Option<&SecretValue>,
        generator: &Generator,
    ) -> Result<SlotChange, SlotError> {
        match self.inputs.get(&spec.name) {
            None if current.is_some() => Ok(SlotChange::Keep),
            None => match spec.initial {
                Initial::Nothing => Ok(SlotChange::Keep),
                Initial::NotUsed => Ok(SlotChange::Set(SecretValue::new("NOT_USED".to_owned()))),
                Initial::Generated => generator.generate().map(SlotChange::Set).map_err(|_| SlotError::NoRandomness),
            },
            Some(SlotInput::Scalar(value)) => Ok(SlotChange::Set(value.duplicate())),
            Some(SlotInput::Whole(value)) => self.change_whole(value, current),
            Some(SlotInput::Entries(entries)) => self.change_entries(entries, current),
        }
    }

    fn change_whole(&self, value: &SecretValue, current: Option<&SecretValue>) -> Result<SlotChange, SlotError> {
        let new = MapSlot::accept(value.expose()).map_err(|_| SlotError::Unreadable)?;
        match (self.strategy, current) {
            (Strategy::Merge, Some(current)) => {
                let mut merged = MapSlot::read(current.expose()).map_err(|_| SlotError::Unreadable)?;
                merged.merge(new);
                Ok(store(&merged))
            }
            // As it came, byte for byte.
            _ if !new.is_empty() => Ok(SlotChange::Set(value.duplicate())),
            (_, Some(_)) => Ok(SlotChange::Remove),
            (_, None) => Ok(SlotChange::Keep),
        }
    }

    fn change_entries(
        &self,
        entries: &[(SubKey, SecretValue)],
        current: Option<&SecretValue>,
    ) -> Result<SlotChange, SlotError> {
        let mut map = match (self.strategy, current) {
            (Strategy::Merge, Some(current)) => MapSlot::read(current.expose()).map_err(|_| SlotError::Unreadable)?,
            _ => MapSlot::default(),
        };
        for (key, value) in entries {
            map.set(key, value);
        }
        Ok(store(&map))
    }
}

/// Why one slot cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// The stored map slot is no JSON object, so a merge would lose it.
    #[error("the stored map slot is no JSON object")]
    Unreadable,
    /// The kernel gave no random bytes.
    #[error("the system's random source failed")]
    NoRandomness,
}

fn store(map: &MapSlot) -> SlotChange {
    if map.is_empty() { SlotChange::Remove } else { SlotChange::Set(map.to_value()) }
}

fn parse_name(name: &str) -> Result<(Slot, Option<SubKey>), IdError> {
    match name.split_once('/') {
        Some((slot, key)) => Ok((Slot::parse(slot)?, Some(SubKey::parse(key)?))),
        None => Ok((Slot::parse(name)?, None)),
    }
}
