//! What a policy load does to the state, under the three methods.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::graph::Membership;
use super::id::{self, Id};
use super::state::{PolicyVersion, Resource, State, VERSIONS};
use super::statement::{Record, Statement};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mode {
    /// POST: what is there stays as it is.
    Add,
    /// PATCH: what is there changes, and statements may delete.
    Change,
    /// PUT: what came through this branch and is not in the text any more goes.
    Replace,
}

/// A load into one branch.
pub(super) struct Load<'a> {
    pub(super) branch: &'a Id,
    pub(super) mode: Mode,
    pub(super) now: Duration,
    /// Roles with a key that this load made.
    pub(super) created: Vec<Id>,
    /// All records that it made.
    pub(super) made: Vec<Id>,
}

impl<'a> Load<'a> {
    pub(super) fn new(branch: &'a Id, mode: Mode, now: Duration) -> Self {
        Self { branch, mode, now, created: Vec::new(), made: Vec::new() }
    }

    /// Applies the statements. After an error, whose text it gives, the state is worth nothing.
    pub(super) fn apply(&mut self, state: &mut State, statements: &[Statement]) -> Result<(), String> {
        // Deletions come first, wherever they stand.
        for statement in statements {
            match statement {
                Statement::Delete { record } => state.delete(record),
                Statement::Deny { roles, privileges, resources } => {
                    for (role, privilege, resource) in triples(roles, privileges, resources) {
                        state.deny(role, privilege, resource, self.branch);
                    }
                }
                Statement::Revoke { roles, members } => {
                    let graph = Arc::make_mut(&mut state.graph);
                    for (role, (member, _)) in pairs(roles, members) {
                        // A grant belongs to the branch that it was loaded through.
                        if graph
                            .get(role, member, false)
                            .is_some_and(|found| found.policy.as_ref() == Some(self.branch))
                        {
                            graph.remove(role, member, false);
                        }
                    }
                }
                _ => {}
            }
        }
        let mut named = Named::default();
        for statement in statements {
            match statement {
                Statement::Record(record) => {
                    named.records.insert(Arc::clone(&record.id));
                    self.record(state, record);
                }
                Statement::Grant { roles, members } => {
                    for (role, (member, admin)) in pairs(roles, members) {
                        self.need(state, role)?;
                        self.need(state, member)?;
                        named.grants.insert((Arc::clone(role), Arc::clone(member)));
                        Arc::make_mut(&mut state.graph).add(Membership {
                            role: Arc::clone(role),
                            member: Arc::clone(member),
                            admin: *admin,
                            ownership: false,
                            policy: Some(Arc::clone(self.branch)),
                        });
                    }
                }
                Statement::Permit { roles, privileges, resources } => {
                    for (role, privilege, resource) in triples(roles, privileges, resources) {
                        self.need(state, role)?;
                        self.need(state, resource)?;
                        named.permits.insert((Arc::clone(role), privilege.clone(), Arc::clone(resource)));
                        state.permit(role, privilege, resource, self.branch);
                    }
                }
                _ => {}
            }
        }
        if self.mode == Mode::Replace {
            self.sweep(state, &named);
        }
        for statement in statements {
            if let Statement::Record(record) = statement {
                self.need(state, &record.owner)?;
            }
        }
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "reads as what the load needs")]
    fn need(&self, state: &State, id: &Id) -> Result<(), String> {
        if state.resource(id).is_some() { Ok(()) } else { Err(id::missing(id)) }
    }

    fn record(&mut self, state: &mut State, record: &Record) {
        let annotations =
            record.annotations.iter().map(|(name, value)| (name.clone(), (value.clone(), Arc::clone(self.branch))));
        let Some(before) = state.resource(&record.id).cloned() else {
            self.made.push(Arc::clone(&record.id));
            if matches!(id::kind(&record.id), "host" | "user") {
                self.created.push(Arc::clone(&record.id));
                Arc::make_mut(&mut state.keys).insert(Arc::clone(&record.id), super::token::api_key().into());
            }
            state.put(Resource {
                id: Arc::clone(&record.id),
                owner: Arc::clone(&record.owner),
                policy: Some(Arc::clone(self.branch)),
                created: self.now,
                annotations: annotations.collect(),
                restricted_to: record.restricted_to.clone(),
            });
            return;
        };
        let mut after = Resource::clone(&before);
        for (name, value) in annotations {
            match after.annotations.get(&name) {
                // Known through another branch, or known at all and only to be added.
                Some((_, by)) if by != self.branch || self.mode == Mode::Add => {}
                _ => {
                    after.annotations.insert(name, value);
                }
            }
        }
        // What another branch brought is not changed by this one, and nobody is told.
        if self.mode != Mode::Add && before.policy.as_ref() == Some(self.branch) {
            after.owner = Arc::clone(&record.owner);
            after.restricted_to.clone_from(&record.restricted_to);
        }
        state.put(after);
    }

    /// Takes away what came through this branch and is not named any more.
    fn sweep(&self, state: &mut State, named: &Named) {
        let ours = |by: Option<&Id>| by == Some(self.branch);
        let gone: Vec<Id> = state
            .resources
            .values()
            .filter(|one| ours(one.policy.as_ref()) && !named.records.contains(&one.id))
            .map(|one| Arc::clone(&one.id))
            .collect();
        for id in &gone {
            state.delete(id);
        }
        let graph = Arc::make_mut(&mut state.graph);
        let lost = graph.all().filter(|edge| {
            !edge.ownership
                && ours(edge.policy.as_ref())
                && !named.grants.contains(&(Arc::clone(&edge.role), Arc::clone(&edge.member)))
        });
        for edge in lost.cloned().collect::<Vec<_>>() {
            graph.remove(&edge.role, &edge.member, false);
        }
        for (resource, of) in Arc::make_mut(&mut state.permissions) {
            of.retain(|(role, privilege), by| {
                !ours(by.as_ref())
                    || named.permits.contains(&(Arc::clone(role), privilege.to_string(), Arc::clone(resource)))
            });
        }
    }
}

/// Counts a load and keeps its text with the policy, if the load has left one.
pub(super) fn count(state: &mut State, branch: &Id, text: &str, role: &Id, now: Duration) -> u64 {
    let kept = Arc::make_mut(&mut state.policies).entry(Arc::clone(branch)).or_default();
    let version = kept.back().map_or(1, |last| last.version + 1);
    kept.push_back(Arc::new(PolicyVersion { version, text: text.into(), loaded: now, role: Arc::clone(role) }));
    if kept.len() > VERSIONS {
        kept.pop_front();
    }
    version
}

/// What the text of a replacing load names.
#[derive(Default)]
struct Named {
    records: HashSet<Id>,
    grants: HashSet<(Id, Id)>,
    permits: HashSet<(Id, String, Id)>,
}

fn pairs<'a>(roles: &'a [Id], members: &'a [(Id, bool)]) -> impl Iterator<Item = (&'a Id, &'a (Id, bool))> {
    roles.iter().flat_map(move |role| members.iter().map(move |member| (role, member)))
}

fn triples<'a>(
    roles: &'a [Id],
    privileges: &'a [String],
    resources: &'a [Id],
) -> impl Iterator<Item = (&'a Id, &'a String, &'a Id)> {
    resources.iter().flat_map(move |resource| {
        roles.iter().flat_map(move |role| privileges.iter().map(move |privilege| (role, privilege, resource)))
    })
}
