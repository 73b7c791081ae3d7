//! Scopes: an environment, a team or an application, and the patterns that grants are written in.

use std::fmt;

use super::{IdError, grammar};

/// What kind of owner a scope is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScopeKind {
    /// `env`
    Environment,
    /// `env/team`
    Team,
    /// `env/team/app`
    Application,
}

/// The owner of secrets. Text form `env`, `env/team` or `env/team/app`; no segment holds `/`, so the text is injective.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    text: Box<str>,
}

impl Scope {
    /// Checks the three segments; an empty team or app means a wider scope.
    ///
    /// # Errors
    /// [`IdError`] names the segment that breaks the grammar.
    pub fn new(env: &str, team: &str, app: &str) -> Result<Self, IdError> {
        check(env, team, app)?;
        let mut text = String::with_capacity(env.len() + team.len() + app.len() + 2);
        text.push_str(env);
        for segment in [team, app] {
            if !segment.is_empty() {
                text.push('/');
                text.push_str(segment);
            }
        }
        Ok(Self { text: text.into() })
    }

    /// Parses `env`, `env/team` or `env/team/app`.
    ///
    /// # Errors
    /// [`IdError`] names the segment that breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let mut segments = text.split('/');
        let env = segments.next().unwrap_or_default();
        let (team, app) = (segments.next(), segments.next());
        if segments.next().is_some() || app == Some("") {
            return Err(IdError::Application);
        }
        if team == Some("") {
            return Err(IdError::Team);
        }
        Self::new(env, team.unwrap_or_default(), app.unwrap_or_default())
    }

    /// The environment.
    #[must_use]
    pub fn env(&self) -> &str {
        self.segment(0).unwrap_or_default()
    }

    /// The team, unless this is an environment.
    #[must_use]
    pub fn team(&self) -> Option<&str> {
        self.segment(1)
    }

    /// The application, if this is one.
    #[must_use]
    pub fn app(&self) -> Option<&str> {
        self.segment(2)
    }

    /// The scopes that this one lies in, the widest first, and itself.
    #[must_use]
    pub fn lineage(&self) -> Vec<Self> {
        let ends = self.text.match_indices('/').map(|(end, _)| end).chain([self.text.len()]);
        ends.filter_map(|end| self.text.get(..end).and_then(|text| Self::parse(text).ok())).collect()
    }

    /// Environment, team or application.
    #[must_use]
    pub fn kind(&self) -> ScopeKind {
        match (self.team(), self.app()) {
            (None, _) => ScopeKind::Environment,
            (Some(_), None) => ScopeKind::Team,
            (Some(_), Some(_)) => ScopeKind::Application,
        }
    }

    /// `env/team/app`
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn segment(&self, index: usize) -> Option<&str> {
        // Not `split`: segments are looked at several times in every request.
        let mut ends = memchr::memchr_iter(b'/', self.text.as_bytes());
        let start = match index {
            0 => 0,
            _ => ends.nth(index - 1)? + 1,
        };
        self.text.get(start..ends.next().unwrap_or(self.text.len()))
    }
}

/// The rules that hold between segments; each segment's own rule is in `grammar`.
pub(super) fn check(env: &str, team: &str, app: &str) -> Result<(), IdError> {
    if !grammar::is_environment(env) {
        return Err(IdError::Environment);
    }
    if team.is_empty() {
        return if app.is_empty() { Ok(()) } else { Err(IdError::ApplicationWithoutTeam) };
    }
    if !grammar::is_team_or_application(team) || !grammar::namespace_fits(env, team) {
        return Err(IdError::Team);
    }
    if !app.is_empty() && !grammar::is_team_or_application(app) {
        return Err(IdError::Application);
    }
    Ok(())
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// What a grant covers: `*`, or a scope and everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopePattern {
    /// Every scope.
    All,
    /// This scope and everything below it.
    Below(Scope),
}

impl ScopePattern {
    /// Parses `*`, `env`, `env/team` or `env/team/app`.
    ///
    /// # Errors
    /// [`IdError`] names the segment that breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text == "*" { Ok(Self::All) } else { Scope::parse(text).map(Self::Below) }
    }

    /// Whether the scope of these segments (empty = absent) is the pattern's or lies below it.
    #[must_use]
    pub fn covers(&self, env: &str, team: &str, app: &str) -> bool {
        match self {
            Self::All => true,
            Self::Below(scope) => {
                scope.env() == env && scope.team().is_none_or(|t| t == team) && scope.app().is_none_or(|a| a == app)
            }
        }
    }
}

impl fmt::Display for ScopePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Below(scope) => fmt::Display::fmt(scope, f),
        }
    }
}
