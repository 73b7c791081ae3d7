//! Who is a member of what, and all roles that follow from it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use super::id::Id;

/// One membership; there may be one by ownership and one by grant between the same two roles.
#[derive(Clone)]
pub(super) struct Membership {
    pub(super) role: Id,
    pub(super) member: Id,
    pub(super) admin: bool,
    pub(super) ownership: bool,
    /// The branch that it was loaded through; none when the roles API made it.
    pub(super) policy: Option<Id>,
}

type Edges = HashMap<Id, BTreeMap<(Id, bool), Membership>>;

#[derive(Default)]
pub(super) struct Graph {
    of_member: Edges,
    of_role: Edges,
    /// What `closure` found since the last change: thousands of requests ask for the same role.
    known: Mutex<HashMap<Id, Arc<HashSet<Id>>>>,
}

impl Clone for Graph {
    fn clone(&self) -> Self {
        Self { of_member: self.of_member.clone(), of_role: self.of_role.clone(), known: Mutex::default() }
    }
}

impl Graph {
    /// Makes a membership unless there is one already; says whether it made one.
    pub(super) fn add(&mut self, membership: Membership) -> bool {
        let Membership { role, member, ownership, .. } = &membership;
        let (up, down) = ((Arc::clone(role), *ownership), (Arc::clone(member), *ownership));
        if self.of_member.get(member).is_some_and(|edges| edges.contains_key(&up)) {
            return false;
        }
        self.of_role.entry(Arc::clone(role)).or_default().insert(down, membership.clone());
        self.of_member.entry(Arc::clone(member)).or_default().insert(up, membership);
        self.known = Mutex::default();
        true
    }

    pub(super) fn get(&self, role: &Id, member: &Id, ownership: bool) -> Option<&Membership> {
        self.of_member.get(member)?.get(&(Arc::clone(role), ownership))
    }

    pub(super) fn remove(&mut self, role: &Id, member: &Id, ownership: bool) {
        for (edges, at, other) in [(&mut self.of_member, member, role), (&mut self.of_role, role, member)] {
            if let Some(found) = edges.get_mut(at) {
                found.remove(&(Arc::clone(other), ownership));
                if found.is_empty() {
                    edges.remove(at);
                }
            }
        }
        self.known = Mutex::default();
    }

    /// Takes a role away with all that it is a member of and all its members.
    pub(super) fn forget(&mut self, role: &Id) {
        for gone in self.memberships(role).chain(self.members(role)).cloned().collect::<Vec<_>>() {
            self.remove(&gone.role, &gone.member, gone.ownership);
        }
    }

    /// What `member` is directly a member of, in order of the role.
    pub(super) fn memberships(&self, member: &Id) -> impl Iterator<Item = &Membership> {
        self.of_member.get(member).into_iter().flat_map(BTreeMap::values)
    }

    /// The direct members of `role`, in their order.
    pub(super) fn members(&self, role: &Id) -> impl Iterator<Item = &Membership> {
        self.of_role.get(role).into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Membership> {
        self.of_role.values().flat_map(BTreeMap::values)
    }

    /// The role itself and all that it is a member of, over any number of steps. Cycles are allowed.
    pub(super) fn closure(&self, role: &Id) -> Arc<HashSet<Id>> {
        if let Some(found) = self.known.lock().unwrap().get(role) {
            return Arc::clone(found);
        }
        let mut found = HashSet::from([Arc::clone(role)]);
        let mut open = vec![Arc::clone(role)];
        while let Some(next) = open.pop() {
            for edge in self.memberships(&next) {
                if found.insert(Arc::clone(&edge.role)) {
                    open.push(Arc::clone(&edge.role));
                }
            }
        }
        let found = Arc::new(found);
        self.known.lock().unwrap().insert(Arc::clone(role), Arc::clone(&found));
        found
    }
}
