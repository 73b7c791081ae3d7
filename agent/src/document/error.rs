//! Why a document cannot be read, or not be written. Never repeats any of it.

use std::fmt;

/// A place in a document as people count it, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What is wrong with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not UTF-8.
    #[error("the document is not UTF-8")]
    NotText,
    /// Not what its format says.
    #[error("the document is not well-formed: {0}")]
    Syntax(Spot),
    /// A key stands twice in one map: readers differ in which of the two counts.
    #[error("a key stands twice: {0}")]
    DuplicateKey(Spot),
    /// Containers in containers beyond the limit.
    #[error("the document is nested more than {max} deep: {0}", max = super::DEPTH_MAX)]
    TooDeep(Spot),
    /// More different ids than one call may name.
    #[error("the document names more ids than one call may")]
    TooManyIds,
    /// More strings at the pointers than one call may store.
    #[error("more strings stand at the pointers than one call may store")]
    TooManyStrings,
    /// More anchors than a document may have.
    #[error("the document has more anchors than the limit")]
    TooManyAnchors,
    /// Longer than any limit lets in.
    #[error("the document is longer than the limit")]
    TooLong,
    /// An alias stands where its strings would have to become others than where they are written.
    #[error("an alias repeats a list or map at a place where other strings are to be changed than at its anchor: {0}")]
    AliasElsewhere(Spot),
    /// Pointers were given for a format without structure.
    #[error("a text has no structure that a pointer could lead into")]
    NoStructure,
    /// A string at a pointer cannot be named.
    #[error("a string at the pointer cannot be named")]
    Key(usize, #[source] super::KeyError),
}

/// Why the document with its strings changed is not given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Longer than allowed.
    #[error("the document would be longer than the limit")]
    TooLong,
    /// Read again, it is not the document with those strings changed, and nothing else. A defect, or an attack on one.
    #[error("the document would read otherwise than with those strings changed")]
    Unfaithful,
}

impl Spot {
    /// The place of a byte of `source`.
    pub(super) fn at(source: &str, offset: usize) -> Self {
        let before = source.get(..offset).unwrap_or(source);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.chars().rev().take_while(|character| *character != '\n').count() + 1;
        Self { line, column }
    }
}
