//! Request bodies: strict, typed, decoded straight into the types that wipe themselves.
//!
//! Unknown and duplicate members, trailing bytes, a byte order mark, an unpaired surrogate and everything that is no
//! JSON are errors. A nested value where a string belongs ends the parse at its first byte, so depth costs nothing.

use serde::Deserialize;
use serde::de::DeserializeOwned;

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
    #[serde(default)]
    pub strategy: Strategy,
    /// Values to store.
    #[serde(default)]
    pub secrets: Vec<NamedValue>,
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

/// A member that may be missing but, when it is there, is a string: `null` is no string.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// Reads one JSON document and nothing after it.
///
/// # Errors
/// [`BodyError`] with the position.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BodyError> {
    serde_json::from_slice(bytes).map_err(|error| BodyError { line: error.line(), column: error.column() })
}

/// As [`parse`], where the whole body may be left out.
///
/// # Errors
/// [`BodyError`] with the position.
pub fn parse_optional<T: DeserializeOwned + Default>(bytes: &[u8]) -> Result<T, BodyError> {
    if bytes.is_empty() { Ok(T::default()) } else { parse(bytes) }
}
