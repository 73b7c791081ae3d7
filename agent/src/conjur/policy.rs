//! Policy texts: what is loaded into Conjur to make, to empty and to delete a scope.
//!
//! Pure. Each scope is a branch with its variables and two groups, `readers` and `writers`, which are permitted on
//! each variable; the groups of the enclosing scope are members, up to the root branch, because a privilege on a
//! policy does not reach the variables in it.

mod operator;
mod scope;
mod statement;

#[cfg(test)]
mod tests;

use crate::id::{Scope, ScopeKind};

pub use operator::{HostGrant, OperatorPolicy, SigningKeys};
pub use scope::{SlotsOf, delete_branch, delete_records, delete_slots, join_writers, onboard};

/// A text and where it goes. [`onboard`] is sent by POST, which adds and never takes away; deletes by PATCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyLoad {
    /// The branch that is loaded into, the only one whose privileges count: `create` for POST, `update` for PATCH.
    pub branch: String,
    /// The YAML.
    pub body: String,
}

/// Which of the branches around a scope its text is loaded into.
///
/// Privileges on a branch are not inherited by the branches below it, and the branches that a load makes carry none.
/// So a credential with `create` on one branch can onboard everything below it by texts into that same branch, and
/// needs nothing anywhere else; and giving it more with each load would only leave privileges behind. The narrowest
/// branch is the best one that is permitted: loads into one branch at the same time answer 409 to all but one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LoadInto {
    /// The enclosing scope's branch; for an environment the root branch.
    Parent,
    /// The environment's branch; for the environment itself the root branch.
    Environment,
    /// The root branch.
    Root,
    /// The scope's own branch, which must exist: for a credential that was given this one scope.
    Own,
}

impl LoadInto {
    /// The order in which a caller looks for a branch that it may load into: the narrowest that need not exist yet,
    /// then wider ones, and what exists already at last.
    pub const LADDER: [Self; 4] = [Self::Parent, Self::Environment, Self::Root, Self::Own];

    /// The scope whose branch that is; none for the root branch.
    #[must_use]
    pub fn base(self, scope: &Scope) -> Option<Scope> {
        let mut around = scope.lineage();
        let own = around.pop();
        match self {
            Self::Parent => around.pop(),
            Self::Environment => around.into_iter().next(),
            Self::Root => None,
            Self::Own => own,
        }
    }
}

/// Not a path of a policy branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a policy path is segments of 1 to 60 of [A-Za-z0-9_-], joined by `/`, at most 200 characters")]
pub struct InvalidBranch;

/// The branch that all scopes lie in: `rootPolicyPath`.
///
/// The segments are what Conjur's own branch names may be, so that they need no escaping in a URL or in YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootBranch(Box<str>);

impl RootBranch {
    /// Checks the grammar.
    ///
    /// # Errors
    /// [`InvalidBranch`].
    pub fn parse(text: &str) -> Result<Self, InvalidBranch> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let segment = |segment: &str| (1..=60).contains(&segment.len()) && segment.bytes().all(plain);
        // With a scope's 129 and a slot's 61 characters it stays below the 500 of a branch path.
        if text.len() <= 200 && text.split('/').all(segment) { Ok(Self(text.into())) } else { Err(InvalidBranch) }
    }

    /// Whether `other` is this branch or lies in it.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        other.0.strip_prefix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for RootBranch {
    fn default() -> Self {
        Self("controlplane".into())
    }
}

/// `{root}/{env}[/{team}[/{app}]]`
#[must_use]
pub fn scope_branch(root: &RootBranch, scope: &Scope) -> String {
    format!("{}/{scope}", root.as_str())
}

/// The id of a slot's variable, without account and kind.
#[must_use]
pub fn variable_id(root: &RootBranch, scope: &Scope, slot: &str) -> String {
    format!("{}/{slot}", scope_branch(root, scope))
}

/// The ids of a scope's groups, without account and kind, with what each may do with every variable.
#[must_use]
pub fn groups(root: &RootBranch, scope: &Scope) -> [(String, &'static [&'static str]); 2] {
    let id = |name: &str| group_id(root, Some(scope), name);
    [(id(scope::READERS), &["execute"]), (id(scope::WRITERS), &["execute", "update"])]
}

/// The id of a scope's group, or of the root branch's.
fn group_id(root: &RootBranch, scope: Option<&Scope>, group: &str) -> String {
    format!("{}/{group}", branch(root, scope))
}

fn branch(root: &RootBranch, scope: Option<&Scope>) -> String {
    scope.map_or_else(|| root.as_str().to_owned(), |scope| scope_branch(root, scope))
}

/// The last segment: what a scope's branch is called inside the one around it.
fn own_name(scope: &Scope) -> &str {
    match scope.kind() {
        ScopeKind::Environment => scope.env(),
        ScopeKind::Team => scope.team().unwrap_or_default(),
        ScopeKind::Application => scope.app().unwrap_or_default(),
    }
}
