//! YAML block scalars (`|` and `>`): values are put into their lines where that changes nothing else; otherwise the
//! scalar is written anew in quotes.

use super::scalar::{Quotes, is_special, put_quoted};
use crate::document::WriteError;
use crate::document::splice::{Edit, Out, Span, Splice, between};
use crate::id::scan;

/// Where a block scalar stands.
#[derive(Clone, Copy)]
pub(in crate::document) struct Block {
    /// `|` or `>` with what belongs to it; a comment may follow.
    pub(in crate::document) header: Span,
    /// From its first line to its last, whole lines.
    lines: Span,
    /// From the first character of its content, which is behind that line's indentation.
    content: Span,
    /// How many spaces stand before each line.
    indent: u32,
    folded: bool,
}

impl Block {
    /// The block scalar with `content`, whose header comes after `cursor`: behind the marks of its place in map or list,
    /// and behind anchor, tag and comments, if there are any.
    pub(super) fn find(source: &str, cursor: usize, content: Span, column: usize, folded: bool) -> Option<Self> {
        let start = header(source, cursor)?;
        let bytes = source.as_bytes();
        let ending = |from: usize, stop: fn(u8) -> bool| {
            bytes.get(from..)?.iter().position(|byte| stop(*byte)).map_or(Some(bytes.len()), |found| Some(from + found))
        };
        let end = ending(start + 1, |byte| !matches!(byte, b'+' | b'-' | b'0'..=b'9'))?;
        let line = ending(end, |byte| matches!(byte, b'\n' | b'\r'))?;
        let broken = if bytes.get(line..line + 2) == Some(b"\r\n") { line + 2 } else { (line + 1).min(bytes.len()) };
        // Behind the last line there may be the indentation of what comes next.
        let text = content.of(source);
        let tail = text.len() - text.rfind(['\n', '\r']).map_or(0, |found| found + 1);
        let last = content.end as usize;
        let next = last < bytes.len() && text.bytes().rev().take(tail).all(|byte| byte == b' ');
        let lines = Span::new(broken, if next { last - tail } else { last });
        let indent = u32::try_from(column).ok()?;
        Some(Self { header: Span::new(start, end), lines, content, indent, folded })
    }

    /// Writes it with what `edit` makes of it, from `from` in the source; answers up to where.
    pub(in crate::document) fn put(
        &self,
        source: &str,
        from: u32,
        (splice, edit, values): (&Splice, &Edit, &[&str]),
        out: &mut impl Out,
    ) -> Result<u32, WriteError> {
        if let Some(places) = self.places(source, (splice, edit, values)) {
            let mut from = from;
            for (place, value) in places {
                out.put(between(source, from, place.start))?;
                self.put_lines(value, out)?;
                from = place.end;
            }
            return Ok(from);
        }
        out.put(between(source, from, self.header.start))?;
        put_quoted(out, Quotes::Double, splice.parts(edit, values))?;
        out.put(between(source, self.header.end, self.lines.start))?;
        Ok(self.lines.end)
    }

    /// Where in the lines each value goes. None if one of them does not fit there, or something else is to change.
    fn places<'a>(
        &self,
        source: &str,
        (splice, edit, values): (&Splice, &Edit, &[&'a str]),
    ) -> Option<Vec<(Span, &'a str)>> {
        let offset = self.content.start;
        let found = scan(self.content.of(source)).map(|found| {
            let mark = |position: usize| u32::try_from(position).unwrap_or(u32::MAX).saturating_add(offset);
            Span { start: mark(found.range.start), end: mark(found.range.end) }
        });
        let places: Vec<Span> = found.collect();
        let numbers: Vec<u32> = splice.values_of(edit).collect();
        // At column 0 a line of a value may be the end of the document.
        if numbers.is_empty() || places.len() != numbers.len() || self.indent == 0 {
            return None;
        }
        let pairs = places.into_iter().zip(numbers);
        pairs
            .map(|(place, number)| {
                let value = *values.get(number as usize)?;
                self.fits(source, place, value).then_some((place, value))
            })
            .collect()
    }

    fn fits(&self, source: &str, place: Span, value: &str) -> bool {
        let special = |character| is_special(character) && !matches!(character, '\n' | '\t');
        if value.contains(special) || value.trim().is_empty() || (self.folded && value.contains('\n')) {
            return false;
        }
        // White space at the beginning of a line could be taken for indentation, and folding looks at it.
        let before = between(source, self.content.start, place.start);
        let begins_line =
            before.trim_end_matches(' ').ends_with(['\n', '\r']) || before.trim_end_matches(' ').is_empty();
        if begins_line && value.starts_with([' ', '\t', '\n']) {
            return false;
        }
        // How many line breaks at the end count is a matter of the header.
        let after = between(source, place.end, self.content.end);
        !(value.ends_with('\n') && after.trim_matches([' ', '\t', '\n', '\r']).is_empty())
    }

    /// A value with the indentation before each of its further lines.
    fn put_lines(&self, value: &str, out: &mut impl Out) -> Result<(), WriteError> {
        const SPACES: &str = "                                ";
        let mut lines = value.split('\n');
        out.put(lines.next().unwrap_or_default())?;
        let mut lines = lines.peekable();
        while let Some(line) = lines.next() {
            out.put("\n")?;
            // The last line goes on with what stood behind the placeholder.
            if line.is_empty() && lines.peek().is_some() {
                continue;
            }
            let mut left = self.indent as usize;
            while left > 0 {
                let some = left.min(SPACES.len());
                out.put(SPACES.get(..some).unwrap_or_default())?;
                left -= some;
            }
            out.put(line)?;
        }
        Ok(())
    }
}

/// The position of the header: the first `|` or `>` that is no part of a comment, an anchor or a tag.
fn header(source: &str, cursor: usize) -> Option<usize> {
    let bytes = source.as_bytes();
    let mut at = cursor;
    loop {
        match bytes.get(at)? {
            b'|' | b'>' => return Some(at),
            b'#' => at += bytes.get(at..)?.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?,
            b'&' | b'!' => {
                at += bytes.get(at..)?.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))?;
            }
            _ => at += 1,
        }
    }
}
