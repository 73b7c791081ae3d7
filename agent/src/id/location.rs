//! Where a secret is: scope, slot and sub-key, without the checksum. The key of cache, locks and backends.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::{IdError, Scope, ScopeKind, grammar, scope};

/// The name of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(Box<str>);

impl Slot {
    /// Checks the grammar.
    ///
    /// # Errors
    /// [`IdError::Slot`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if grammar::is_slot(text) { Ok(Self(text.into())) } else { Err(IdError::Slot) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Slot {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The literal key of one entry of a map slot. It is looked up, never interpreted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubKey(Box<str>);

impl SubKey {
    /// Checks the grammar.
    ///
    /// # Errors
    /// [`IdError::SubKey`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if grammar::is_sub_key(text) { Ok(Self(text.into())) } else { Err(IdError::SubKey) }
    }

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `env:team:app:slot[/sub-key]`, checked, in one allocation with the positions of its parts.
///
/// The text is canonical and no segment holds a separator of an earlier one, so two locations are equal exactly when
/// their texts are: equality and hash are the text's.
#[derive(Clone)]
pub struct Location {
    text: Box<str>,
    env_end: u16,
    team_end: u16,
    app_end: u16,
    slot_end: u16,
}

impl Location {
    /// Parses `env:team:app:path`.
    pub(super) fn parse(text: &str) -> Result<Self, IdError> {
        let bytes = text.as_bytes();
        let mut colons = memchr::memchr_iter(b':', bytes);
        let (Some(env_end), Some(team_end), Some(app_end), None) =
            (colons.next(), colons.next(), colons.next(), colons.next())
        else {
            return Err(IdError::Segments);
        };
        let part = |from: usize, to: usize| text.get(from..to).ok_or(IdError::Segments);
        scope::check(part(0, env_end)?, part(env_end + 1, team_end)?, part(team_end + 1, app_end)?)?;
        let path = app_end + 1;
        let slot_end = memchr::memchr(b'/', bytes.get(path..).unwrap_or_default()).map(|length| path + length);
        if !grammar::is_slot(part(path, slot_end.unwrap_or(bytes.len()))?) {
            return Err(IdError::Slot);
        }
        if let Some(slot_end) = slot_end
            && !grammar::is_sub_key(part(slot_end + 1, bytes.len())?)
        {
            return Err(IdError::SubKey);
        }
        let slot_end = slot_end.unwrap_or(bytes.len());
        let mark = |position: usize| u16::try_from(position).map_err(|_| IdError::Length);
        Ok(Self {
            env_end: mark(env_end)?,
            team_end: mark(team_end)?,
            app_end: mark(app_end)?,
            slot_end: mark(slot_end)?,
            text: text.into(),
        })
    }

    /// The location of a slot, or of one of its entries, in `scope`.
    ///
    /// # Panics
    /// Never: every argument has passed the grammar that `parse` applies.
    #[must_use]
    pub fn of(scope: &Scope, slot: &Slot, sub_key: Option<&SubKey>) -> Self {
        let team = scope.team().unwrap_or_default();
        let app = scope.app().unwrap_or_default();
        let mut text = format!("{}:{team}:{app}:{}", scope.env(), slot.as_str());
        if let Some(key) = sub_key {
            text.push('/');
            text.push_str(key.as_str());
        }
        Self::parse(&text).expect("parts that passed the grammar must join to a location")
    }

    /// The environment.
    #[must_use]
    pub fn env(&self) -> &str {
        self.part(0, self.env_end)
    }

    /// The team; empty in an environment's scope.
    #[must_use]
    pub fn team(&self) -> &str {
        self.part(self.env_end + 1, self.team_end)
    }

    /// The application; empty in a wider scope.
    #[must_use]
    pub fn app(&self) -> &str {
        self.part(self.team_end + 1, self.app_end)
    }

    /// The slot's name.
    #[must_use]
    pub fn slot(&self) -> &str {
        self.part(self.app_end + 1, self.slot_end)
    }

    /// The sub-key, if this is one entry of a map slot.
    #[must_use]
    pub fn sub_key(&self) -> Option<&str> {
        self.text.get(usize::from(self.slot_end) + 1..)
    }

    /// `env:team:app:slot`: the unit that a backend writes as one.
    #[must_use]
    pub fn slot_text(&self) -> &str {
        self.part(0, self.slot_end)
    }

    /// The whole map slot that this entry belongs to; itself, if it has no sub-key.
    #[must_use]
    pub fn whole_slot(&self) -> Self {
        Self { text: self.slot_text().into(), ..*self }
    }

    /// One entry of this map slot.
    #[must_use]
    pub fn entry(&self, key: &SubKey) -> Self {
        let mut text = self.slot_text().to_owned();
        text.push('/');
        text.push_str(key.as_str());
        Self { text: text.into(), ..*self }
    }

    /// The same scope, another slot.
    #[must_use]
    pub fn sibling(&self, slot: &Slot) -> Self {
        Self::of(&self.scope(), slot, None)
    }

    /// The scope that owns the secret.
    ///
    /// # Panics
    /// Never: the segments passed the grammar when the location was made.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope::new(self.env(), self.team(), self.app()).expect("a location's segments must form a scope")
    }

    /// Environment, team or application.
    #[must_use]
    pub fn scope_kind(&self) -> ScopeKind {
        match (self.team().is_empty(), self.app().is_empty()) {
            (true, _) => ScopeKind::Environment,
            (false, true) => ScopeKind::Team,
            (false, false) => ScopeKind::Application,
        }
    }

    /// `env:team:app:path`
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn part(&self, from: u16, to: u16) -> &str {
        self.text.get(usize::from(from)..usize::from(to)).unwrap_or_default()
    }
}

// === the text is the location ===

impl PartialEq for Location {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Location {}

impl PartialOrd for Location {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Location {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Location {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Borrow<str> for Location {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}
