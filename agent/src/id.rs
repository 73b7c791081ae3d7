//! secretIds: the ticket a caller gets for a value, parsed once into types that cannot be built wrong (N2).
//!
//! Text form: `env:team:app:path:checksum`. Nothing here touches a value or a backend.

mod checksum;
mod grammar;
mod location;
mod placeholder;
mod scope;

#[cfg(test)]
mod tests;

use std::fmt;

pub use checksum::{Checksum, Fingerprinter};
pub use location::{Location, Slot, SubKey};
pub use placeholder::{Found, scan};
pub use scope::{Scope, ScopeKind, ScopePattern};

/// Longest text that can be a secretId: 63 + 63 + 63 + (60 + 1 + 200) + 64 and four colons.
pub const MAX_ID_BYTES: usize = 63 * 3 + 261 + 64 + 4;

/// A parsed secretId: where the secret is, and which value of it the caller has seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretId {
    location: Location,
    checksum: Checksum,
}

/// Why a text is no secretId. Names the segment, never the text: callers put plain secrets here by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not exactly five segments.
    #[error("a secretId has five segments, env:team:app:path:checksum")]
    Segments,
    /// Longer than any valid id.
    #[error("a secretId has at most {MAX_ID_BYTES} bytes")]
    Length,
    /// `env` breaks the grammar.
    #[error("the environment is a lower-case DNS label of at most 63 characters without `--`")]
    Environment,
    /// `team` breaks the grammar.
    #[error("the team is a lower-case DNS label other than `secrets`, and env--team has at most 63 characters")]
    Team,
    /// `app` breaks the grammar.
    #[error("the application is a lower-case DNS label of at most 63 characters other than `secrets`")]
    Application,
    /// An application without a team.
    #[error("an application belongs to a team: the team segment is empty")]
    ApplicationWithoutTeam,
    /// The slot breaks the grammar.
    #[error("the slot starts with a letter and has at most 60 of [A-Za-z0-9_-]")]
    Slot,
    /// The sub-key breaks the grammar.
    #[error(
        "the sub-key is segments of [A-Za-z0-9._@+-]+ joined by `/`, none of them `.` or `..`, at most 200 characters"
    )]
    SubKey,
    /// The checksum breaks the grammar.
    #[error("the checksum is empty or at most 64 of [A-Za-z0-9]")]
    Checksum,
}

impl SecretId {
    /// An id of `location` in the state that `checksum` names.
    #[must_use]
    pub fn new(location: Location, checksum: Checksum) -> Self {
        Self { location, checksum }
    }

    /// Parses the text form.
    ///
    /// # Errors
    /// [`IdError`] names the first segment that breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.len() > MAX_ID_BYTES {
            return Err(IdError::Length);
        }
        let (location, checksum) = memchr::memrchr(b':', text.as_bytes())
            .and_then(|colon| text.get(..colon).zip(text.get(colon + 1..)))
            .ok_or(IdError::Segments)?;
        let location = Location::parse(location)?;
        let checksum = Checksum::parse(checksum)?;
        Ok(Self { location, checksum })
    }

    /// Parses an id or a placeholder: wherever the API expects an id, both are accepted.
    ///
    /// # Errors
    /// As [`SecretId::parse`].
    pub fn parse_reference(text: &str) -> Result<Self, IdError> {
        match text.strip_prefix("$<").and_then(|rest| rest.strip_suffix('>')) {
            Some(inner) => Self::parse(inner),
            None => Self::parse(text),
        }
    }

    /// Where the secret is.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The fingerprint that the caller has seen; empty when it does not care.
    #[must_use]
    pub fn checksum(&self) -> &Checksum {
        &self.checksum
    }

    /// The two parts.
    #[must_use]
    pub fn into_parts(self) -> (Location, Checksum) {
        (self.location, self.checksum)
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.location, self.checksum)
    }
}
