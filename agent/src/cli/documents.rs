//! The commands on whole documents: `resolve` and `obfuscate`.

use std::fs::File;
use std::path::Path;

use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::arguments::{ContentType, DocumentArguments, ObfuscateArguments, ResolveArguments};
use super::client::{Answer, Client, segment};
use super::console::Console;
use super::error::CliError;
use super::source;

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct ObfuscateBody<'a> {
    scope: &'a str,
    slot: &'a str,
    paths: Vec<HiddenPath<'a>>,
    content_type: &'static str,
    document: Document<'a>,
}

#[derive(serde::Serialize)]
struct HiddenPath<'a> {
    pointer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

/// JSON goes along as it is, so that it comes back as it is; anything else as its text.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Document<'a> {
    Json(&'a RawValue),
    Text(&'a str),
}

impl ContentType {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Text => "text/plain",
        }
    }

    /// What a file's extension says.
    fn of(file: &Path) -> Option<Self> {
        match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            "txt" | "text" => Some(Self::Text),
            _ => None,
        }
    }
}

/// Takes the client as a function: see `secrets::put`.
pub(super) fn resolve(
    client: impl FnOnce() -> Result<Client, CliError>,
    arguments: &ResolveArguments,
    console: &mut Console,
) -> Result<(), CliError> {
    let (kind, document) = read(&arguments.document, console)?;
    let paths: Vec<String> = arguments.paths.iter().map(|path| segment(path)).collect();
    let query = if paths.is_empty() { String::new() } else { format!("?paths={}", paths.join(",")) };
    let answer = client()?.send(&format!("/api/v1/resolve{query}"), kind.name(), source::wiped(document))?;
    print(&answer, console)
}

pub(super) fn obfuscate(
    client: impl FnOnce() -> Result<Client, CliError>,
    arguments: ObfuscateArguments,
    console: &mut Console,
) -> Result<(), CliError> {
    let ObfuscateArguments { document, scope, slot, paths } = arguments;
    let (kind, text) = read(&document, console)?;
    let paths = paths.iter().map(|path| match path.split_once('=') {
        Some((pointer, key)) => HiddenPath { pointer, key: Some(key) },
        None => HiddenPath { pointer: path, key: None },
    });
    let no_text = || CliError::NotText { what: what(&document) };
    let shown = match kind {
        ContentType::Json => Document::Json(serde_json::from_slice(&text).map_err(|error| CliError::NoJson {
            what: what(&document),
            line: error.line(),
            column: error.column(),
        })?),
        ContentType::Yaml => Document::Text(std::str::from_utf8(&text).map_err(|_| no_text())?),
        ContentType::Text => {
            let advice = "give a document of JSON or YAML";
            return Err(CliError::Usage { what: "a text has no places that a pointer could name", advice });
        }
    };
    let body = ObfuscateBody {
        scope: &scope,
        slot: &slot,
        paths: paths.collect(),
        content_type: kind.name(),
        document: shown,
    };
    let body = source::json(&body, text.len())?;
    let media = (ContentType::Json.name(), kind.name());
    let answer = client()?.document("/api/v1/obfuscate", media, body)?;
    print(&answer, console)
}

/// The document as it came, to the byte.
fn print(answer: &Answer, console: &mut Console) -> Result<(), CliError> {
    Ok(console.output.write_all(answer.text())?)
}

/// What is to be read, and what it is.
fn read(arguments: &DocumentArguments, console: &mut Console) -> Result<(ContentType, Zeroizing<Vec<u8>>), CliError> {
    let what = what(arguments);
    let Some(file) = file(arguments) else {
        // What is no JSON is refused as such: no guess at what it is could put a value where it may not stand.
        let kind = arguments.content_type.unwrap_or(ContentType::Json);
        return Ok((kind, source::read(&mut console.input, &what)?));
    };
    let kind = arguments.content_type.or_else(|| ContentType::of(file)).ok_or(CliError::Usage {
        what: "the file's extension does not say what it is",
        advice: "say it with --content-type json, yaml or text",
    })?;
    let opened = File::open(file).map_err(|source| CliError::Read { what: what.clone(), source })?;
    Ok((kind, source::read(opened, &what)?))
}

fn file(arguments: &DocumentArguments) -> Option<&Path> {
    arguments.file.as_deref().filter(|file| *file != Path::new("-"))
}

fn what(arguments: &DocumentArguments) -> String {
    file(arguments).map_or_else(|| "standard input".to_owned(), |file| file.display().to_string())
}
