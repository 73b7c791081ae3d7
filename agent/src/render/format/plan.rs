//! A source document as it is written out: what stays, and the places of values.

use indexmap::IndexSet;
use zeroize::Zeroizing;

use super::{Format, Unfit, env, ini, properties, toml, xml};
use crate::document::{self, DocumentError, Placeholders, WriteError};
use crate::id::{Found, SecretId, scan};

/// Why a source document cannot be used. Repeats nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Not what its format says.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A quotation, section or tag does not end.
    #[error("the document ends within quotation marks, a comment or a tag")]
    Open,
}

/// Why a document with its values is not given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A value that the format cannot hold.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// Too long, or not faithful.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A source document whose placeholders were found.
pub struct Plan {
    ids: Vec<SecretId>,
    how: How,
}

enum How {
    /// By the reader of whole documents.
    Document { source: String, found: Placeholders },
    /// Piece by piece.
    Pieces(Vec<Piece>),
}

/// One piece of a document.
enum Piece {
    Kept(String),
    Value(usize, Place),
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Env(env::Quotes),
    Ini(ini::Place),
    Properties,
    Toml(toml::Place),
    Xml(xml::Place),
}

impl Place {
    fn put(self, value: &str, out: &mut String) -> Result<(), Unfit> {
        match self {
            Self::Env(quotes) => env::put(quotes, value, out),
            Self::Ini(place) => ini::put(place, value, out),
            Self::Properties => {
                properties::put(value, out);
                Ok(())
            }
            Self::Toml(place) => {
                toml::put(place, value, out);
                Ok(())
            }
            Self::Xml(place) => xml::put(place, value, out),
        }
    }
}

impl Plan {
    /// Reads `source`; more than `ids_max` different ids are an error.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn read(format: Format, source: &str, ids_max: usize) -> Result<Self, SourceError> {
        let whole = match format {
            Format::Json => document::Format::Json,
            Format::Yaml => document::Format::Yaml,
            Format::Text => document::Format::Text,
            Format::Env => return Self::pieces(source, ids_max, env::read),
            Format::Ini => {
                return Self::pieces(source, ids_max, |reading| {
                    ini::read(reading);
                    Ok(())
                });
            }
            Format::Properties => {
                return Self::pieces(source, ids_max, |reading| {
                    properties::read(reading);
                    Ok(())
                });
            }
            Format::Toml => return Self::pieces(source, ids_max, toml::read),
            Format::Xml => return Self::pieces(source, ids_max, xml::read),
        };
        let found = Placeholders::find(whole, source, None, ids_max)?;
        Ok(Self { ids: found.ids().cloned().collect(), how: How::Document { source: source.to_owned(), found } })
    }

    fn pieces(
        source: &str,
        ids_max: usize,
        read: fn(&mut Reading<'_>) -> Result<(), SourceError>,
    ) -> Result<Self, SourceError> {
        let mut reading = Reading::new(source);
        read(&mut reading)?;
        reading.keep_rest();
        if reading.ids.len() > ids_max {
            return Err(DocumentError::TooManyIds.into());
        }
        Ok(Self { ids: reading.ids.into_iter().collect(), how: How::Pieces(reading.pieces) })
    }

    /// The different ids.
    pub fn ids(&self) -> &[SecretId] {
        &self.ids
    }

    /// The document with `values`, one for each id in the same order, of at most `limit` bytes.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn write(&self, values: &[&str], limit: usize) -> Result<Zeroizing<Vec<u8>>, PlanError> {
        match &self.how {
            How::Document { source, found } => {
                let size = found.size(source, values, limit)?;
                let mut out = Zeroizing::new(Vec::with_capacity(size));
                found.write(source, values, &mut out)?;
                Ok(out)
            }
            How::Pieces(pieces) => {
                // An escape makes at most twelve bytes of one character, `\ud83d\ude00`, which has at least one byte.
                let most = pieces.iter().try_fold(0_usize, |sum, piece| {
                    let size = match piece {
                        Piece::Kept(text) => text.len(),
                        Piece::Value(number, _) => values.get(*number).map_or(0, |value| value.len() * 12 + 16),
                    };
                    let sum = sum.saturating_add(size);
                    if sum > limit.saturating_mul(13) { Err(WriteError::TooLong) } else { Ok(sum) }
                })?;
                let mut out = Zeroizing::new(String::with_capacity(most));
                for piece in pieces {
                    match piece {
                        Piece::Kept(text) => out.push_str(text),
                        Piece::Value(number, place) => {
                            place.put(values.get(*number).copied().unwrap_or_default(), &mut out)?;
                        }
                    }
                    if out.len() > limit {
                        return Err(WriteError::TooLong.into());
                    }
                }
                Ok(Zeroizing::new(std::mem::take(&mut *out).into_bytes()))
            }
        }
    }
}

/// A document while it is read from left to right. A placeholder is one symbol: whatever its text would mean to the
/// format, it means nothing.
pub(super) struct Reading<'a> {
    source: &'a str,
    found: std::vec::IntoIter<Found>,
    next: Option<Found>,
    at: usize,
    kept: usize,
    ids: IndexSet<SecretId>,
    pieces: Vec<Piece>,
}

/// What comes next.
pub(super) enum Symbol {
    Char(char),
    Placeholder,
}

impl<'a> Reading<'a> {
    fn new(source: &'a str) -> Self {
        let mut found = scan(source).collect::<Vec<_>>().into_iter();
        let next = found.next();
        Self { source, found, next, at: 0, kept: 0, ids: IndexSet::new(), pieces: Vec::new() }
    }

    /// The next symbol, without taking it.
    pub(super) fn peek(&self) -> Option<Symbol> {
        if self.next.as_ref().is_some_and(|found| found.range.start == self.at) {
            return Some(Symbol::Placeholder);
        }
        self.rest().chars().next().map(Symbol::Char)
    }

    /// What was not taken yet.
    pub(super) fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or_default()
    }

    /// Takes the next symbol, which stays as it is.
    pub(super) fn take(&mut self) {
        match self.peek() {
            Some(Symbol::Placeholder) => {
                self.at = self.next.as_ref().map_or(self.at, |found| found.range.end);
                self.advance();
            }
            Some(Symbol::Char(character)) => self.at += character.len_utf8(),
            None => {}
        }
    }

    /// Takes this many bytes, none of them within a placeholder.
    pub(super) fn take_bytes(&mut self, bytes: usize) {
        let end = (self.at + bytes).min(self.source.len());
        while self.at < end {
            self.take();
        }
    }

    /// Takes the rest of the line, but not its end.
    pub(super) fn take_line(&mut self) {
        while let Some(symbol) = self.peek() {
            if matches!(symbol, Symbol::Char('\n')) {
                return;
            }
            self.take();
        }
    }

    /// Takes the placeholder that comes next, in whose place a value is written.
    pub(super) fn value(&mut self, place: Place) {
        self.keep();
        let Some(found) = self.next.take() else { return };
        self.at = found.range.end;
        self.kept = self.at;
        self.push_value(found.id, place);
        self.advance();
    }

    /// Takes `bytes` that stand for `id` in another way than a placeholder does.
    pub(super) fn value_of(&mut self, id: SecretId, bytes: usize, place: Place) {
        self.keep();
        self.at += bytes;
        self.kept = self.at;
        self.push_value(id, place);
        while self.next.as_ref().is_some_and(|found| found.range.start < self.at) {
            self.advance();
        }
    }

    fn push_value(&mut self, id: SecretId, place: Place) {
        let (number, _) = self.ids.insert_full(id);
        self.pieces.push(Piece::Value(number, place));
    }

    /// Where it stands, to come back to.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Writes `text` instead of what was taken since `from`.
    pub(super) fn replace_from(&mut self, from: usize, text: &str) {
        let end = self.at;
        self.at = from;
        self.keep();
        self.pieces.push(Piece::Kept(text.to_owned()));
        self.at = end;
        self.kept = end;
    }

    /// What stays up to here is a piece.
    pub(super) fn keep(&mut self) {
        if let Some(text) = self.source.get(self.kept..self.at).filter(|text| !text.is_empty()) {
            self.pieces.push(Piece::Kept(text.to_owned()));
        }
        self.kept = self.at;
    }

    fn keep_rest(&mut self) {
        self.at = self.source.len();
        self.keep();
    }

    fn advance(&mut self) {
        self.next = self.found.next();
    }
}
