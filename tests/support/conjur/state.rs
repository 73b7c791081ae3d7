//! Everything that the server keeps, and what follows when a record comes or goes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::graph::{Graph, Membership};
use super::id::{self, Id};

/// So many versions of a value, and of a policy's text, are kept.
pub(super) const VERSIONS: usize = 20;

#[derive(Clone)]
pub(super) struct Resource {
    pub(super) id: Id,
    pub(super) owner: Id,
    /// The branch that it was loaded through.
    pub(super) policy: Option<Id>,
    pub(super) created: Duration,
    /// Name to value and the branch that it came through.
    pub(super) annotations: BTreeMap<String, (String, Id)>,
    pub(super) restricted_to: Vec<String>,
}

#[derive(Clone, Default)]
pub(super) struct Versions {
    pub(super) kept: VecDeque<(u64, Bytes)>,
}

#[derive(Clone)]
pub(super) struct PolicyVersion {
    pub(super) version: u64,
    pub(super) text: Arc<str>,
    pub(super) loaded: Duration,
    pub(super) role: Id,
}

/// Privilege and role, in the order in which they are listed, to the branch that they came through.
pub(super) type Permissions = BTreeMap<(Id, Arc<str>), Option<Id>>;

/// One state; a clone shares all that does not change.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) resources: Arc<BTreeMap<Id, Arc<Resource>>>,
    pub(super) graph: Arc<Graph>,
    pub(super) permissions: Arc<HashMap<Id, Permissions>>,
    pub(super) secrets: Arc<HashMap<Id, Arc<Versions>>>,
    pub(super) keys: Arc<HashMap<Id, Arc<str>>>,
    pub(super) policies: Arc<HashMap<Id, VecDeque<Arc<PolicyVersion>>>>,
    /// The authenticators that are enabled, as `authn-jwt/kube`.
    pub(super) enabled: Arc<BTreeSet<String>>,
}

impl State {
    pub(super) fn resource(&self, id: &str) -> Option<&Arc<Resource>> {
        self.resources.get(id)
    }

    pub(super) fn allowed(&self, role: &Id, privilege: &str, resource: &Id) -> bool {
        let Some(found) = self.resource(resource) else { return false };
        let roles = self.graph.closure(role);
        roles.contains(&found.owner)
            || self.permitted(resource).any(|(by, what)| &**what == privilege && roles.contains(by))
    }

    /// Any privilege shows a resource, and so does ownership; nothing else does.
    pub(super) fn visible(&self, role: &Id, resource: &str) -> bool {
        let Some((id, found)) = self.resources.get_key_value(resource) else { return false };
        let roles = self.graph.closure(role);
        roles.contains(&found.owner) || self.permitted(id).any(|(by, _)| roles.contains(by))
    }

    fn permitted(&self, resource: &Id) -> impl Iterator<Item = &(Id, Arc<str>)> {
        self.permissions.get(resource).into_iter().flat_map(BTreeMap::keys)
    }

    pub(super) fn value(&self, variable: &str) -> Option<&Bytes> {
        self.secrets.get(variable).and_then(|found| found.kept.back()).map(|(_, value)| value)
    }

    /// Keeps a value as the next version, unless the latest is the same.
    pub(super) fn set_value(&mut self, variable: &Id, value: Bytes) {
        let versions = Arc::make_mut(Arc::make_mut(&mut self.secrets).entry(Arc::clone(variable)).or_default());
        let next = match versions.kept.back() {
            Some((_, latest)) if *latest == value => return,
            Some((version, _)) => version + 1,
            None => 1,
        };
        versions.kept.push_back((next, value));
        if versions.kept.len() > VERSIONS {
            versions.kept.pop_front();
        }
    }

    /// Makes or changes a record. The owner of a role is a member of it, so that changes with it.
    pub(super) fn put(&mut self, resource: Resource) {
        let before = self.resource(&resource.id).cloned();
        if id::is_role(id::kind(&resource.id)) {
            let graph = Arc::make_mut(&mut self.graph);
            if let Some(before) = before.filter(|before| before.owner != resource.owner) {
                graph.remove(&before.id, &before.owner, true);
            }
            if resource.owner != resource.id {
                graph.add(Membership {
                    role: Arc::clone(&resource.id),
                    member: Arc::clone(&resource.owner),
                    admin: true,
                    ownership: true,
                    policy: resource.policy.clone(),
                });
            }
        }
        Arc::make_mut(&mut self.resources).insert(Arc::clone(&resource.id), Arc::new(resource));
    }

    /// Deletes a record and, as the database's foreign keys do, all that it owns and all that was loaded through it.
    pub(super) fn delete(&mut self, id: &str) {
        let Some((first, _)) = self.resources.get_key_value(id) else { return };
        let mut gone = HashSet::from([Arc::clone(first)]);
        loop {
            let more = self.resources.values().filter(|one| !gone.contains(&one.id));
            let more =
                more.filter(|one| gone.contains(&one.owner) || one.policy.as_ref().is_some_and(|by| gone.contains(by)));
            let more: Vec<Id> = more.map(|one| Arc::clone(&one.id)).collect();
            if more.is_empty() {
                break;
            }
            gone.extend(more);
        }
        let resources = Arc::make_mut(&mut self.resources);
        let graph = Arc::make_mut(&mut self.graph);
        let permissions = Arc::make_mut(&mut self.permissions);
        for id in &gone {
            resources.remove(id);
            graph.forget(id);
            permissions.remove(id);
        }
        let lost = |by: Option<&Id>| by.is_some_and(|by| gone.contains(by));
        for edge in graph.all().filter(|edge| lost(edge.policy.as_ref())).cloned().collect::<Vec<_>>() {
            graph.remove(&edge.role, &edge.member, edge.ownership);
        }
        permissions.retain(|_, of| {
            of.retain(|(role, _), by| !gone.contains(role) && !lost(by.as_ref()));
            !of.is_empty()
        });
        Arc::make_mut(&mut self.secrets).retain(|id, _| !gone.contains(id));
        Arc::make_mut(&mut self.keys).retain(|id, _| !gone.contains(id));
        Arc::make_mut(&mut self.policies).retain(|id, _| !gone.contains(id));
    }

    pub(super) fn permit(&mut self, role: &Id, privilege: &str, resource: &Id, policy: &Id) {
        let of = Arc::make_mut(&mut self.permissions).entry(Arc::clone(resource)).or_default();
        of.entry((Arc::clone(role), privilege.into())).or_insert_with(|| Some(Arc::clone(policy)));
    }

    /// Takes a permission away if it came through this branch, and is silent if not.
    pub(super) fn deny(&mut self, role: &Id, privilege: &str, resource: &Id, policy: &Id) {
        let permissions = Arc::make_mut(&mut self.permissions);
        let key = (Arc::clone(role), privilege.into());
        if let Some(of) = permissions.get_mut(resource)
            && of.get(&key).is_some_and(|by| by.as_ref() == Some(policy))
        {
            of.remove(&key);
        }
    }
}
