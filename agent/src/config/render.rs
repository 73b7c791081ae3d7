//! `render` and `renderSets`: files that are made of secrets. Templates and documents that stand here are read at once, so
//! that a mistake in one is a mistake of the configuration.

mod file_schema;
mod on_change;

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use file_schema::file_schema;

use super::IdentityKind;
use super::reader::{Reader, plain_key};
use crate::id::SecretId;
use crate::render::Content;
use crate::render::format::Format;
use crate::render::place::Destination;
use crate::render::spec::{FileSpec, OnMissing, SetSpec, Source, SourceKind};

/// Where the files of `render` are.
const DIRECTORY: &str = "/cloakroom/files";

/// Files of one agent.
const FILES_MAX: usize = 4096;

const FILE_KEYS: [&str; 12] = [
    "name",
    "template",
    "templateFile",
    "source",
    "sourceFile",
    "secret",
    "destination",
    "format",
    "mode",
    "onChange",
    "onMissing",
    "required",
];

pub(super) fn read(reader: &mut Reader<'_>, identity: Option<IdentityKind>) -> Vec<SetSpec> {
    let schema = json!({"type": "array", "items": file_schema(), "description": "Files in /cloakroom/files."});
    let files = reader.value("render", schema);
    let schema = json!({
        "type": "array",
        "items": {
            "type": "object",
            "required": ["directory", "files"],
            "additionalProperties": false,
            "properties": {
                "directory": {"type": "string", "description": "Where they are; made where it is missing, beside nothing else."},
                "requireMemory": {"type": "boolean", "default": false, "description": "Refuse a directory that is no tmpfs."},
                "files": {"type": "array", "items": file_schema()},
            },
        },
        "description": "Sets of files; each is swapped as one.",
    });
    let sets = reader.value("renderSets", schema);
    let mut reading = Reading { names: BTreeSet::new(), identity, glances: false, problems: Vec::new() };
    let mut specs = Vec::new();
    if let Some(files) = files {
        let files = reading.files("render", files);
        if !files.is_empty() {
            specs.push(SetSpec { directory: PathBuf::from(DIRECTORY), require_memory: false, files });
        }
    }
    match sets {
        None => {}
        Some(Value::Array(sets)) => {
            for (index, set) in sets.iter().enumerate() {
                specs.extend(reading.set(&format!("renderSets[{index}]"), set, &specs));
            }
        }
        Some(_) => reading.problem("renderSets", "must be a list of sets"),
    }
    if specs.iter().map(|spec| spec.files.len()).sum::<usize>() > FILES_MAX {
        reading.problem("renderSets", "there are more than 4096 files");
    }
    for (path, what) in reading.problems {
        reader.problem(&path, &what);
    }
    specs
}

/// What is wrong with the files that a pod adds to those of its operator, a line each, under the name `path`.
///
/// For an injector, which judges the text of strangers: a template gets a small part of the work that it may do in the
/// agent, so that many of them cost little.
#[must_use]
pub fn check_added_files(path: &str, added: &[Value], own: &[Value]) -> Vec<String> {
    let mut reading =
        Reading { names: BTreeSet::new(), identity: Some(IdentityKind::Pod), glances: true, problems: Vec::new() };
    let all: Vec<Value> = added.iter().chain(own).cloned().collect();
    drop(reading.files(path, &Value::Array(all)));
    let is_own =
        |at: &str| (added.len()..added.len() + own.len()).any(|index| at.starts_with(&format!("{path}[{index}]")));
    let mut lines: Vec<String> =
        reading.problems.iter().filter(|(at, _)| !is_own(at)).map(|(at, what)| format!("{at}: {what}")).collect();
    if lines.is_empty() && !reading.problems.is_empty() {
        lines.push(format!("{path}: has the name or the destination of a file of the pod's profile"));
    }
    lines
}

struct Reading {
    names: BTreeSet<String>,
    identity: Option<IdentityKind>,
    /// Whether templates are only looked at.
    glances: bool,
    problems: Vec<(String, String)>,
}

impl Reading {
    fn problem(&mut self, path: &str, what: impl Into<String>) {
        self.problems.push((path.to_owned(), what.into()));
    }

    /// The members of a map of which only `keys` may be there.
    fn map<'a>(&mut self, path: &str, value: &'a Value, keys: &[&str]) -> Option<&'a Map<String, Value>> {
        let Some(members) = value.as_object() else {
            self.problem(path, format!("must be a map of {}", keys.join(", ")));
            return None;
        };
        for name in members.keys().filter(|name| !keys.contains(&name.as_str())) {
            let said =
                plain_key(name).map_or_else(|| "an unknown key".to_owned(), |name| format!("unknown key `{name}`"));
            self.problem(path, format!("{said}; there are {}", keys.join(", ")));
        }
        Some(members)
    }

    /// Text under a key; a key without a value counts as absent.
    fn text<'a>(&mut self, path: &str, members: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
        let value = members.get(key).filter(|value| !value.is_null())?;
        let text = value.as_str();
        if text.is_none() {
            self.problem(&format!("{path}.{key}"), "must be text; put it in quotes if it looks like something else");
        }
        text
    }

    fn absolute(&mut self, path: &str, members: &Map<String, Value>, key: &str) -> Option<PathBuf> {
        let text = self.text(path, members, key)?;
        let found = Path::new(text);
        let plain = !text.contains(char::is_control) && !found.components().any(|part| part == Component::ParentDir);
        if found.is_absolute() && plain {
            return Some(found.to_owned());
        }
        self.problem(&format!("{path}.{key}"), "must be an absolute path without ..");
        None
    }

    fn flag(&mut self, path: &str, members: &Map<String, Value>, key: &str, default: bool) -> bool {
        match members.get(key).filter(|value| !value.is_null()) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.problem(&format!("{path}.{key}"), "must be true or false");
                default
            }
        }
    }

    fn set(&mut self, path: &str, value: &Value, others: &[SetSpec]) -> Option<SetSpec> {
        let members = self.map(path, value, &["directory", "requireMemory", "files"])?;
        let given = members.contains_key("directory");
        let directory = self.absolute(path, members, "directory");
        if !given {
            self.problem(&format!("{path}.directory"), "is missing; give the directory of the files");
        }
        let require_memory = self.flag(path, members, "requireMemory", false);
        let files = match members.get("files") {
            Some(files) => self.files(&format!("{path}.files"), files),
            None => {
                self.problem(&format!("{path}.files"), "is missing; list the files");
                Vec::new()
            }
        };
        let directory = directory?;
        let within =
            |other: &SetSpec| other.directory.starts_with(&directory) || directory.starts_with(&other.directory);
        if directory == Path::new("/") || others.iter().any(within) {
            self.problem(&format!("{path}.directory"), "is no directory of its own: another set is in it or above it");
        }
        Some(SetSpec { directory, require_memory, files })
    }

    fn files(&mut self, path: &str, value: &Value) -> Vec<FileSpec> {
        let Some(list) = value.as_array() else {
            self.problem(path, "must be a list of files");
            return Vec::new();
        };
        let mut files: Vec<FileSpec> = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(file) = self.file(&path, value) else { continue };
            if files.iter().any(|other| other.destination.collides(&file.destination)) {
                self.problem(&format!("{path}.destination"), "is the path of another file, or leads through one");
            }
            files.push(file);
        }
        files
    }

    fn file(&mut self, path: &str, value: &Value) -> Option<FileSpec> {
        let members = self.map(path, value, &FILE_KEYS)?;
        let name = self.name(path, members);
        let destination = match self.text(path, members, "destination").map(Destination::parse) {
            Some(Ok(destination)) => Some(destination),
            Some(Err(error)) => {
                self.problem(&format!("{path}.destination"), error.to_string());
                None
            }
            None => {
                if members.get("destination").is_none_or(Value::is_null) {
                    self.problem(&format!("{path}.destination"), "is missing; give a path in the set's directory");
                }
                None
            }
        };
        let format = match self.text(path, members, "format").map(Format::parse) {
            Some(None) => {
                let names: Vec<&str> = Format::NAMES.iter().map(|(name, _)| *name).collect();
                self.problem(&format!("{path}.format"), format!("must be one of {}", names.join(", ")));
                None
            }
            Some(format) => format,
            None => None,
        };
        let format = format
            .or_else(|| destination.as_ref().map(|destination| Format::of_file(destination.as_str())))
            .unwrap_or(Format::Text);
        let source = self.source(path, members, format);
        let mode = self.mode(path, members);
        let on_change = members.get("onChange").filter(|value| !value.is_null());
        let on_change = on_change.and_then(|value| self.on_change(&format!("{path}.onChange"), value));
        let on_missing = match self.text(path, members, "onMissing") {
            None | Some("fail") => OnMissing::Fail,
            Some("keep") => OnMissing::Keep,
            Some("empty") => OnMissing::Empty,
            Some(_) => {
                self.problem(&format!("{path}.onMissing"), "must be fail, keep or empty");
                OnMissing::Fail
            }
        };
        let required = self.flag(path, members, "required", true);
        Some(FileSpec {
            name: name?,
            source: source?,
            destination: destination?,
            format,
            mode,
            on_change,
            on_missing,
            required,
        })
    }

    fn name(&mut self, path: &str, members: &Map<String, Value>) -> Option<String> {
        let at = format!("{path}.name");
        let Some(name) = self.text(path, members, "name") else {
            if members.get("name").is_none_or(Value::is_null) {
                self.problem(&at, "is missing; it names the file in status and metrics");
            }
            return None;
        };
        let plain = name.len() <= 63
            && name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !plain {
            self.problem(&at, "starts with a letter or digit and has at most 63 of [A-Za-z0-9._-]");
            return None;
        }
        if !self.names.insert(name.to_owned()) {
            self.problem(&at, "is the name of another file");
        }
        Some(name.to_owned())
    }

    fn source(&mut self, path: &str, members: &Map<String, Value>, format: Format) -> Option<Source> {
        const KINDS: [&str; 5] = ["template", "templateFile", "source", "sourceFile", "secret"];
        let given: Vec<&str> =
            KINDS.into_iter().filter(|key| members.get(*key).is_some_and(|value| !value.is_null())).collect();
        let [kind] = given[..] else {
            self.problem(path, format!("needs exactly one of {}", KINDS.join(", ")));
            return None;
        };
        let at = format!("{path}.{kind}");
        match kind {
            "templateFile" => Some(Source::File(self.absolute(path, members, kind)?, SourceKind::Template)),
            "sourceFile" => Some(Source::File(self.absolute(path, members, kind)?, SourceKind::Document)),
            _ => {
                let text = self.text(path, members, kind)?;
                let read = match kind {
                    "template" if self.glances => Content::glance_at_template(text).map_err(|error| error.to_string()),
                    "template" => Content::template(text).map_err(|error| error.to_string()),
                    "source" => Content::document(format, text).map_err(|error| error.to_string()),
                    _ => match SecretId::parse_reference(text) {
                        Ok(id) => Ok(Content::Secret([id])),
                        Err(error) => Err(error.to_string()),
                    },
                };
                match read {
                    Ok(content) => Some(Source::Inline(Arc::new(content))),
                    Err(error) => {
                        self.problem(&at, error);
                        None
                    }
                }
            }
        }
    }

    /// YAML 1.2 has no octal numbers with a leading zero, and the reader makes 440.0 of `0440`: what has digits of a mode
    /// behind a zero is meant as one. `0o440` is a whole number, as `288` is.
    fn mode(&mut self, path: &str, members: &Map<String, Value>) -> u32 {
        const DEFAULT: u32 = 0o440;
        let octal = |text: &str| {
            let digits = text.strip_prefix("0o").unwrap_or(text);
            let plain = (3..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            u32::from_str_radix(digits, 8).ok().filter(|_| plain)
        };
        let found = match members.get("mode").filter(|value| !value.is_null()) {
            None => return DEFAULT,
            Some(Value::String(text)) => octal(text),
            Some(Value::Number(number)) => match number.as_u64() {
                Some(whole) => u32::try_from(whole).ok(),
                None => number.as_f64().and_then(|number| octal(&format!("{number:03}"))),
            },
            Some(_) => None,
        };
        match found {
            Some(mode) if mode & !0o777 == 0 && mode & 0o022 == 0 && mode & 0o400 != 0 => mode,
            _ => {
                self.problem(
                    &format!("{path}.mode"),
                    "must be an octal mode such as \"0440\", which lets the owner read and neither group nor others write",
                );
                DEFAULT
            }
        }
    }
}
