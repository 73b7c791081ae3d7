//! Names of labels and of finalizers: few, short, there for every object in use, and so kept as one text.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Stands between two names, and in none: qualified names are letters, digits, `-`, `_`, `.` and `/`.
const BETWEEN: char = '\n';

/// Names, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Names(Box<str>);

impl Names {
    /// One after the other.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(BETWEEN).filter(|name| !name.is_empty())
    }

    /// Whether this is one of them.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.iter().any(|held| held == name)
    }
}

/// Reads a list of names, or the names of a map.
impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names")
    }

    fn visit_unit<E>(self) -> Result<Names, E> {
        Ok(Names::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Names, A::Error> {
        let mut all = String::new();
        while let Some(()) = names.next_element_seed(Name(&mut all))? {}
        Ok(Names(all.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut names: A) -> Result<Names, A::Error> {
        let mut all = String::new();
        while let Some(()) = names.next_key_seed(Name(&mut all))? {
            names.next_value::<IgnoredAny>()?;
        }
        Ok(Names(all.into()))
    }
}

/// Reads one name, and puts it behind those that are there.
struct Name<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<(), E> {
        // It could not be told from two of them, or from none: a finalizer that is not there is one that we take off.
        if name.is_empty() || name.contains(BETWEEN) {
            return Err(E::custom("no name"));
        }
        if !self.0.is_empty() {
            self.0.push(BETWEEN);
        }
        self.0.push_str(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(json: &str) -> Option<Vec<String>> {
        let names: Names = serde_json::from_str(json).ok()?;
        Some(names.iter().map(str::to_owned).collect())
    }

    #[test]
    fn a_list_and_the_keys_of_a_map_are_names() {
        assert_eq!(names(r#"["a/b", "c"]"#).unwrap(), ["a/b", "c"]);
        assert_eq!(names(r#"{"a/b": "1", "c": {"d": []}}"#).unwrap(), ["a/b", "c"]);
        for none in ["[]", "{}", "null"] {
            assert_eq!(names(none).unwrap(), [""; 0], "{none}");
        }
    }

    #[test]
    fn a_name_is_found_as_a_whole() {
        let names: Names = serde_json::from_str(r#"["example.com/a", "b"]"#).unwrap();
        assert!(names.contains("example.com/a") && names.contains("b"));
        assert!(!names.contains("a") && !names.contains("") && !names.contains("example.com/a\nb"));
    }

    #[test]
    fn what_would_look_like_two_names_or_like_none_is_refused() {
        for json in [r#"["a\nb"]"#, r#"{"a\nb": ""}"#, r#"[""]"#, "[1]", "7", r#""a""#] {
            assert!(names(json).is_none(), "{json}");
        }
    }
}
