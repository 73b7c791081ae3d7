//! The one type that holds a secret value: no Debug, Display, Clone or Serialize, zeroised on drop (N4, N5).

use zeroize::{Zeroize, Zeroizing};

/// A secret value: text, because the API carries JSON strings; never interpreted, never normalised.
///
/// The only way to its content is [`SecretValue::expose`], so that every use can be found by name.
pub struct SecretValue(Zeroizing<Box<str>>);

/// A backend's bytes that are no UTF-8, so that the API's JSON cannot carry them.
#[derive(Debug, thiserror::Error)]
#[error("the stored value is not UTF-8 text")]
pub struct NotText;

impl SecretValue {
    /// Takes the text over. A `String` with spare capacity is moved into an allocation of the exact size and the old
    /// one is wiped.
    #[must_use]
    pub fn new(mut text: String) -> Self {
        if text.capacity() == text.len() {
            return Self(Zeroizing::new(text.into_boxed_str()));
        }
        let exact: Box<str> = text.as_str().into();
        text.zeroize();
        Self(Zeroizing::new(exact))
    }

    /// Takes bytes that a backend returned.
    ///
    /// # Errors
    /// [`NotText`]; the bytes are wiped.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, NotText> {
        String::from_utf8(bytes).map(Self::new).map_err(|error| {
            error.into_bytes().zeroize();
            NotText
        })
    }

    /// The content. Whoever calls this decides where the secret goes next.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Bytes of the content.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no content at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Empty or only ASCII white space (with VT), which not every backend can hold and so none accepts.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.0.bytes().all(|b| matches!(b, b' ' | b'\t'..=b'\r'))
    }

    /// A second copy, for the places that must hold one. Named, so that a copy is a decision and not a `clone()`.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(Zeroizing::new(self.expose().into()))
    }
}

impl<'de> serde::Deserialize<'de> for SecretValue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_string(TextVisitor)
    }
}

/// Takes a string and names only the expected type in its error: serde's own would quote what it got.
struct TextVisitor;

impl serde::de::Visitor<'_> for TextVisitor {
    type Value = SecretValue;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SecretValue, E> {
        Ok(SecretValue(Zeroizing::new(text.into())))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<SecretValue, E> {
        Ok(SecretValue::new(text))
    }
}
