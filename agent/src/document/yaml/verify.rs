//! What is written is read again, beside its source: it must be the same document with those strings changed. A value
//! that could break out of its place ends as an error and never as a line of somebody's manifest.

use std::collections::HashMap;

use granit_parser::{Event, ScalarStyle};

use super::{parser, scalar};
use crate::document::WriteError;
use crate::document::splice::{Edit, Splice};

/// Compares `written` with what it should be.
pub(in crate::document) fn verify(
    splice: &Splice,
    source: &str,
    values: &[&str],
    written: &str,
) -> Result<(), WriteError> {
    let mut edits = splice.edits().iter().peekable();
    let (mut before, mut after) = (parser(source), parser(written));
    let mut leaf = 0;
    let mut tags = HashMap::new();
    loop {
        let (old, new, span) = match (before.next(), after.next()) {
            (None, None) => break,
            (Some(Ok((old, _))), Some(Ok((new, span)))) => (old, new, span),
            _ => return Err(WriteError::Unfaithful),
        };
        if let Event::Scalar(_, _, anchor @ 1.., tag) = &old {
            tags.insert(*anchor, tag.clone());
        }
        let is_leaf = matches!(old, Event::Scalar(..) | Event::Alias(_));
        let edit = edits.next_if(|edit| is_leaf && edit.leaf == leaf);
        leaf += u32::from(is_leaf);
        let same = match edit {
            Some(edit) => {
                let marked = match (&old, &new) {
                    (Event::Scalar(_, _, anchor, tag), Event::Scalar(_, _, new, new_tag)) => {
                        anchor == new && tag == new_tag
                    }
                    // What an alias repeats has no anchor of its own there.
                    (Event::Alias(anchor), Event::Scalar(_, _, 0, tag)) => tags.get(anchor) == Some(tag),
                    _ => false,
                };
                let last = span.byte_range().is_some_and(|range| range.end == written.len()).then_some(written);
                marked && is_edited(&new, last, edit, splice, values)
            }
            None => old == new,
        };
        if !same {
            return Err(WriteError::Unfaithful);
        }
    }
    if edits.next().is_some() { Err(WriteError::Unfaithful) } else { Ok(()) }
}

/// Whether `new` is a string with the content of `edit`; with what it is the end of, if it is of anything.
fn is_edited(new: &Event<'_>, end_of: Option<&str>, edit: &Edit, splice: &Splice, values: &[&str]) -> bool {
    let Event::Scalar(text, style, ..) = new else { return false };
    let mut rest = Some(end_of.map_or(&**text, |source| scalar::at_end(text, *style, source)));
    for part in splice.parts(edit, values) {
        rest = rest.and_then(|rest| rest.strip_prefix(part));
    }
    *style != ScalarStyle::Plain && rest == Some("")
}
