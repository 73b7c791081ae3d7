//! What a policy text says: records with full ids, grants and permissions, in the order in which they are written.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::id::{self, Id};
use super::yaml::{Fault, Node, Value};

pub(super) enum Statement {
    Record(Record),
    Grant { roles: Vec<Id>, members: Vec<(Id, bool)> },
    Revoke { roles: Vec<Id>, members: Vec<(Id, bool)> },
    Permit { roles: Vec<Id>, privileges: Vec<String>, resources: Vec<Id> },
    Deny { roles: Vec<Id>, privileges: Vec<String>, resources: Vec<Id> },
    Delete { record: Id },
}

pub(super) struct Record {
    pub(super) id: Id,
    pub(super) owner: Id,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) restricted_to: Vec<String>,
}

const KINDS: [&str; 7] = ["policy", "variable", "group", "layer", "host", "user", "webservice"];

/// Reads a text that is loaded into `branch`.
pub(super) fn read(account: &str, branch: &str, source: &str) -> Result<Vec<Statement>, Fault> {
    let Some(root) = super::yaml::parse(source)? else { return Ok(Vec::new()) };
    let list = match &root.value {
        Value::List(list) => list,
        Value::Scalar(text) if text.is_empty() => return Ok(Vec::new()),
        Value::Scalar(_) => return Err(Fault::at("Unexpected scalar", root.end)),
        Value::Map(_) => return Err(Fault::at("Unexpected mapping", root.end)),
    };
    let namespace = if branch == "root" { "" } else { branch };
    let mut reader = Reader { account, seen: HashSet::new(), known: HashMap::new(), statements: Vec::new() };
    // What lies at the root belongs to the admin, not to a role of the root policy.
    let owner = if branch == "root" { id::full(account, "user", "admin") } else { id::full(account, "policy", branch) };
    let scope = Scope { namespace: namespace.to_owned(), owner };
    reader.body(list, &scope)?;
    Ok(reader.statements)
}

/// The policy whose body is being read.
struct Scope {
    namespace: String,
    owner: Id,
}

/// Where a reference stands, which decides what it may look like.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// What the load makes, changes or gives away: only what is below the branch.
    Inside,
    /// To whom it is given: any role of the account.
    Anywhere,
}

struct Reader<'a> {
    account: &'a str,
    seen: HashSet<Id>,
    /// Ids of references that were read before: an alias is the same record, wherever it stands.
    known: HashMap<usize, Id>,
    statements: Vec<Statement>,
}

impl Reader<'_> {
    fn body(&mut self, list: &[Arc<Node>], scope: &Scope) -> Result<(), Fault> {
        list.iter().try_for_each(|node| self.item(node, scope))
    }

    fn item(&mut self, node: &Arc<Node>, scope: &Scope) -> Result<(), Fault> {
        let Some(tag) = node.tag.as_deref() else {
            return match &node.value {
                Value::List(list) => self.body(list, scope),
                Value::Scalar(_) => Err(Fault::at("Unexpected scalar", node.end)),
                Value::Map(_) => Err(Fault::at("Expecting a tag", node.end)),
            };
        };
        match tag {
            "grant" | "revoke" => {
                let fields = Fields::of(node, tag, &["role", "member", "replace"])?;
                let roles = self.references(&fields, "role", scope, Place::Inside)?;
                let members = self.members(&fields, scope)?;
                let grant = tag == "grant";
                self.statements.push(if grant {
                    Statement::Grant { roles, members }
                } else {
                    Statement::Revoke { roles, members }
                });
            }
            "permit" | "deny" => {
                let fields = Fields::of(node, tag, &["role", "privilege", "resource", "replace"])?;
                let resources = self.references(&fields, "resource", scope, Place::Inside)?;
                let roles = self.references(&fields, "role", scope, Place::Anywhere)?;
                let privileges = fields.texts("privilege")?;
                let permit = tag == "permit";
                self.statements.push(if permit {
                    Statement::Permit { roles, privileges, resources }
                } else {
                    Statement::Deny { roles, privileges, resources }
                });
            }
            "delete" => {
                let fields = Fields::of(node, tag, &["record"])?;
                for record in self.references(&fields, "record", scope, Place::Inside)? {
                    self.statements.push(Statement::Delete { record });
                }
            }
            kind if KINDS.contains(&kind) => self.record(node, kind, scope)?,
            other => {
                let class: String = other.split(['-', '_']).map(id::title).collect();
                return Err(Fault::at(format!("undefined method `id=' for an instance of {class}"), node.end));
            }
        }
        Ok(())
    }

    fn record(&mut self, node: &Arc<Node>, kind: &str, scope: &Scope) -> Result<(), Fault> {
        let fields = match &node.value {
            Value::Scalar(_) => Fields::default(),
            _ => Fields::of(node, kind, attributes(kind))?,
        };
        let id = self.resolve(node, kind, scope, Place::Inside)?;
        if !self.seen.insert(Arc::clone(&id)) {
            // The server means to say that it is declared twice, and fails while it says so.
            return Err(Fault::new("Missing required option account"));
        }
        let mut annotations = BTreeMap::new();
        if let Some(Value::Map(pairs)) = fields.get("annotations").map(|node| &node.value) {
            for (key, value) in pairs {
                annotations.insert(scalar(key)?, scalar(value)?);
            }
        }
        for (field, annotation) in [("mime_type", "conjur/mime_type"), ("kind", "conjur/kind")] {
            if let Some(node) = fields.get(field) {
                annotations.insert(annotation.to_owned(), scalar(node)?);
            }
        }
        let owner = match fields.get("owner") {
            Some(owner) => self.reference(owner, scope, Place::Anywhere)?,
            None => Arc::clone(&scope.owner),
        };
        let restricted_to = fields.texts("restricted_to")?;
        let inner = Scope { namespace: id::identifier(&id).to_owned(), owner: Arc::clone(&id) };
        self.statements.push(Statement::Record(Record { id, owner, annotations, restricted_to }));
        match fields.get("body").map(|node| &node.value) {
            Some(Value::List(list)) => self.body(list, &inner),
            _ => Ok(()),
        }
    }

    fn references(&mut self, fields: &Fields<'_>, name: &str, scope: &Scope, place: Place) -> Result<Vec<Id>, Fault> {
        fields.list(name).into_iter().map(|node| self.reference(node, scope, place)).collect()
    }

    /// Members are roles, bare or as `!member` with an admin option.
    fn members(&mut self, fields: &Fields<'_>, scope: &Scope) -> Result<Vec<(Id, bool)>, Fault> {
        let mut members = Vec::new();
        for node in fields.list("member") {
            if node.tag.as_deref() == Some("member") {
                let inner = Fields::of(node, "member", &["role", "admin"])?;
                let admin = inner.get("admin").map(scalar).transpose()?.is_some_and(|text| text == "true");
                for role in self.references(&inner, "role", scope, Place::Anywhere)? {
                    members.push((role, admin));
                }
            } else {
                members.push((self.reference(node, scope, Place::Anywhere)?, false));
            }
        }
        Ok(members)
    }

    fn reference(&mut self, node: &Arc<Node>, scope: &Scope, place: Place) -> Result<Id, Fault> {
        match node.tag.as_deref() {
            Some(kind) if KINDS.contains(&kind) => self.resolve(node, kind, scope, place),
            _ => Err(Fault::at("Expecting a record", node.end)),
        }
    }

    fn resolve(&mut self, node: &Arc<Node>, kind: &str, scope: &Scope, place: Place) -> Result<Id, Fault> {
        if let Some(known) = self.known.get(&node.key) {
            return Ok(Arc::clone(known));
        }
        let written = match &node.value {
            Value::Scalar(text) => text.clone(),
            _ => Fields::of(node, kind, attributes(kind))?.get("id").map(scalar).transpose()?.unwrap_or_default(),
        };
        let identifier = absolute(&written, kind, &scope.namespace, place)?;
        let full = id::full(self.account, kind, &identifier);
        self.known.insert(node.key, Arc::clone(&full));
        Ok(full)
    }
}

/// The identifier from the root. What stands inside is taken as it is, dots and all, and then simply not found.
fn absolute(written: &str, kind: &str, namespace: &str, place: Place) -> Result<String, Fault> {
    if let Some(rest) = written.strip_prefix('/') {
        return match place {
            Place::Inside => Err(Fault::new(format!("Illegal absolute id: {written}"))),
            Place::Anywhere => Ok(rest.to_owned()),
        };
    }
    let joined = match (written, namespace) {
        ("", _) => namespace.to_owned(),
        (_, "") => written.to_owned(),
        _ if kind == "user" => format!("{written}@{}", namespace.replace('/', "-")),
        _ => format!("{namespace}/{written}"),
    };
    if place == Place::Inside || !joined.split('/').any(|part| part == "..") {
        return Ok(joined);
    }
    let mut parts = Vec::new();
    for part in joined.split('/') {
        if part == ".." {
            parts.pop().ok_or_else(|| Fault::new(format!("Invalid relative reference: {joined}")))?;
        } else {
            parts.push(part);
        }
    }
    Ok(parts.join("/"))
}

fn attributes(kind: &str) -> &'static [&'static str] {
    match kind {
        "policy" => &["id", "owner", "annotations", "body"],
        "variable" => &["id", "owner", "annotations", "kind", "mime_type"],
        "host" => &["id", "owner", "annotations", "restricted_to"],
        "user" => &["id", "owner", "annotations", "restricted_to", "public_keys", "uidnumber"],
        "group" => &["id", "owner", "annotations", "gidnumber"],
        _ => &["id", "owner", "annotations"],
    }
}

fn scalar(node: &Arc<Node>) -> Result<String, Fault> {
    match &node.value {
        Value::Scalar(text) => Ok(text.clone()),
        _ => Err(Fault::at("Expecting a scalar", node.end)),
    }
}

/// The attributes of one statement.
#[derive(Default)]
struct Fields<'a>(HashMap<String, &'a Arc<Node>>);

impl<'a> Fields<'a> {
    /// Takes the pairs of a mapping. Attributes that may be many can be written in the singular and the plural.
    fn of(node: &'a Arc<Node>, kind: &str, known: &[&str]) -> Result<Self, Fault> {
        let Value::Map(pairs) = &node.value else { return Err(Fault::at("Unexpected scalar", node.end)) };
        let mut fields = HashMap::new();
        for (key, value) in pairs {
            let name = scalar(key)?;
            let single = known.iter().find(|one| **one == name || format!("{one}s") == name);
            let Some(single) = single else {
                return Err(Fault::at(format!("No such attribute '{name}' on type {}", id::title(kind)), value.end));
            };
            fields.insert((*single).to_owned(), value);
        }
        Ok(Self(fields))
    }

    fn get(&self, name: &str) -> Option<&'a Arc<Node>> {
        self.0.get(name).copied()
    }

    /// One or many, nested lists flattened: an alias to a list stands inside a list.
    fn list(&self, name: &str) -> Vec<&'a Arc<Node>> {
        fn flatten<'a>(node: &'a Arc<Node>, into: &mut Vec<&'a Arc<Node>>) {
            match &node.value {
                Value::List(list) if node.tag.is_none() => list.iter().for_each(|one| flatten(one, into)),
                _ => into.push(node),
            }
        }
        let mut flat = Vec::new();
        if let Some(node) = self.get(name) {
            flatten(node, &mut flat);
        }
        flat
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, Fault> {
        self.list(name).into_iter().map(scalar).collect()
    }
}
