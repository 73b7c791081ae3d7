//! The environment of the command: which variables it gets, and what stands where they had placeholders.

use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use indexmap::IndexSet;
use zeroize::Zeroizing;

use super::error::{ExecError, Largest, Names};
use super::resolve::Secret;
use super::watch::Watched;
use crate::cli::console::printable;
use crate::cli::source::append;
use crate::id::{SecretId, scan};
use crate::secret::SecretValue;

/// What the name of every variable of our own begins with. They are not for the command.
const OWN: &[u8] = b"CLOAKROOM_";

/// What a cleared environment keeps: without them a command is not found, or has no place for its files.
const KEPT: [&str; 2] = ["PATH", "HOME"];

/// `MAX_ARG_STRLEN` of execve(2) with pages of 4 KiB, the NUL at the end included.
const VARIABLE_BYTES: usize = 32 * 4096;

/// The variables that the command gets, with holes where the placeholders are.
pub(super) struct Variables {
    variables: Vec<Variable>,
    ids: IndexSet<SecretId>,
}

struct Variable {
    name: OsString,
    parts: Vec<Part>,
}

enum Part {
    Text(Vec<u8>),
    /// The value of the id at this place.
    Secret(usize),
}

/// An environment as execve takes it, wiped when it is not needed any more.
pub(super) struct Assembled(Vec<Zeroizing<Vec<u8>>>);

impl Variables {
    /// Of an environment everything that is for the command; `clear` leaves out what has no placeholder.
    pub(super) fn new(environment: &[(OsString, OsString)], clear: bool) -> Self {
        let mut ids = IndexSet::new();
        let for_the_command = environment.iter().filter(|(name, _)| !name.as_bytes().starts_with(OWN));
        let mut variables: Vec<Variable> = for_the_command
            .map(|(name, value)| Variable { name: name.clone(), parts: parts(value.as_bytes(), &mut ids) })
            .collect();
        if clear {
            variables.retain(|variable| variable.has_a_placeholder() || KEPT.iter().any(|kept| variable.name == *kept));
        }
        Self { variables, ids }
    }

    /// What has to be resolved, each id once.
    pub(super) fn ids(&self) -> &IndexSet<SecretId> {
        &self.ids
    }

    /// The variables that need one of these ids.
    pub(super) fn names(&self, needs: impl Fn(usize) -> bool) -> Names {
        let needing = |variable: &&Variable| variable.secrets().any(&needs);
        Names(self.variables.iter().filter(needing).map(|variable| shown(&variable.name)).collect())
    }

    /// The environment, with the value of each id in the order of [`Variables::ids`]. What stands in a value is not looked at
    /// for placeholders again.
    pub(super) fn assemble(&self, values: &[&SecretValue]) -> Result<Assembled, ExecError> {
        let holds_nul = |index: usize| values.get(index).is_some_and(|value| value.expose().contains('\0'));
        let names = self.names(holds_nul);
        if !names.0.is_empty() {
            return Err(ExecError::Nul { names });
        }
        Ok(Assembled(self.variables.iter().map(|variable| variable.assemble(values)).collect()))
    }

    /// What to watch when `secrets` are what the command was given.
    pub(super) fn watched(&self, secrets: &[Secret]) -> Vec<Watched> {
        let watched = |(index, secret): (usize, &Secret)| Watched {
            id: secret.id.clone(),
            names: self.names(|needed| needed == index).to_string(),
        };
        secrets.iter().enumerate().map(watched).collect()
    }
}

impl Variable {
    fn has_a_placeholder(&self) -> bool {
        self.secrets().next().is_some()
    }

    fn secrets(&self) -> impl Iterator<Item = usize> + '_ {
        self.parts.iter().filter_map(|part| match part {
            Part::Secret(index) => Some(*index),
            Part::Text(_) => None,
        })
    }

    fn assemble(&self, values: &[&SecretValue]) -> Zeroizing<Vec<u8>> {
        let mut text = Zeroizing::new(Vec::new());
        append(&mut text, self.name.as_bytes());
        append(&mut text, b"=");
        for part in &self.parts {
            match part {
                Part::Text(plain) => append(&mut text, plain),
                Part::Secret(index) => {
                    append(&mut text, values.get(*index).map_or(b"", |value| value.expose().as_bytes()));
                }
            }
        }
        append(&mut text, b"\0");
        text
    }
}

impl Assembled {
    /// What execve takes.
    pub(super) fn pointers(&self) -> Vec<&CStr> {
        self.0.iter().filter_map(|variable| CStr::from_bytes_with_nul(variable).ok()).collect()
    }

    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        let value = |variable: &'_ Zeroizing<Vec<u8>>| -> Option<(usize, usize)> {
            let rest = variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some((variable.len() - rest.len(), variable.len() - 1))
        };
        self.0
            .iter()
            .find_map(|variable| value(variable).and_then(|(from, to)| variable.get(from..to)).map(OsStr::from_bytes))
    }

    /// Why the kernel does not take it.
    pub(super) fn too_large(&self, arguments: usize) -> ExecError {
        let own_name = |variable: &Zeroizing<Vec<u8>>| {
            let name = variable.split(|byte| *byte == b'=').next().unwrap_or_default();
            shown(OsStr::from_bytes(name))
        };
        let largest: Vec<String> =
            self.0.iter().filter(|variable| variable.len() > VARIABLE_BYTES).map(own_name).collect();
        let total = arguments + self.0.iter().map(|variable| variable.len()).sum::<usize>();
        ExecError::TooLarge { total, largest: Largest((!largest.is_empty()).then_some(Names(largest))) }
    }
}

/// Cuts a value at its placeholders. It can be any bytes; a placeholder is ASCII, so it never spans what is no text.
fn parts(value: &[u8], ids: &mut IndexSet<SecretId>) -> Vec<Part> {
    let mut parts = Vec::new();
    for chunk in value.utf8_chunks() {
        let text = chunk.valid();
        let mut from = 0;
        for found in scan(text) {
            push_text(&mut parts, text.get(from..found.range.start).unwrap_or_default().as_bytes());
            from = found.range.end;
            parts.push(Part::Secret(ids.insert_full(found.id).0));
        }
        push_text(&mut parts, text.get(from..).unwrap_or_default().as_bytes());
        push_text(&mut parts, chunk.invalid());
    }
    parts
}

fn push_text(parts: &mut Vec<Part>, text: &[u8]) {
    if !text.is_empty() {
        parts.push(Part::Text(text.to_vec()));
    }
}

fn shown(name: &OsStr) -> String {
    printable(&name.to_string_lossy())
}
