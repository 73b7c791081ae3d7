//! The reader of JSON (RFC 8259). `serde_json` does the reading: what it takes for one raw value is looked into in turn,
//! so that every string's place is known from where its text lies in the source.
//!
//! Each level is read again for what is in it, which the limit of depth bounds.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor as SerdeVisitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::DocumentError;
use super::error::Spot;
use super::splice::{Place, Span};
use super::walk::{Container, Leaf, LeafKind, Position, Visitor, Walk};

/// Tells `visitor` of everything in `source`.
pub(super) fn read(source: &str, walk: &mut Walk<'_>, visitor: &mut impl Visitor) -> Result<(), DocumentError> {
    let whole: &RawValue = serde_json::from_str(source)
        .map_err(|error| DocumentError::Syntax(Spot { line: error.line(), column: error.column() }))?;
    let mut reader = Reader { source, walk, visitor, leaves: 0, failed: None };
    reader.value(whole)
}

struct Reader<'a, 'w, V> {
    source: &'a str,
    walk: &'a mut Walk<'w>,
    visitor: &'a mut V,
    leaves: u32,
    /// What ended the reading, on its way through serde's own error.
    failed: Option<DocumentError>,
}

impl<V: Visitor> Reader<'_, '_, V> {
    fn value(&mut self, raw: &RawValue) -> Result<(), DocumentError> {
        let text = raw.get();
        let position = self.walk.next();
        match text.as_bytes().first() {
            Some(b'{') => self.container(Container::Map, &position, text),
            Some(b'[') => self.container(Container::List, &position, text),
            Some(b'"') => {
                let content: Text<'_> =
                    serde_json::from_str(text).map_err(|_| DocumentError::Syntax(self.spot(text)))?;
                let start = self.offset(text);
                let place = Place::Json(Span::new(start, start + text.len()));
                self.leaf(&position, &content.0, LeafKind::String, Some(place))
            }
            Some(b'n') => self.leaf(&position, text, LeafKind::Null, None),
            _ => self.leaf(&position, text, LeafKind::Other, None),
        }
    }

    fn leaf(
        &mut self,
        position: &Position,
        text: &str,
        kind: LeafKind,
        place: Option<Place>,
    ) -> Result<(), DocumentError> {
        let number = self.leaves;
        self.leaves += 1;
        // A key is told of by its map.
        let Position::Value(reach) = position else { return Ok(()) };
        self.visitor.leaf(self.walk, reach, Leaf { text, kind, place, number }).map(drop)
    }

    fn container(&mut self, container: Container, position: &Position, text: &str) -> Result<(), DocumentError> {
        if self.walk.enter(container, position).is_err() {
            return Err(DocumentError::TooDeep(self.spot(text)));
        }
        let mut content = serde_json::Deserializer::from_str(text);
        let read = match container {
            Container::Map => content.deserialize_map(Members { reader: self, text }),
            Container::List => content.deserialize_seq(Items { reader: self }),
        };
        if read.is_err() {
            let failed = self.failed.take();
            return Err(failed.unwrap_or_else(|| DocumentError::Syntax(self.spot(text))));
        }
        self.visitor.leave(self.walk)?;
        self.walk.leave();
        Ok(())
    }

    /// Where `text` lies in the source that it is a piece of.
    fn offset(&self, text: &str) -> usize {
        text.as_ptr().addr().wrapping_sub(self.source.as_ptr().addr()).min(self.source.len())
    }

    fn spot(&self, text: &str) -> Spot {
        Spot::at(self.source, self.offset(text))
    }

    /// Hands an error over to serde, which only carries it back to us.
    fn fail<E: serde::de::Error>(&mut self, result: Result<(), DocumentError>) -> Result<(), E> {
        result.map_err(|error| {
            self.failed = Some(error);
            E::custom("")
        })
    }
}

/// The members of an object.
struct Members<'r, 'a, 'w, V> {
    reader: &'r mut Reader<'a, 'w, V>,
    text: &'r str,
}

impl<'de, V: Visitor> SerdeVisitor<'de> for Members<'_, '_, '_, V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(()) = members.next_key_seed(Key { reader: self.reader, text: self.text })? {
            let raw: &'de RawValue = members.next_value()?;
            let read = self.reader.value(raw);
            self.reader.fail(read)?;
        }
        Ok(())
    }
}

/// The key of a member.
struct Key<'r, 'a, 'w, V> {
    reader: &'r mut Reader<'a, 'w, V>,
    text: &'r str,
}

impl<'de, V: Visitor> DeserializeSeed<'de> for Key<'_, '_, '_, V> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let key = Text::deserialize(deserializer)?;
        // What comes is a key: it only tells the walk.
        let _key = self.reader.walk.next();
        let told = self.reader.walk.key(&key.0, true).map_err(|_twice| {
            // Where in it the key stands, the library does not tell.
            DocumentError::DuplicateKey(self.reader.spot(self.text))
        });
        self.reader.fail(told)
    }
}

/// The items of an array.
struct Items<'r, 'a, 'w, V> {
    reader: &'r mut Reader<'a, 'w, V>,
}

impl<'de, V: Visitor> SerdeVisitor<'de> for Items<'_, '_, '_, V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(raw) = items.next_element::<&'de RawValue>()? {
            let read = self.reader.value(raw);
            self.reader.fail(read)?;
        }
        Ok(())
    }
}

/// The content of a JSON string, borrowed where nothing in it is escaped.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> SerdeVisitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text)))
    }
}
