//! Obfuscating a document: the plain strings at some pointers, each with the key that it is to be stored under, and the
//! document with placeholders in their places.

use std::collections::{HashMap, HashSet};

use zeroize::Zeroizing;

use super::key::{self, KeyError, KeyTemplate};
use super::placeholders::{size, write};
use super::pointer::{Extent, Pointer, Pointers, Reach};
use super::splice::{Place, Splice};
use super::walk::{Leaf, LeafKind, Visitor, Walk};
use super::{DocumentError, Format, WriteError, json, yaml};
use crate::id::{Location, SecretId, SubKey};
use crate::secret::SecretValue;

/// Where strings are to be hidden, and how they are named.
#[derive(Clone, Debug)]
pub struct HiddenPath {
    /// The place.
    pub pointer: Pointer,
    /// The name; the pointer to the string where there is none.
    pub key: Option<KeyTemplate>,
}

/// One string that is to be stored.
pub struct HiddenString {
    /// Its key in the slot.
    pub key: SubKey,
    /// What it is.
    pub value: SecretValue,
    /// The number of the path that named it.
    pub path: usize,
}

/// What is to be stored of a document, and where placeholders go. A string that is a placeholder already stays, and so
/// does what is no string.
pub struct Obfuscation {
    format: Format,
    strings: Vec<HiddenString>,
    splice: Splice,
}

impl Obfuscation {
    /// Reads `source`. Of several paths that name one string the first counts. `slot` is the whole slot that the strings
    /// are to be stored in. More than `strings_max` are an error.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn plan(
        format: Format,
        source: &str,
        paths: &[HiddenPath],
        slot: &Location,
        strings_max: usize,
    ) -> Result<Self, DocumentError> {
        if u32::try_from(source.len()).is_err() {
            return Err(DocumentError::TooLong);
        }
        let pointers = paths.iter().map(|path| path.pointer.clone()).collect();
        let pointers = Pointers::new(pointers, Extent::Place);
        let mut walk = Walk::new(&pointers);
        let quoted = paths.iter().filter_map(|path| path.key.as_ref()).flat_map(KeyTemplate::siblings).collect();
        let mut hider = Hider {
            paths,
            quoted,
            slot,
            strings_max,
            strings: Vec::new(),
            names: HashMap::new(),
            waiting: Vec::new(),
            siblings: Vec::new(),
            splice: Splice::default(),
        };
        match format {
            Format::Json => json::read(source, &mut walk, &mut hider)?,
            Format::Yaml => yaml::read(source, &mut walk, &mut hider)?,
            Format::Text => return Err(DocumentError::NoStructure),
        }
        hider.splice.finish();
        Ok(Self { format, strings: hider.strings, splice: hider.splice })
    }

    /// What is to be stored.
    #[must_use]
    pub fn strings(&self) -> &[HiddenString] {
        &self.strings
    }

    /// Takes what is to be stored out.
    pub fn take_strings(&mut self) -> Vec<HiddenString> {
        std::mem::take(&mut self.strings)
    }

    /// How long the document is with `placeholders`, one for each string in the same order.
    ///
    /// # Errors
    /// [`WriteError::TooLong`] beyond `limit`.
    pub fn size(&self, source: &str, placeholders: &[&str], limit: usize) -> Result<usize, WriteError> {
        size(&self.splice, source, placeholders, limit)
    }

    /// Writes the document with `placeholders`, one for each string in the same order, to `out`, which has the room.
    ///
    /// # Errors
    /// [`WriteError::Unfaithful`]; what was written must not be used.
    pub fn write(&self, source: &str, placeholders: &[&str], out: &mut Vec<u8>) -> Result<(), WriteError> {
        write(&self.splice, self.format, source, placeholders, out)
    }
}

/// Who has a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    /// A string that is to be stored.
    Stored,
    /// A secret that a placeholder at one of the pointers stands for.
    Standing,
}

/// A string whose key quotes siblings that may be still to come.
struct Waiting {
    depth: usize,
    path: usize,
    value: SecretValue,
    place: Place,
    number: u32,
}

/// What a key may quote.
struct Sibling {
    depth: usize,
    name: String,
    /// None where it is itself at a pointer.
    text: Option<Zeroizing<String>>,
}

struct Hider<'a> {
    paths: &'a [HiddenPath],
    /// The names that some key quotes.
    quoted: HashSet<&'a str>,
    slot: &'a Location,
    strings_max: usize,
    strings: Vec<HiddenString>,
    names: HashMap<SubKey, Named>,
    waiting: Vec<Waiting>,
    siblings: Vec<Sibling>,
    splice: Splice,
}

impl Hider<'_> {
    /// Notes a placeholder that stays: what it stands for must not be overwritten by another string of the same name.
    fn stand(&mut self, id: &SecretId, path: usize) -> Result<(), DocumentError> {
        let location = id.location();
        if location.slot_text() != self.slot.as_str() {
            return Ok(());
        }
        match location.sub_key().map(SubKey::parse) {
            Some(Ok(key)) => match self.names.insert(key, Named::Standing) {
                Some(Named::Stored) => Err(DocumentError::Key(path, KeyError::Collision)),
                Some(Named::Standing) | None => Ok(()),
            },
            Some(Err(_)) | None => Ok(()),
        }
    }

    fn store(
        &mut self,
        key: SubKey,
        path: usize,
        value: SecretValue,
        (place, number): (Place, u32),
    ) -> Result<(), DocumentError> {
        if self.names.insert(key.clone(), Named::Stored).is_some() {
            return Err(DocumentError::Key(path, KeyError::Collision));
        }
        if self.strings.len() >= self.strings_max {
            return Err(DocumentError::TooManyStrings);
        }
        let mut content = self.splice.content();
        content.value(self.strings.len());
        content.end(place, number);
        self.strings.push(HiddenString { key, value, path });
        Ok(())
    }

    /// Keeps a leaf for the keys that quote it.
    fn note_sibling(&mut self, walk: &Walk<'_>, reach: &Reach, leaf: &Leaf<'_>) {
        let Some(name) = walk.member().filter(|_| leaf.kind != LeafKind::Null) else { return };
        if self.quoted.contains(name) {
            let hidden = walk.pointers().hit(reach).is_some();
            let text = (!hidden).then(|| Zeroizing::new(leaf.text.to_owned()));
            self.siblings.push(Sibling { depth: walk.depth(), name: name.to_owned(), text });
        }
    }

    fn named(&mut self, waiting: Waiting) -> Result<(), DocumentError> {
        let Waiting { depth, path, value, place, number } = waiting;
        let sibling = |name: &str| {
            let found = self.siblings.iter().find(|sibling| sibling.depth == depth && sibling.name == name);
            let found = found.ok_or(KeyError::MissingSibling)?;
            found.text.as_ref().map(|text| text.as_str()).ok_or(KeyError::HiddenSibling)
        };
        let template = self.paths.get(path).and_then(|path| path.key.as_ref()).ok_or(KeyError::Template);
        let key = template.and_then(|template| template.key(sibling));
        let key = key.map_err(|error| DocumentError::Key(path, error))?;
        self.store(key, path, value, (place, number))
    }
}

impl Visitor for Hider<'_> {
    /// Any string may stand at a pointer.
    fn concerns(&self, _text: &str) -> bool {
        true
    }

    fn changes(&self, pointers: &Pointers, reach: &Reach, text: &str) -> bool {
        pointers.hit(reach).is_some() && placeholder(text).is_none()
    }

    fn leaf(&mut self, walk: &Walk<'_>, reach: &Reach, leaf: Leaf<'_>) -> Result<bool, DocumentError> {
        self.note_sibling(walk, reach, &leaf);
        let Some(path) = walk.pointers().hit(reach).filter(|_| leaf.kind == LeafKind::String) else {
            return Ok(false);
        };
        if let Some(id) = placeholder(leaf.text) {
            self.stand(&id, path)?;
            return Ok(false);
        }
        // Without a place it is an alias of what is stored under the key of its anchor's place.
        let Some(place) = leaf.place else { return Ok(false) };
        let value = SecretValue::new(leaf.text.to_owned());
        if self.paths.get(path).is_some_and(|path| path.key.is_some()) {
            if self.waiting.len() >= self.strings_max {
                return Err(DocumentError::TooManyStrings);
            }
            let waiting = Waiting { depth: walk.depth(), path, value, place, number: leaf.number };
            // Outside of any container there are no siblings to wait for.
            if walk.depth() == 0 { self.named(waiting)? } else { self.waiting.push(waiting) }
        } else {
            let key = key::sub_key(&walk.pointer()).map_err(|error| DocumentError::Key(path, error))?;
            self.store(key, path, value, (place, leaf.number))?;
        }
        Ok(true)
    }

    fn write_out(&mut self, text: &str, place: Place, number: u32) {
        let mut content = self.splice.content();
        content.keep(text);
        content.end(place, number);
    }

    fn leave(&mut self, walk: &Walk<'_>) -> Result<(), DocumentError> {
        let depth = walk.depth();
        let ended = self.waiting.extract_if(.., |waiting| waiting.depth == depth).collect::<Vec<_>>();
        ended.into_iter().try_for_each(|waiting| self.named(waiting))?;
        self.siblings.retain(|sibling| sibling.depth < depth);
        Ok(())
    }
}

/// The id, if the text is one placeholder and nothing else.
fn placeholder(text: &str) -> Option<SecretId> {
    let id = text.strip_prefix("$<")?.strip_suffix('>')?;
    SecretId::parse(id).ok()
}
