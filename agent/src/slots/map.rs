//! Map slots: a flat JSON object of strings, kept in the order and, where nothing changes, in the bytes it came in.
//!
//! What others have written there (numbers, nested objects, odd keys) survives a merge untouched; what we write
//! ourselves is strict.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::id::SubKey;
use crate::secret::SecretValue;

/// Why a text is no map slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Not a flat JSON object of strings, a duplicate key, or a key outside the sub-key grammar.
    #[error("a map slot is a flat JSON object of strings, each key once and in the sub-key grammar")]
    NotFlat,
    /// An entry that is empty or only white space.
    #[error("an entry of a map slot is empty or only white space")]
    Blank,
    /// What the backend holds is no JSON object.
    #[error("the stored map slot is no JSON object")]
    Unreadable,
}

/// The entries of a map slot, in their order: literal key to JSON text.
#[derive(Default)]
pub struct MapSlot {
    entries: IndexMap<String, Zeroizing<Box<str>>>,
}

impl MapSlot {
    /// Reads what a backend holds. Lenient: entries of any JSON type, keys of any kind; the last of two equal keys
    /// wins, as in every reader of such data.
    ///
    /// # Errors
    /// [`MapError::Unreadable`].
    pub fn read(stored: &str) -> Result<Self, MapError> {
        let entries: Entries = serde_json::from_str(stored).map_err(|_| MapError::Unreadable)?;
        Ok(Self { entries: entries.0.into_iter().collect() })
    }

    /// Reads what a caller wants stored. Strict.
    ///
    /// # Errors
    /// [`MapError::NotFlat`] or [`MapError::Blank`].
    pub fn accept(text: &str) -> Result<Self, MapError> {
        let listed: Entries = serde_json::from_str(text).map_err(|_| MapError::NotFlat)?;
        let mut entries = IndexMap::with_capacity(listed.0.len());
        for (key, json) in listed.0 {
            SubKey::parse(&key).map_err(|_| MapError::NotFlat)?;
            if decode(&json).ok_or(MapError::NotFlat)?.is_blank() {
                return Err(MapError::Blank);
            }
            if entries.insert(key, json).is_some() {
                return Err(MapError::NotFlat);
            }
        }
        Ok(Self { entries })
    }

    /// The value under the literal key: a string's content, or the JSON text of anything else.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<SecretValue> {
        let json = self.entries.get(key)?;
        Some(decode(json).unwrap_or_else(|| SecretValue::new(json.to_string())))
    }

    /// Sets one entry, in its place if it is there, else at the end.
    ///
    /// # Panics
    /// Never: a string always has a JSON text.
    pub fn set(&mut self, key: &SubKey, value: &SecretValue) {
        let json = serde_json::to_string(value.expose()).expect("a string must have a JSON text");
        self.entries.insert(key.as_str().to_owned(), Zeroizing::new(json.into_boxed_str()));
    }

    /// Removes one entry; whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        self.entries.shift_remove(key).is_some()
    }

    /// Takes every entry of `other`, over its own.
    pub fn merge(&mut self, other: Self) {
        self.entries.extend(other.entries);
    }

    /// What writers who may not have known of each other have made of a map. `versions` stand in their order; the first
    /// `older` of them are over and tell what was new when, and the one after them is what there was before.
    ///
    /// Of several values of an entry it is the one that was new last. What somebody added stays. What somebody does not
    /// have goes only if nobody before was without it.
    #[must_use]
    pub fn together(versions: &[Self], older: usize) -> Self {
        let later = versions.get(older..).unwrap_or_default();
        let mut entries = IndexMap::new();
        for key in later.iter().flat_map(|version| version.entries.keys()) {
            let state = |version: &Self| version.entries.get(key).cloned();
            let first = |wanted: &Option<_>| versions.iter().position(|version| state(version) == *wanted);
            let may_go = versions.iter().take(older + 1).all(|version| version.entries.contains_key(key));
            let states = later.iter().map(state).filter(|state| may_go || state.is_some());
            if let Some(Some(json)) = states.max_by_key(first)
                && !entries.contains_key(key)
            {
                entries.insert(key.clone(), json);
            }
        }
        Self { entries }
    }

    /// Whether there is no entry: such a slot is neither stored nor listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The JSON text to store.
    ///
    /// # Panics
    /// Never: a string always has a JSON text.
    #[must_use]
    pub fn to_value(&self) -> SecretValue {
        let size: usize = self.entries.iter().map(|(key, json)| key.len() + json.len() + 6).sum();
        let mut text = String::with_capacity(size + 2);
        text.push('{');
        for (index, (key, json)) in self.entries.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(&serde_json::to_string(key).expect("a string must have a JSON text"));
            text.push(':');
            text.push_str(json);
        }
        text.push('}');
        SecretValue::new(text)
    }
}

/// The content of a JSON string; nothing for any other type.
fn decode(json: &str) -> Option<SecretValue> {
    serde_json::from_str::<SecretValue>(json).ok()
}

/// All entries, in order, duplicates included.
struct Entries(Vec<(String, Zeroizing<Box<str>>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, json)) = map.next_entry::<String, Box<RawValue>>()? {
            entries.push((key, Zeroizing::new(json.into())));
        }
        Ok(Entries(entries))
    }
}
