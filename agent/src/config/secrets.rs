//! `secrets`: which slots a scope may hold, how values are generated and fingerprinted.

use serde_json::{Value, json};

use super::reader::Reader;
use super::{ChecksumScheme, Secrets};
use crate::id::Slot;
use crate::slots::{Catalogue, Generator, Initial, SlotKind, SlotSpec};

pub(super) fn read(reader: &mut Reader<'_>) -> Secrets {
    let checksum = reader.choice(
        "secrets.checksum",
        &[("auto", ChecksumScheme::Auto), ("keyed", ChecksumScheme::Keyed), ("sha256", ChecksumScheme::Sha256)],
        Some("auto"),
        "How a value becomes the checksum of an id: auto is sha256 on Conjur and keyed elsewhere. An unkeyed one lets \
         whoever sees an id test guesses of the value.",
    );
    let prefix = reader.text("secrets.generated.prefix", "What generated values begin with. Default: trd_");
    let prefix = prefix.unwrap_or_else(|| "trd_".to_owned());
    if prefix.len() > 32 || !prefix.bytes().all(|b| b.is_ascii_graphic()) {
        reader.problem("secrets.generated.prefix", "must be at most 32 visible ASCII characters");
    }
    let length = reader.count("secrets.generated.length", 32, (16, 256), "Random characters of a generated value.");
    let defaults = Catalogue::default();
    let catalogue = Catalogue {
        environment: slots(reader, "secrets.slots.environment", defaults.environment),
        team: slots(reader, "secrets.slots.team", defaults.team),
        application: slots(reader, "secrets.slots.application", defaults.application),
    };
    Secrets {
        checksum: checksum.unwrap_or(ChecksumScheme::Auto),
        generator: Generator::new(prefix, usize::try_from(length).unwrap_or(32)),
        catalogue,
    }
}

fn slots(reader: &mut Reader<'_>, path: &'static str, default: Vec<SlotSpec>) -> Vec<SlotSpec> {
    let schema = json!({
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "required": ["name", "kind"],
            "additionalProperties": false,
            "properties": {
                "name": {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]{0,59}$"},
                "kind": {"enum": ["scalar", "map"]},
                "initial": {"enum": ["nothing", "generated", "notUsed"], "default": "nothing"},
            },
        },
        "default": default.iter().map(show).collect::<Vec<_>>(),
        "description": "The slots of this kind of scope, in the order in which onboarding lists them.",
    });
    let Some(value) = reader.value(path, schema) else { return default };
    let Some(list) = value.as_array().filter(|list| !list.is_empty()) else {
        reader.problem(path, "must be a list of slots with at least one entry");
        return default;
    };
    let mut specs: Vec<SlotSpec> = Vec::with_capacity(list.len());
    for (index, entry) in list.iter().enumerate() {
        match slot(entry) {
            Ok(spec) if specs.iter().any(|other| other.name == spec.name) => {
                reader.problem(&format!("{path}[{index}]"), "the name stands twice");
            }
            Ok(spec) => specs.push(spec),
            Err(what) => reader.problem(&format!("{path}[{index}]"), what),
        }
    }
    specs
}

fn slot(entry: &Value) -> Result<SlotSpec, &'static str> {
    const SHAPE: &str = "must be a map of name, kind (scalar or map) and initial (nothing, generated or notUsed)";
    let members = entry.as_object().ok_or(SHAPE)?;
    if members.keys().any(|key| !matches!(key.as_str(), "name" | "kind" | "initial")) {
        return Err(SHAPE);
    }
    let name = members.get("name").and_then(Value::as_str).ok_or(SHAPE)?;
    let name = Slot::parse(name).map_err(|_| "the name starts with a letter and has at most 60 of [A-Za-z0-9_-]")?;
    let kind: SlotKind = members.get("kind").and_then(|kind| serde_json::from_value(kind.clone()).ok()).ok_or(SHAPE)?;
    let initial = match members.get("initial") {
        None => Initial::Nothing,
        Some(initial) => serde_json::from_value(initial.clone()).map_err(|_| SHAPE)?,
    };
    if kind == SlotKind::Map && initial != Initial::Nothing {
        return Err("a map slot begins with nothing");
    }
    Ok(SlotSpec { name, kind, initial })
}

fn show(spec: &SlotSpec) -> Value {
    json!({"name": spec.name.as_str(), "kind": spec.kind, "initial": spec.initial})
}
