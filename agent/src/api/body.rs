//! Request bodies: strict, typed, decoded straight into the types that wipe themselves.
//!
//! Unknown and duplicate members, trailing bytes, a byte order mark, an unpaired surrogate and everything that is no
//! JSON are errors. A nested value where a string belongs ends the parse at its first byte, so depth costs nothing.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::secret::SecretValue;
use crate::slots::Strategy;

/// Where a body stopped being what was expected. The position is ours; the text is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not the expected JSON: line {line}, column {column}")]
pub struct BodyError {
    /// 1-based line.
    pub line: usize,
    /// Column in bytes.
    pub column: usize,
}

/// `PUT /secrets/{id}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutBody {
    /// What to store.
    pub value: SecretValue,
    /// Whether `rotate` means the word itself.
    #[serde(default)]
    pub literal: bool,
}

/// `POST /secrets/{id}/rotate`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RotateBody {
    /// The slot that takes the old value.
    #[serde(default, deserialize_with = "present")]
    pub keep_previous: Option<String>,
}

/// `PUT /onboarding/…`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnboardBody {
    /// What happens to sub-keys that are not named.
    #[serde(default, deserialize_with = "word")]
    pub strategy: Strategy,
    /// Values to store.
    #[serde(default)]
    pub secrets: Vec<Object<NamedValue>>,
}

/// One entry of an onboarding request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedValue {
    /// `slot` or `slot/sub-key`.
    pub name: String,
    /// Its value.
    pub value: SecretValue,
}

/// `POST /obfuscate`
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ObfuscateBody<'a> {
    /// Whose secrets the strings become.
    pub scope: String,
    /// The map slot that they go into.
    pub slot: String,
    /// Where they stand.
    pub paths: Vec<Object<ObfuscatePath>>,
    /// What `document` is the text of; JSON, where it is not text but the document itself.
    #[serde(default, deserialize_with = "present")]
    pub content_type: Option<String>,
    /// The document, as it was sent.
    #[serde(borrow)]
    pub document: &'a RawValue,
}

/// One place, or family of places, in a document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObfuscatePath {
    /// The JSON Pointer.
    pub pointer: String,
    /// How what stands there is named.
    #[serde(default, deserialize_with = "present")]
    pub key: Option<String>,
}

/// A member that may be missing but, when it is there, is a string: `null` is no string.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// One word of a closed set. serde's derived enums take an object, `{"merge":null}`, for a word as well.
fn word<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::deserialize(String::deserialize(deserializer)?.into_deserializer())
}

/// A JSON object. serde's derived types take an array of their members' values as well, which no document promises.
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// Reads one JSON object and nothing after it.
///
/// # Errors
/// [`BodyError`] with the position.
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, BodyError> {
    let parsed: Result<Object<T>, _> = serde_json::from_slice(bytes);
    parsed.map(|object| object.0).map_err(|error| BodyError { line: error.line(), column: error.column() })
}

/// As [`parse`], where the whole body may be left out.
///
/// # Errors
/// [`BodyError`] with the position.
pub fn parse_optional<T: DeserializeOwned + Default>(bytes: &[u8]) -> Result<T, BodyError> {
    if bytes.is_empty() { Ok(T::default()) } else { parse(bytes) }
}
