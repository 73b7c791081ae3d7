//! The name under which a string of a document is stored: a template that may quote the string's siblings, or the
//! pointer to it.

use zeroize::Zeroizing;

use crate::id::{IdError, SubKey};

/// Bytes of a template.
const TEMPLATE_BYTES_MAX: usize = 1024;

/// Why there is no name. Never repeats a text of the document or of the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A `{` without `}`, a `}` without `{`, or nothing between them.
    #[error("in a key a sibling is quoted as {{name}}")]
    Template,
    /// Longer than any key that it could make.
    #[error("a key has at most {TEMPLATE_BYTES_MAX} bytes")]
    TemplateTooLong,
    /// What it quotes is not there, or is no string, number or truth value.
    #[error("the key quotes a sibling that is not there, or that is no string, number or truth value")]
    MissingSibling,
    /// What it quotes is itself to be hidden: an id is no secret.
    #[error("the key quotes a sibling that is itself at one of the pointers, and an id is no secret")]
    HiddenSibling,
    /// Two strings have one name.
    #[error("two strings would have the same key")]
    Collision,
    /// What came out of it is no sub-key: it is empty or too long.
    #[error("the key is empty or too long for a sub-key")]
    Grammar(#[source] IdError),
}

/// How the strings at a pointer are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Sibling(Box<str>),
}

impl KeyTemplate {
    /// Parses `{basePath}/clientSecret`: what stands in braces is the name of a sibling, the rest stands for itself.
    ///
    /// # Errors
    /// [`KeyError::Template`] or [`KeyError::TemplateTooLong`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(KeyError::TemplateTooLong);
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or(KeyError::Template)?;
            if before.contains('}') || name.is_empty() || name.contains('{') {
                return Err(KeyError::Template);
            }
            pieces.push(Piece::Text(before.into()));
            pieces.push(Piece::Sibling(name.into()));
            rest = after;
        }
        if rest.contains('}') {
            return Err(KeyError::Template);
        }
        pieces.push(Piece::Text(rest.into()));
        Ok(Self(pieces))
    }

    /// The names that it quotes.
    pub(super) fn siblings(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Sibling(name) => Some(&**name),
        })
    }

    /// The key, with what the siblings hold.
    pub(super) fn key<'a>(&self, sibling: impl Fn(&str) -> Result<&'a str, KeyError>) -> Result<SubKey, KeyError> {
        let mut text = Zeroizing::new(String::new());
        for piece in &self.0 {
            text.push_str(match piece {
                Piece::Text(piece) => piece,
                Piece::Sibling(name) => sibling(name)?,
            });
        }
        sub_key(&text)
    }
}

/// `text` as a sub-key: what its grammar does not know becomes `-`, and empty segments go.
pub(super) fn sub_key(text: &str) -> Result<SubKey, KeyError> {
    let segments = text.split('/').filter(|segment| !segment.is_empty());
    let mut key = String::with_capacity(text.len());
    for segment in segments {
        if !key.is_empty() {
            key.push('/');
        }
        // These two name a place on the way and none that something could be stored at.
        let dots = matches!(segment, "." | "..");
        let plain = |character: &char| character.is_ascii_alphanumeric() || "._@+-".contains(*character);
        key.extend(segment.chars().map(|character| if plain(&character) && !dots { character } else { '-' }));
    }
    SubKey::parse(&key).map_err(KeyError::Grammar)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(template: &str, siblings: &[(&str, &str)]) -> Result<String, KeyError> {
        let look = |name: &str| {
            let found = siblings.iter().find(|(known, _)| *known == name);
            found.map(|(_, text)| *text).ok_or(KeyError::MissingSibling)
        };
        KeyTemplate::parse(template)?.key(look).map(|key| key.as_str().to_owned())
    }

    #[test]
    fn a_key_quotes_siblings_and_has_a_dash_for_what_its_grammar_does_not_know() {
        let siblings = [("basePath", "/eni/distr/v1"), ("name", "Größe {x}: 1"), ("dots", "../."), ("empty", "")];
        let made = |template| key(template, &siblings);
        assert_eq!(made("{basePath}/clientSecret").as_deref(), Ok("eni/distr/v1/clientSecret"));
        assert_eq!(made("a{name}b").as_deref(), Ok("aGr--e--x---1b"), "what is quoted is not read as a template");
        assert_eq!(made("{dots}/{name}").as_deref(), Ok("--/-/Gr--e--x---1"));
        assert_eq!(made("{empty}x").as_deref(), Ok("x"));
        assert_eq!(made("/a//b/").as_deref(), Ok("a/b"));
        assert_eq!(made("{none}"), Err(KeyError::MissingSibling));
        assert_eq!(made("{empty}"), Err(KeyError::Grammar(IdError::SubKey)));
        assert_eq!(made(&"x".repeat(201)), Err(KeyError::Grammar(IdError::SubKey)));
    }

    #[test]
    fn a_template_is_read_in_one_way_only() {
        for text in ["{", "}", "{}", "a{b", "a}b", "{a}}", "{{a}}", "{a{b}}"] {
            assert_eq!(KeyTemplate::parse(text), Err(KeyError::Template), "{text}");
        }
        assert_eq!(KeyTemplate::parse(&"x".repeat(1025)), Err(KeyError::TemplateTooLong));
    }

    proptest! {
        #[test]
        fn whatever_is_named_is_named_within_the_grammar(template in any::<String>(), sibling in any::<String>()) {
            if let Ok(key) = key(&template, &[("a", &sibling)]) {
                prop_assert!(SubKey::parse(&key).is_ok());
            }
            if let Ok(key) = sub_key(&sibling) {
                prop_assert_eq!(sub_key(key.as_str()), Ok(key.clone()), "a key is its own key");
            }
        }
    }
}
