//! The schema of one file.

use serde_json::{Value, json};

use crate::render::format::Format;

pub(super) fn file_schema() -> Value {
    let names: Vec<&str> = Format::NAMES.iter().map(|(name, _)| *name).collect();
    json!({
        "type": "object",
        "required": ["name", "destination"],
        "additionalProperties": false,
        "properties": {
            "name": {
                "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
                "description": "The file in status and metrics; each name once.",
            },
            "template": {"type": "string", "description": "A MiniJinja template."},
            "templateFile": {"type": "string", "description": "The path of one; its directory is watched."},
            "source": {"type": "string", "description": "A document with placeholders, each escaped for its place."},
            "sourceFile": {"type": "string", "description": "The path of one; its directory is watched."},
            "secret": {"type": "string", "description": "One secretId; the file is its value, byte for byte."},
            "destination": {"type": "string", "description": "Relative to the set's directory."},
            "format": {"enum": names, "description": "By the extension of the destination where it is not given."},
            "mode": {
                "anyOf": [{"type": "string", "pattern": "^(0o)?[0-7]{3,4}$"}, {"type": "number"}],
                "default": "0440",
                "description": "Octal. Neither group nor others may write.",
            },
            "onChange": {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "http": {
                        "type": "object", "required": ["url"], "additionalProperties": false,
                        "properties": {"url": {"type": "string", "description": "A loopback address, or unix:/SOCKET:/PATH."}},
                    },
                    "signal": {
                        "type": "object", "required": ["name"], "additionalProperties": false,
                        "properties": {
                            "pidFile": {"type": "string"},
                            "processName": {"type": "string"},
                            "name": {"enum": ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH"]},
                        },
                    },
                    "exec": {"type": "array", "items": {"type": "string"}, "minItems": 1, "description": "With identity uid only."},
                    "quiet": {"type": "string", "pattern": "^[0-9]{1,15}(ms|s|m|h|d)$", "default": "2s"},
                },
                "description": "Exactly one of http, signal and exec, when the file has changed and then not for `quiet`.",
            },
            "onMissing": {"enum": ["fail", "keep", "empty"], "default": "fail"},
            "required": {"type": "boolean", "default": true, "description": "Whether `ready --files` waits for it."},
        },
    })
}
