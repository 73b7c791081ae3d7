//! Formats of rendered files: which there are, and a value at its place in a source document of each.
//!
//! What a format cannot hold is an error and never something else: a value that was changed on its way into a file is
//! worse than a file that is missing.

pub mod encode;
mod env;
mod ini;
mod plan;
mod properties;
mod toml;
mod xml;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use plan::{Plan, PlanError, SourceError};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 8259.
    Json,
    /// YAML 1.2.
    Yaml,
    /// `java.util.Properties`.
    Properties,
    /// `NAME=value`, as a shell reads it and so as most libraries do that read `.env` files.
    Env,
    /// TOML 1.0.
    Toml,
    /// XML 1.0.
    Xml,
    /// `key = value` in sections: every reader has its own rules, and what is written is what they agree on.
    Ini,
    /// Anything: values as they are.
    Text,
}

impl Format {
    /// All of them with their names, in the order of the documents.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("json", Self::Json),
        ("yaml", Self::Yaml),
        ("properties", Self::Properties),
        ("env", Self::Env),
        ("toml", Self::Toml),
        ("xml", Self::Xml),
        ("ini", Self::Ini),
        ("text", Self::Text),
    ];

    /// Reads the name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }

    /// The name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| *name)
    }

    /// What the name of a file suggests.
    #[must_use]
    pub fn of_file(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        if name == ".env" || name.starts_with(".env.") {
            return Self::Env;
        }
        let extension = Path::new(name).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "json" => Self::Json,
            "yaml" | "yml" => Self::Yaml,
            "properties" => Self::Properties,
            "env" => Self::Env,
            "toml" => Self::Toml,
            "xml" => Self::Xml,
            "ini" => Self::Ini,
            _ => Self::Text,
        }
    }
}

/// What a format cannot hold. Says what kind of thing it was, and nothing of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A variable ends at a NUL (`execve(2)`).
    #[error("env cannot hold a NUL character, and the value has one")]
    EnvNul,
    /// XML 1.0 §2.2.
    #[error("XML 1.0 cannot hold a control character, and the value has one")]
    XmlCharacter,
    /// There is no escape that readers agree on.
    #[error("ini cannot hold a line break or another control character, and the value has one")]
    IniControl,
    /// Readers take it away, or join the next line to it.
    #[error("ini cannot hold white space at the beginning or end of a value, or a backslash at its end")]
    IniEdge,
    /// Some readers take it for a comment.
    #[error("ini cannot hold `#` or `;` at the beginning of a value or after white space")]
    IniComment,
    /// Some readers take it for a delimiter.
    #[error("ini cannot hold a quotation mark at the beginning of a value, or within marks of its kind")]
    IniQuote,
}
