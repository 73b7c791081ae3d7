//! Placeholders: `$<secretId>` inside another text, found without interpreting anything else in it.

use std::ops::Range;

use super::{MAX_ID_BYTES, SecretId};

/// A placeholder in a text: its byte range, `$<` and `>` included, and the id it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it stands.
    pub range: Range<usize>,
    /// What it stands for.
    pub id: SecretId,
}

/// Finds every valid placeholder in `text`, left to right. A `$<…>` that is no valid placeholder is ordinary text.
///
/// Linear in the text: an id has a longest length, so the search for `>` is bounded, and a `$<` inside an invalid
/// candidate is tried again as a start of its own.
pub fn scan(text: &str) -> impl Iterator<Item = Found> + '_ {
    let mut from = 0;
    std::iter::from_fn(move || {
        while let Some(offset) = text.get(from..).and_then(|rest| rest.find("$<")) {
            let start = from + offset;
            let inside = start + 2;
            from = inside;
            if let Some(end) = close(text, inside)
                && let Some(candidate) = text.get(inside..end)
                && let Ok(id) = SecretId::parse(candidate)
            {
                from = end + 1;
                return Some(Found { range: start..end + 1, id });
            }
        }
        None
    })
}

/// The position of the `>` that ends a candidate, if it is near enough to end an id.
fn close(text: &str, inside: usize) -> Option<usize> {
    let bytes = text.as_bytes().get(inside..)?;
    let near = bytes.get(..bytes.len().min(MAX_ID_BYTES + 1))?;
    near.iter().position(|b| *b == b'>').map(|offset| inside + offset)
}
