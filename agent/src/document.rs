//! Whole documents: which of their strings hold placeholders or are to be hidden, and the same document with those
//! strings changed, each at its own place.
//!
//! Pure: knows no HTTP, no backend and no files. A document is read once, by its format's reader, which tells a visitor of
//! every string with its place; what comes of it is a plan of edits, and writing is copying the source around them. So
//! whatever is not edited stays byte for byte: keys, comments, order, white space, anchors. A value that is put in is
//! encoded for its place and never looked at again (N4).

mod error;
mod json;
mod key;
mod obfuscate;
mod placeholders;
mod pointer;
mod splice;
mod text;
mod walk;
mod yaml;

#[cfg(test)]
mod tests;

pub use error::{DocumentError, Spot, WriteError};
pub use key::{KeyError, KeyTemplate};
pub use obfuscate::{HiddenPath, HiddenString, Obfuscation};
pub use placeholders::Placeholders;
pub use pointer::{Pointer, PointerError};

/// Containers in containers (API.md, "JSON depth").
pub const DEPTH_MAX: usize = 32;

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 8259: one value.
    Json,
    /// YAML 1.2, and what is common of 1.1: any number of documents.
    Yaml,
    /// Any text: scanned as it is, and written without any escaping.
    Text,
}
