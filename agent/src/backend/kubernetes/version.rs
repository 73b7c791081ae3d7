//! Resource versions: told to the server as they came, compared as the numbers that they are.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;

/// A version of an object. They are numbers that grow with each write of the store (KEP-5504, and the practice of every
/// server before it), so that one is kept as a number: there are two for every object in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// A number, as the server writes one.
    Number(u64),
    /// A text that is none. Counts as older than all.
    Text(Box<str>),
}

impl Version {
    /// How old it is beside others: the greater, the newer.
    pub(super) fn order(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Text(_) => 0,
        }
    }

    /// Whether no version was told.
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }
}

impl Default for Version {
    fn default() -> Self {
        Self::Text(Box::default())
    }
}

impl From<&str> for Version {
    fn from(text: &str) -> Self {
        match text.parse() {
            // Another way of writing the number (`007`, `+7`) would not come back as it came.
            Ok(number) if u64::to_string(&number) == text => Self::Number(number),
            _ => Self::Text(text.into()),
        }
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
        Text::deserialize(deserializer).map(|text| Self::from(&*text.0))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => fmt::Display::fmt(number, f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_goes_back_to_the_server_as_it_came() {
        for text in ["", "0", "7", "007", "+7", "18446744073709551615", "18446744073709551616", "v1", " 7"] {
            assert_eq!(Version::from(text).to_string(), text);
        }
    }

    #[test]
    fn numbers_are_compared_as_numbers_and_what_is_none_is_older() {
        let order = |text: &str| Version::from(text).order();
        assert!(order("9") < order("10"));
        assert_eq!([order(""), order("x"), order("010")], [0; 3]);
        assert!(Version::default().is_none() && !Version::from("0").is_none());
    }

    #[test]
    fn two_versions_take_no_more_room_than_one_address_each() {
        assert_eq!(size_of::<Version>(), 16);
    }
}
