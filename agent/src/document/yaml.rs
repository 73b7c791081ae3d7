//! The reader of YAML: events with their places from a parser, and what anchors and aliases mean for strings that change.
//!
//! An alias is never followed, whatever it would unfold to: what is behind it is known as a number, which saturates. As
//! long as what it repeats changes as it does at its anchor, nothing is to be done. A repeated string that is to differ
//! is written out in the alias's place; a repeated container that would have to is refused.

mod block;
mod scalar;
mod verify;

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span as EventSpan, Tag, options};
use zeroize::Zeroizing;

use super::error::Spot;
use super::pointer::Reach;
use super::splice::{Place, Span, append};
use super::walk::{Container, Leaf, LeafKind, Position, Visitor, Walk};
use super::{DEPTH_MAX, DocumentError};

pub(super) use block::Block;
pub(super) use scalar::{Quotes, put_quoted};
pub(super) use verify::verify;

/// Anchors of one stream. Each is remembered, since an alias may come at the very end.
const ANCHORS_MAX: usize = 1000;

/// The events of a source.
fn parser(source: &str) -> Parser<'_, granit_parser::StrInput<'_>> {
    let options = options! {
        emit_comments: false,
        // Ours is lower, and says what it is.
        flow_nesting_limit: DEPTH_MAX * 2,
        block_nesting_limit: DEPTH_MAX * 2,
    };
    Parser::new_from_str_with_options(source, options)
}

/// Tells `visitor` of everything in `source`.
pub(super) fn read(source: &str, walk: &mut Walk<'_>, visitor: &mut impl Visitor) -> Result<(), DocumentError> {
    let mut reader = Reader {
        source,
        walk,
        visitor,
        anchors: HashMap::new(),
        open: Vec::new(),
        texts: Zeroizing::default(),
        concerned: 0,
        leaves: 0,
        cursor: 0,
    };
    for event in parser(source) {
        let (event, span) = event.map_err(|error| reader.malformed(&error))?;
        reader.event(&event, &span)?;
        // The start of a document that nothing marks has the span of what comes first in it.
        if !matches!(event, Event::DocumentStart(false, _)) {
            reader.cursor = span.byte_range().map_or(reader.cursor, |range| range.end);
        }
    }
    Ok(())
}

struct Reader<'a, 'w, V> {
    source: &'a str,
    walk: &'a mut Walk<'w>,
    visitor: &'a mut V,
    anchors: HashMap<usize, Anchor>,
    open: Vec<Open>,
    /// The contents of anchored scalars.
    texts: Zeroizing<String>,
    /// How many strings so far could be changed somewhere, those that aliases repeat included.
    concerned: u64,
    leaves: u32,
    /// The end of the last event.
    cursor: usize,
}

/// A node that aliases may repeat.
enum Anchor {
    Scalar { text: Span, kind: LeafKind, changed: bool, tag: Option<Span> },
    Container { reach: Reach, concerned: u64 },
}

/// A container that has not ended.
struct Open {
    anchor: usize,
    concerned: u64,
}

impl<V: Visitor> Reader<'_, '_, V> {
    fn event(&mut self, event: &Event<'_>, span: &EventSpan) -> Result<(), DocumentError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => self.scalar(text, *style, *anchor, tag.as_deref(), span),
            Event::Alias(anchor) => self.alias(*anchor, span),
            Event::MappingStart(_, anchor, _) => self.enter(Container::Map, *anchor, span),
            Event::SequenceStart(_, anchor, _) => self.enter(Container::List, *anchor, span),
            Event::MappingEnd | Event::SequenceEnd => self.leave(),
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: &EventSpan,
    ) -> Result<(), DocumentError> {
        let is_last = span.byte_range().is_some_and(|range| range.end == self.source.len());
        let text = if is_last { scalar::at_end(text, style, self.source) } else { text };
        let kind = scalar::kind(text, style, tag);
        let number = self.number();
        let changed = match self.walk.next() {
            Position::Key => {
                self.key(text, kind, span)?;
                false
            }
            Position::Value(reach) => {
                self.concern(text, kind);
                let place = if kind == LeafKind::String { Some(self.place(style, span)?) } else { None };
                self.visitor.leaf(self.walk, &reach, Leaf { text, kind, place, number })?
            }
        };
        if anchor != 0 {
            let start = self.texts.len();
            append(&mut self.texts, text);
            let text = Span::new(start, self.texts.len());
            let tag = span.tag_span().map(|span| self.range(&span));
            self.anchor(anchor, Anchor::Scalar { text, kind, changed, tag })?;
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: &EventSpan) -> Result<(), DocumentError> {
        let number = self.number();
        let position = self.walk.next();
        match self.anchors.get(&anchor) {
            // Only of an anchor in another document, which the parser does not take for one.
            None => Err(DocumentError::Syntax(spot(span))),
            Some(Anchor::Scalar { text, kind, changed, tag }) => {
                let (kind, changed) = (*kind, *changed);
                let place = Place::Alias(self.range(span), *tag);
                let text = Zeroizing::new(text.of(&self.texts).to_owned());
                let text = text.as_str();
                match position {
                    Position::Key => {
                        if changed {
                            self.visitor.write_out(text, place, number);
                        }
                        self.key(text, kind, span)
                    }
                    Position::Value(reach) => {
                        let concerned = self.concern(text, kind);
                        let wanted = concerned && self.visitor.changes(self.walk.pointers(), &reach, text);
                        // What is changed at its anchor is changed here with it.
                        let own = (wanted && !changed).then_some(place);
                        if changed && !wanted {
                            self.visitor.write_out(text, place, number);
                        }
                        let leaf = Leaf { text, kind, place: own, number };
                        self.visitor.leaf(self.walk, &reach, leaf).map(drop)
                    }
                }
            }
            Some(Anchor::Container { reach, concerned }) => {
                if *concerned > 0 && *reach != position.reach() {
                    return Err(DocumentError::AliasElsewhere(spot(span)));
                }
                self.concerned = self.concerned.saturating_add(*concerned);
                Ok(())
            }
        }
    }

    fn enter(&mut self, container: Container, anchor: usize, span: &EventSpan) -> Result<(), DocumentError> {
        let position = self.walk.next();
        if anchor != 0 {
            // Until it has ended, nobody knows what is in it.
            self.anchor(anchor, Anchor::Container { reach: position.reach(), concerned: u64::MAX })?;
        }
        if self.walk.enter(container, &position).is_err() {
            return Err(DocumentError::TooDeep(spot(span)));
        }
        self.open.push(Open { anchor, concerned: self.concerned });
        Ok(())
    }

    fn leave(&mut self) -> Result<(), DocumentError> {
        self.visitor.leave(self.walk)?;
        self.walk.leave();
        if let Some(open) = self.open.pop()
            && let Some(Anchor::Container { concerned, .. }) = self.anchors.get_mut(&open.anchor)
        {
            *concerned = self.concerned.saturating_sub(open.concerned);
        }
        Ok(())
    }

    fn key(&mut self, text: &str, kind: LeafKind, span: &EventSpan) -> Result<(), DocumentError> {
        self.concern(text, kind);
        let told = self.walk.key(text, kind == LeafKind::String);
        told.map_err(|_twice| DocumentError::DuplicateKey(spot(span)))
    }

    /// Counts a string that could be changed; whether this is one.
    fn concern(&mut self, text: &str, kind: LeafKind) -> bool {
        let concerned = kind == LeafKind::String && self.visitor.concerns(text);
        // What aliases repeat has filled the number, perhaps.
        self.concerned = self.concerned.saturating_add(concerned.into());
        concerned
    }

    fn anchor(&mut self, number: usize, anchor: Anchor) -> Result<(), DocumentError> {
        if self.anchors.len() >= ANCHORS_MAX {
            return Err(DocumentError::TooManyAnchors);
        }
        self.anchors.insert(number, anchor);
        Ok(())
    }

    /// Where a scalar stands, and how a string is written there.
    fn place(&self, style: ScalarStyle, span: &EventSpan) -> Result<Place, DocumentError> {
        let range = self.range(span);
        match style {
            ScalarStyle::Plain | ScalarStyle::DoubleQuoted => Ok(Place::Flow(range, Quotes::Double)),
            ScalarStyle::SingleQuoted => Ok(Place::Flow(range, Quotes::Single)),
            ScalarStyle::Literal | ScalarStyle::Folded => {
                let folded = style == ScalarStyle::Folded;
                let block = Block::find(self.source, self.cursor, range, span.start.col(), folded);
                block.map(Place::Block).ok_or_else(|| DocumentError::Syntax(spot(span)))
            }
        }
    }

    fn number(&mut self) -> u32 {
        let number = self.leaves;
        self.leaves += 1;
        number
    }

    fn range(&self, span: &EventSpan) -> Span {
        // A source that is a string has them.
        let range = span.byte_range().unwrap_or(self.source.len()..self.source.len());
        Span::new(range.start, range.end)
    }

    fn malformed(&self, error: &ScanError) -> DocumentError {
        let marker = error.marker();
        let spot = match marker.byte_offset() {
            Some(offset) => Spot::at(self.source, offset),
            None => Spot { line: marker.line(), column: marker.col() + 1 },
        };
        match error.kind() {
            ErrorKind::RecursionLimitExceeded => DocumentError::TooDeep(spot),
            _ => DocumentError::Syntax(spot),
        }
    }
}

/// Where an event begins.
fn spot(span: &EventSpan) -> Spot {
    Spot { line: span.start.line(), column: span.start.col() + 1 }
}
