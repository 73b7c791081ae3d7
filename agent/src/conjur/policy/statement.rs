//! Statements of a policy, written by a YAML serialiser in the way that Conjur's loader reads them.

use std::rc::Rc;

use serde::{Serialize, Serializer};
use serde_saphyr::{DoubleQuoted, FlowSeq, RcAnchor, Tagged};

/// What a record is; the tag in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Policy,
    Group,
    Variable,
    Host,
    User,
    Webservice,
}

impl Kind {
    fn tag(self) -> &'static str {
        match self {
            Self::Policy => "!policy",
            Self::Group => "!group",
            Self::Variable => "!variable",
            Self::Host => "!host",
            Self::User => "!user",
            Self::Webservice => "!webservice",
        }
    }
}

/// A record by its id: where it is made, and where another statement names it.
///
/// The id is always quoted. Conjur takes tagged scalars as they are, but guesses the type of untagged ones (YAML 1.1
/// and more: `on`, `1e5`, `1_000`, dates), and a scope may have such a name.
#[derive(Clone)]
pub(super) struct Record {
    kind: Kind,
    id: String,
}

impl Record {
    /// An id below the branch of the enclosing policy.
    pub(super) fn relative(kind: Kind, id: impl Into<String>) -> Self {
        Self { kind, id: id.into() }
    }

    /// An id from the account's root. Conjur takes one only as a member, as a permit's role and as an owner.
    pub(super) fn absolute(kind: Kind, id: &str) -> Self {
        Self { kind, id: format!("/{id}") }
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        tagged(self.kind.tag(), DoubleQuoted(self.id.as_str())).serialize(serializer)
    }
}

/// Variables, listed once and named again by each permit. Conjur refuses the same record twice, but not an alias.
#[derive(Clone)]
pub(super) struct Slots(Rc<Vec<Record>>);

impl Slots {
    pub(super) fn new(variables: Vec<Record>) -> Self {
        Self(Rc::new(variables))
    }
}

impl Serialize for Slots {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RcAnchor(Rc::clone(&self.0)).serialize(serializer)
    }
}

/// What a permit is about.
pub(super) enum Resource {
    Slots(Slots),
    Record(Record),
}

impl Serialize for Resource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Slots(slots) => slots.serialize(serializer),
            Self::Record(record) => record.serialize(serializer),
        }
    }
}

/// One statement.
pub(super) enum Statement {
    /// Makes a record.
    Record(Record),
    /// Makes variables.
    Slots(Slots),
    /// Makes a branch with what is in it.
    Policy { id: String, body: Vec<Statement> },
    /// Makes a host, whose annotations say which token it logs in with.
    Host { id: String, annotations: Vec<(String, String)> },
    /// Gives privileges.
    Permit { role: Record, privileges: &'static [&'static str], resource: Resource },
    /// Makes a role a member of another.
    Grant { role: Record, member: Record },
    /// Deletes a record and everything below it.
    Delete { record: Record },
}

#[derive(Serialize)]
struct Policy<'a> {
    id: DoubleQuoted<&'a str>,
    body: &'a [Statement],
}

#[derive(Serialize)]
struct Host<'a> {
    id: DoubleQuoted<&'a str>,
    annotations: Annotations<'a>,
}

struct Annotations<'a>(&'a [(String, String)]);

impl Serialize for Annotations<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, DoubleQuoted(value.as_str()))))
    }
}

#[derive(Serialize)]
struct Permit<'a> {
    role: &'a Record,
    privileges: FlowSeq<&'a [&'a str]>,
    resource: &'a Resource,
}

#[derive(Serialize)]
struct Grant<'a> {
    role: &'a Record,
    member: &'a Record,
}

#[derive(Serialize)]
struct Delete<'a> {
    record: &'a Record,
}

impl Serialize for Statement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Record(record) => record.serialize(serializer),
            Self::Slots(slots) => slots.serialize(serializer),
            Self::Policy { id, body } => tagged("!policy", Policy { id: DoubleQuoted(id), body }).serialize(serializer),
            Self::Host { id, annotations } => {
                let host = Host { id: DoubleQuoted(id), annotations: Annotations(annotations) };
                tagged("!host", host).serialize(serializer)
            }
            Self::Permit { role, privileges, resource } => {
                tagged("!permit", Permit { role, privileges: FlowSeq(privileges), resource }).serialize(serializer)
            }
            Self::Grant { role, member } => tagged("!grant", Grant { role, member }).serialize(serializer),
            Self::Delete { record } => tagged("!delete", Delete { record }).serialize(serializer),
        }
    }
}

fn tagged<T>(tag: &str, value: T) -> Tagged<T> {
    Tagged(value, Some(tag.to_owned()))
}

/// The text of a load.
///
/// # Panics
/// Never: there is no float, no foreign tag and no failing writer.
pub(super) fn to_yaml(statements: &[Statement]) -> String {
    let options = serde_saphyr::ser_options! {
        // Conjur refuses an anchor name that stands twice in one load.
        anchor_generator: Some(|number| format!("slots{number}")),
        prefer_block_scalars: false,
    };
    serde_saphyr::to_string_with_options(&statements, options).expect("statements must have a YAML form")
}
