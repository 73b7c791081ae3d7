//! Resolving a document: its placeholders, and the document with their values in their places.

use indexmap::IndexSet;

use super::pointer::{Extent, Pointer, Pointers, Reach};
use super::splice::{Counter, Place, Splice};
use super::walk::{Leaf, LeafKind, Visitor, Walk};
use super::{DocumentError, Format, WriteError, json, text, yaml};
use crate::id::{MAX_ID_BYTES, SecretId, scan};

/// The placeholders in the strings of one document. A `$<…>` that is none is ordinary text, and so is one in a key.
pub struct Placeholders {
    format: Format,
    ids: Ids,
    splice: Splice,
}

impl Placeholders {
    /// Reads `source`: at the places that `paths` name and below, or everywhere where there are none. More than `ids_max`
    /// different ids are an error.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn find(
        format: Format,
        source: &str,
        paths: Option<Vec<Pointer>>,
        ids_max: usize,
    ) -> Result<Self, DocumentError> {
        if u32::try_from(source.len()).is_err() {
            return Err(DocumentError::TooLong);
        }
        let ids = Ids { found: IndexSet::new(), max: ids_max };
        let mut finder = Finder { ids, splice: Splice::default() };
        let everywhere = || Pointer::parse("").into_iter().collect();
        let structured = format != Format::Text;
        if paths.is_some() && !structured {
            return Err(DocumentError::NoStructure);
        }
        let pointers = Pointers::new(paths.unwrap_or_else(everywhere), Extent::Below);
        let mut walk = Walk::new(&pointers);
        match format {
            Format::Json => json::read(source, &mut walk, &mut finder)?,
            Format::Yaml => yaml::read(source, &mut walk, &mut finder)?,
            Format::Text => text::read(source, &mut finder.ids, &mut finder.splice)?,
        }
        finder.splice.finish();
        Ok(Self { format, ids: finder.ids, splice: finder.splice })
    }

    /// The different ids, in the order in which they are first named.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = &SecretId> {
        self.ids.found.iter()
    }

    /// How often a value is put in.
    #[must_use]
    pub fn places(&self) -> usize {
        self.splice.places()
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.splice.kept_bytes() + self.ids.found.len() * (size_of::<SecretId>() + MAX_ID_BYTES)
    }

    /// How long the document is with `values`, one for each id in the same order.
    ///
    /// # Errors
    /// [`WriteError::TooLong`] beyond `limit`.
    pub fn size(&self, source: &str, values: &[&str], limit: usize) -> Result<usize, WriteError> {
        size(&self.splice, source, values, limit)
    }

    /// Writes the document with `values`, one for each id in the same order, to `out`, which has the room.
    ///
    /// # Errors
    /// [`WriteError::Unfaithful`]; what was written must not be used.
    pub fn write(&self, source: &str, values: &[&str], out: &mut Vec<u8>) -> Result<(), WriteError> {
        write(&self.splice, self.format, source, values, out)
    }
}

pub(super) fn size(splice: &Splice, source: &str, values: &[&str], limit: usize) -> Result<usize, WriteError> {
    let mut counter = Counter { bytes: 0, limit };
    splice.emit(source, values, &mut counter)?;
    Ok(counter.bytes)
}

pub(super) fn write(
    splice: &Splice,
    format: Format,
    source: &str,
    values: &[&str],
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    let begin = out.len();
    splice.emit(source, values, out)?;
    if format == Format::Yaml && !splice.edits().is_empty() {
        let written = out.get(begin..).and_then(|bytes| std::str::from_utf8(bytes).ok());
        return yaml::verify(splice, source, values, written.ok_or(WriteError::Unfaithful)?);
    }
    Ok(())
}

/// The ids of one document, each once.
pub(super) struct Ids {
    found: IndexSet<SecretId>,
    max: usize,
}

impl Ids {
    /// The number of an id, new or known.
    pub(super) fn number(&mut self, id: SecretId) -> Result<usize, DocumentError> {
        let (number, _) = self.found.insert_full(id);
        if number < self.max { Ok(number) } else { Err(DocumentError::TooManyIds) }
    }
}

/// Turns every string that holds placeholders into an edit.
struct Finder {
    ids: Ids,
    splice: Splice,
}

impl Visitor for Finder {
    fn concerns(&self, text: &str) -> bool {
        scan(text).next().is_some()
    }

    fn changes(&self, pointers: &Pointers, reach: &Reach, text: &str) -> bool {
        pointers.hit(reach).is_some() && self.concerns(text)
    }

    fn leaf(&mut self, walk: &Walk<'_>, reach: &Reach, leaf: Leaf<'_>) -> Result<bool, DocumentError> {
        let Some(place) = leaf.place.filter(|_| leaf.kind == LeafKind::String) else { return Ok(false) };
        if walk.pointers().hit(reach).is_none() {
            return Ok(false);
        }
        let mut all = scan(leaf.text).peekable();
        if all.peek().is_none() {
            return Ok(false);
        }
        let mut content = self.splice.content();
        let mut from = 0;
        for found in all {
            content.keep(leaf.text.get(from..found.range.start).unwrap_or_default());
            content.value(self.ids.number(found.id)?);
            from = found.range.end;
        }
        content.keep(leaf.text.get(from..).unwrap_or_default());
        content.end(place, leaf.number);
        Ok(true)
    }

    fn write_out(&mut self, text: &str, place: Place, number: u32) {
        let mut content = self.splice.content();
        content.keep(text);
        content.end(place, number);
    }
}
