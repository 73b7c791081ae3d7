//! The life of a scope in policy texts: made, made again, emptied, deleted.

use super::statement::{Kind, Record, Resource, Slots, Statement, to_yaml};
use super::{LoadInto, PolicyLoad, RootBranch, branch, group_id, own_name};
use crate::id::{Scope, ScopeKind, Slot};

pub(super) const READERS: &str = "readers";
pub(super) const WRITERS: &str = "writers";

/// The slots that a kind of scope may hold.
pub type SlotsOf<'a> = &'a dyn Fn(ScopeKind) -> Vec<Slot>;

/// Makes `scope` and the scopes between it and the branch that is loaded into, each with a variable for every slot that
/// it may hold. Sent by POST; needs `create` there.
///
/// For every one, because a variable without a value reads as absent, and a slot that is set later
/// needs no further load. Loading it again changes nothing and mends what is missing: a deleted variable comes back
/// empty with its permits, and a scope that was made by hand gets its groups.
///
/// Where a branch in between exists, POST leaves what is in it, its owner too; a new one is an empty scope. PATCH would give a branch that is named without an owner to the one around it, so this text
/// is never sent by PATCH.
#[must_use]
pub fn onboard(root: &RootBranch, scope: &Scope, slots: SlotsOf<'_>, into: LoadInto) -> PolicyLoad {
    let base = into.base(scope);
    let depth = base.as_ref().map_or(0, |base| base.lineage().len());
    let below: Vec<Scope> = scope.lineage().into_iter().skip(depth).collect();
    let mut inner: Option<Statement> = None;
    for level in below.iter().rev() {
        let mut body = body(root, level, &slots(level.kind()));
        body.extend(inner);
        inner = Some(Statement::Policy { id: own_name(level).to_owned(), body });
    }
    let statements = match inner {
        None => body(root, scope, &slots(scope.kind())),
        // A branch that was made by hand has no groups, and a member that does not exist would fail the whole load.
        Some(inner) => groups().into_iter().chain([inner]).collect(),
    };
    PolicyLoad { branch: branch(root, base.as_ref()), body: to_yaml(&statements) }
}

pub(super) fn body(root: &RootBranch, scope: &Scope, slots: &[Slot]) -> Vec<Statement> {
    let group = |name: &str| Record::relative(Kind::Group, name);
    let mut statements = Vec::new();
    let variables: Vec<Record> = slots.iter().map(|slot| Record::relative(Kind::Variable, slot.as_str())).collect();
    let slots = (!variables.is_empty()).then(|| Slots::new(variables));
    statements.extend(slots.clone().map(Statement::Slots));
    statements.extend(groups());
    if let Some(slots) = slots {
        // `read` only shows metadata, which any privilege does; it stands here for tools that look for it.
        let privileges: [(&str, &'static [&'static str]); 2] =
            [(READERS, &["read", "execute"]), (WRITERS, &["read", "execute", "update"])];
        statements.extend(privileges.map(|(name, privileges)| Statement::Permit {
            role: group(name),
            privileges,
            resource: Resource::Slots(slots.clone()),
        }));
    }
    // The wider scope's group is the member, never the other way round: rights flow down, and no cycle can arise.
    // Conjur would accept one.
    let around = LoadInto::Parent.base(scope);
    statements.extend([READERS, WRITERS].map(|name| Statement::Grant {
        role: group(name),
        member: Record::absolute(Kind::Group, &group_id(root, around.as_ref(), name)),
    }));
    statements
}

pub(super) fn groups() -> Vec<Statement> {
    [READERS, WRITERS].map(|name| Statement::Record(Record::relative(Kind::Group, name))).into()
}

/// Makes the role that we are one of the scope's writers. Sent by POST; needs `create`, which is all that it takes.
///
/// For a credential that may make a scope, is in none of the groups around it and owns nothing there: without this it
/// could not set the values that a scope begins with.
#[must_use]
pub fn join_writers(root: &RootBranch, scope: &Scope, username: &str, into: LoadInto) -> PolicyLoad {
    let (kind, id) = match username.strip_prefix("host/") {
        Some(host) => (Kind::Host, host),
        None => (Kind::User, username),
    };
    let role = Record::relative(Kind::Group, inside(scope, into, WRITERS));
    let grant = Statement::Grant { role, member: Record::absolute(kind, id) };
    PolicyLoad { branch: branch(root, into.base(scope).as_ref()), body: to_yaml(&[grant]) }
}

/// Deletes the variables of `slots` with their values, and nothing else. Sent by PATCH; needs `update`.
///
/// The groups stay: they tie the scopes below to the ones above, and a group that is made again does not bring its
/// members back. With no slots the text says nothing, and need not be sent.
#[must_use]
pub fn delete_slots(root: &RootBranch, scope: &Scope, slots: &[Slot], into: LoadInto) -> PolicyLoad {
    let records = slots.iter().map(|slot| Record::relative(Kind::Variable, inside(scope, into, slot.as_str())));
    delete(root, scope, records, into)
}

/// Deletes what we have put into an application: the variables of `slots`, and both groups with all their members.
///
/// No scope below depends on them. Whatever others have put into its branch stays. Sent by PATCH; needs `update`.
#[must_use]
pub fn delete_records(root: &RootBranch, scope: &Scope, slots: &[Slot], into: LoadInto) -> PolicyLoad {
    let variables = slots.iter().map(|slot| (Kind::Variable, slot.as_str()));
    let records = variables.chain([READERS, WRITERS].map(|group| (Kind::Group, group)));
    delete(root, scope, records.map(|(kind, name)| Record::relative(kind, inside(scope, into, name))), into)
}

/// Deletes the scope's branch with everything in it, also the scopes below: the caller has made sure that there are
/// none. Sent by PATCH; needs `update`.
#[must_use]
pub fn delete_branch(root: &RootBranch, scope: &Scope, into: LoadInto) -> PolicyLoad {
    delete(root, scope, [Record::relative(Kind::Policy, path_inside(scope, into))], into)
}

fn delete(root: &RootBranch, scope: &Scope, records: impl IntoIterator<Item = Record>, into: LoadInto) -> PolicyLoad {
    let statements: Vec<Statement> = records.into_iter().map(|record| Statement::Delete { record }).collect();
    PolicyLoad { branch: branch(root, into.base(scope).as_ref()), body: to_yaml(&statements) }
}

/// The scope's path below the branch that is loaded into: a record to delete is named by a relative id. The empty one
/// is the branch itself.
fn path_inside(scope: &Scope, into: LoadInto) -> String {
    let depth = into.base(scope).map_or(0, |base| base.lineage().len());
    scope.as_str().split('/').skip(depth).collect::<Vec<_>>().join("/")
}

/// The relative id of a record of the scope.
fn inside(scope: &Scope, into: LoadInto, name: &str) -> String {
    match path_inside(scope, into).as_str() {
        "" => name.to_owned(),
        inside => format!("{inside}/{name}"),
    }
}
