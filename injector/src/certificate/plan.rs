//! What is due: a pure function of the state, the wall clock, and what the webhook configuration says.
//!
//! One step at a time, and each step leaves a state in which every replica can serve: whoever dies between two steps
//! leaves the rest to the others. The leaf that is served changes only here, by [`Step::Promote`], so that all replicas
//! agree about it.

use super::state::{Checked, Fault};
use super::{Lifetimes, Validity};

/// What stands in the webhook configuration, seen from the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Exactly our authorities, in every entry.
    Complete,
    /// Something else, and it may be written now.
    Differs,
    /// Something else, and it was repaired a moment ago: somebody writes against us, and we do not join in.
    DiffersForNow,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write a state where there is none that can be used.
    Begin(Fault),
    /// Write our authorities into every entry.
    Publish,
    /// Serve the next leaf from now on.
    Promote,
    /// Make a new authority and its first leaf.
    MakeAuthority,
    /// Make a new leaf.
    MakeLeaf,
    /// Take authorities away whose last leaf has ended.
    Forget,
    /// Nothing is due.
    Rest,
}

/// What of the state the plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Outline {
    /// When the leaf is good.
    pub leaf: Validity,
    /// When the next one is.
    pub next: Option<Validity>,
    /// When the newest authority is.
    pub authority: Validity,
    /// Whether the newest authority can issue.
    pub issues: bool,
    /// When the earliest of the older authorities can be forgotten.
    pub spent: Option<i64>,
}

impl Outline {
    /// The outline of a state.
    #[must_use]
    pub fn of(checked: &Checked) -> Self {
        let older = checked.state.authorities.iter().rev().skip(1);
        let newest = checked.authorities.last();
        Self {
            leaf: checked.leaf.validity,
            next: checked.next.as_ref().map(|next| next.validity),
            authority: newest.map_or(Validity { from: 0, until: 0 }, |newest| newest.validity),
            issues: newest.is_some_and(|newest| newest.issues),
            spent: older.map(|authority| authority.leaves_until).min(),
        }
    }
}

/// What is due at `now`. `confirmed`: the next leaf's authority has been in every entry for long enough.
#[must_use]
pub fn plan(
    state: Result<Outline, Fault>,
    now: i64,
    published: Published,
    confirmed: bool,
    lifetimes: Lifetimes,
) -> Step {
    let outline = match state {
        Ok(outline) => outline,
        Err(fault) => return Step::Begin(fault),
    };
    let next = outline.next.filter(|next| next.lasts(now));
    if !outline.leaf.lasts(now) {
        // Nobody believes in the leaf: the next one can only be better, whoever has heard of its authority.
        return if next.is_some() { Step::Promote } else { Step::Begin(Fault::Expired) };
    }
    if published == Published::Differs {
        return Step::Publish;
    }
    if next.is_some() && confirmed && published == Published::Complete {
        return Step::Promote;
    }
    // One that waits for its authority to become known is made anew like any other when its time comes.
    let newest = next.unwrap_or(outline.leaf);
    if !outline.issues || due(outline.authority, now, lifetimes.authority) {
        // Not while an authority waits already: each would wait for the one after it.
        return if next.is_none() { Step::MakeAuthority } else { Step::Rest };
    }
    if due(newest, now, lifetimes.leaf) {
        return Step::MakeLeaf;
    }
    if outline.spent.is_some_and(|spent| spent <= now) { Step::Forget } else { Step::Rest }
}

fn due(validity: Validity, now: i64, lifetime: std::time::Duration) -> bool {
    let third = i64::try_from(lifetime.as_secs() / 3).unwrap_or(i64::MAX);
    now >= validity.until.saturating_sub(third)
}
