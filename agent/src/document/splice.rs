//! The plan of edits: which places of the source are written anew, and what stands there then.

use zeroize::{Zeroize as _, Zeroizing};

use super::WriteError;
use super::yaml::{self, Block, Quotes};
use crate::json;

/// A range of bytes. A document is shorter than 4 GiB, and there are many of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    /// The range as it is, of a source whose length was checked.
    pub(super) fn new(start: usize, end: usize) -> Self {
        let mark = |position| u32::try_from(position).unwrap_or(u32::MAX);
        Self { start: mark(start), end: mark(end) }
    }

    pub(super) fn of(self, source: &str) -> &str {
        between(source, self.start, self.end)
    }
}

/// The text from `start` to `end`.
pub(super) fn between(source: &str, start: u32, end: u32) -> &str {
    source.get(start as usize..end as usize).unwrap_or_default()
}

/// Where an edit is, and with that how its content is written.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// A JSON string with its quotes.
    Json(Span),
    /// A piece of plain text.
    Text(Span),
    /// A YAML scalar on the line of its key or item.
    Flow(Span, Quotes),
    /// A YAML alias that is written out, with the tag of what it repeats.
    Alias(Span, Option<Span>),
    /// A YAML scalar on lines of its own.
    Block(Block),
}

impl Place {
    fn start(&self) -> u32 {
        match self {
            Self::Json(span) | Self::Text(span) | Self::Flow(span, _) | Self::Alias(span, _) => span.start,
            Self::Block(block) => block.header.start,
        }
    }
}

/// One piece of a string's new content.
#[derive(Clone, Copy)]
enum Piece {
    /// What stood in the string already.
    Kept(Span),
    /// The value of this number.
    Value(u32),
}

/// One string that is written anew.
#[derive(Clone, Copy)]
pub(super) struct Edit {
    pub(super) place: Place,
    /// Which of the document's leaves it is, in their order.
    pub(super) leaf: u32,
    pieces: (u32, u32),
}

/// All edits of one document.
#[derive(Default)]
pub(super) struct Splice {
    edits: Vec<Edit>,
    pieces: Vec<Piece>,
    /// The contents of strings as far as they stay; wiped, because a caller's document may hold more than placeholders.
    kept: Zeroizing<String>,
}

/// The content of one string while it is put together.
pub(super) struct Content<'a> {
    splice: &'a mut Splice,
    first: u32,
}

impl Splice {
    /// Begins the content of the next edit.
    pub(super) fn content(&mut self) -> Content<'_> {
        let first = count(self.pieces.len());
        Content { splice: self, first }
    }

    /// Nothing is added any more. Puts the edits into the order of the source, in which they are written.
    pub(super) fn finish(&mut self) {
        self.edits.sort_by_key(|edit| edit.place.start());
        self.edits.shrink_to_fit();
        self.pieces.shrink_to_fit();
    }

    pub(super) fn places(&self) -> usize {
        self.pieces.iter().filter(|piece| matches!(piece, Piece::Value(_))).count()
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.edits.len() * size_of::<Edit>() + self.pieces.len() * size_of::<Piece>() + self.kept.capacity()
    }

    pub(super) fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// The new content of an edit, piece by piece.
    pub(super) fn parts<'a>(
        &'a self,
        edit: &Edit,
        values: &'a [&'a str],
    ) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let (first, end) = edit.pieces;
        let pieces = self.pieces.get(first as usize..end as usize).unwrap_or_default();
        pieces.iter().map(move |piece| match piece {
            Piece::Kept(span) => span.of(&self.kept),
            Piece::Value(number) => values.get(*number as usize).copied().unwrap_or_default(),
        })
    }

    /// The numbers of the values in an edit, in their order.
    pub(super) fn values_of(&self, edit: &Edit) -> impl Iterator<Item = u32> + '_ {
        let (first, end) = edit.pieces;
        let pieces = self.pieces.get(first as usize..end as usize).unwrap_or_default();
        pieces.iter().filter_map(|piece| match piece {
            Piece::Kept(_) => None,
            Piece::Value(number) => Some(*number),
        })
    }

    /// Writes the source with its edits.
    pub(super) fn emit(&self, source: &str, values: &[&str], out: &mut impl Out) -> Result<(), WriteError> {
        let mut from = 0;
        for edit in &self.edits {
            from = match &edit.place {
                Place::Json(span) => {
                    out.put(between(source, from, span.start))?;
                    out.put("\"")?;
                    self.parts(edit, values).try_for_each(|part| out.put_json(part))?;
                    out.put("\"")?;
                    span.end
                }
                Place::Text(span) => {
                    out.put(between(source, from, span.start))?;
                    self.parts(edit, values).try_for_each(|part| out.put(part))?;
                    span.end
                }
                Place::Flow(span, quotes) => {
                    out.put(between(source, from, span.start))?;
                    yaml::put_quoted(out, *quotes, self.parts(edit, values))?;
                    span.end
                }
                Place::Alias(span, tag) => {
                    out.put(between(source, from, span.start))?;
                    if let Some(tag) = tag {
                        out.put(tag.of(source))?;
                        out.put(" ")?;
                    }
                    yaml::put_quoted(out, Quotes::Double, self.parts(edit, values))?;
                    span.end
                }
                Place::Block(block) => block.put(source, from, (self, edit, values), out)?,
            };
        }
        out.put(between(source, from, count(source.len())))
    }
}

impl Content<'_> {
    /// Adds text that stays.
    pub(super) fn keep(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let kept = &mut self.splice.kept;
        let start = kept.len();
        append(kept, text);
        self.splice.pieces.push(Piece::Kept(Span::new(start, start + text.len())));
    }

    /// Adds the value of this number.
    pub(super) fn value(&mut self, number: usize) {
        self.splice.pieces.push(Piece::Value(count(number)));
    }

    /// The content is complete: it is what stands at `place` then.
    pub(super) fn end(self, place: Place, leaf: u32) {
        let pieces = (self.first, count(self.splice.pieces.len()));
        self.splice.edits.push(Edit { place, leaf, pieces });
    }
}

/// Appends without leaving a copy behind: a string that grows by itself frees its old allocation unwiped.
pub(super) fn append(text: &mut Zeroizing<String>, more: &str) {
    if text.capacity() - text.len() < more.len() {
        let mut larger = String::with_capacity((text.len() + more.len()) * 2);
        larger.push_str(text);
        std::mem::swap(&mut **text, &mut larger);
        larger.zeroize();
    }
    text.push_str(more);
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Where a document is written to: a buffer, or for its size nothing.
pub(super) trait Out {
    /// Takes text as it is.
    fn put(&mut self, text: &str) -> Result<(), WriteError>;

    /// Takes text as the content of a JSON string.
    fn put_json(&mut self, text: &str) -> Result<(), WriteError>;
}

/// Counts, and stops at its limit: a short document may name a large value often.
pub(super) struct Counter {
    pub(super) bytes: usize,
    pub(super) limit: usize,
}

impl Counter {
    fn add(&mut self, bytes: usize) -> Result<(), WriteError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limit { Err(WriteError::TooLong) } else { Ok(()) }
    }
}

impl Out for Counter {
    fn put(&mut self, text: &str) -> Result<(), WriteError> {
        self.add(text.len())
    }

    fn put_json(&mut self, text: &str) -> Result<(), WriteError> {
        self.add(json::escaped_len(text))
    }
}

/// The buffer has the size that was counted: one that grows leaves copies behind.
impl Out for Vec<u8> {
    fn put(&mut self, text: &str) -> Result<(), WriteError> {
        self.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn put_json(&mut self, text: &str) -> Result<(), WriteError> {
        json::push_escaped(self, text);
        Ok(())
    }
}
