//! The walk through a document: where the reader is, which pointers lead there, and what may not be.
//!
//! Shared by the readers of all structured formats. It knows nothing of how they are written.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use super::pointer::{Pointers, Reach, Step, push_step};
use super::splice::Place;
use super::{DEPTH_MAX, DocumentError};

/// Makes something of the strings of a document.
pub(super) trait Visitor {
    /// Whether a string like this could be changed at some place or other.
    fn concerns(&self, text: &str) -> bool;

    /// Whether a string like this is changed where it is reached like this.
    fn changes(&self, pointers: &Pointers, reach: &Reach, text: &str) -> bool;

    /// A leaf that is a value and no key. Answers whether it is changed.
    fn leaf(&mut self, walk: &Walk<'_>, reach: &Reach, leaf: Leaf<'_>) -> Result<bool, DocumentError>;

    /// What repeats a string that is changed elsewhere, and is to stay as it is: here the string is written out.
    fn write_out(&mut self, text: &str, place: Place, number: u32);

    /// A container ends; its depth is that of the walk before.
    fn leave(&mut self, _walk: &Walk<'_>) -> Result<(), DocumentError> {
        Ok(())
    }
}

/// A leaf of a document.
pub(super) struct Leaf<'a> {
    /// Its content; of what is no string, as it is written.
    pub(super) text: &'a str,
    pub(super) kind: LeafKind,
    /// Where it stands, if it is a string.
    pub(super) place: Option<Place>,
    /// Which of the leaves it is.
    pub(super) number: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeafKind {
    String,
    Null,
    /// A number or a truth value.
    Other,
}

/// What the next node is.
pub(super) enum Position {
    /// A key, or something within one: never changed.
    Key,
    /// A value, reached like this.
    Value(Reach),
}

impl Position {
    /// In a key nothing is changed, as where no pointer leads.
    pub(super) fn reach(&self) -> Reach {
        match self {
            Self::Key => Reach::default(),
            Self::Value(reach) => reach.clone(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    Map,
    List,
}

/// A container that the reader is in.
struct Frame {
    container: Container,
    reach: Reach,
    /// It stands in a key.
    in_key: bool,
    /// In a map: whether the next node is a value.
    has_key: bool,
    /// The key of the value that is being read.
    key: String,
    /// How that value is reached.
    child: Reach,
    /// In a list: how many items have begun.
    items: usize,
    /// Keys so far, as hashes that nobody outside can aim at.
    keys: HashSet<u64>,
}

/// Where a reader is.
pub(super) struct Walk<'a> {
    pointers: &'a Pointers,
    frames: Vec<Frame>,
    hasher: RandomState,
}

/// The key stands in its map already.
pub(super) struct Duplicate;

impl<'a> Walk<'a> {
    pub(super) fn new(pointers: &'a Pointers) -> Self {
        Self { pointers, frames: Vec::new(), hasher: RandomState::new() }
    }

    /// Takes the next node in, whatever it is.
    pub(super) fn next(&mut self) -> Position {
        let Some(frame) = self.frames.last_mut() else { return Position::Value(self.pointers.root()) };
        let key = match frame.container {
            Container::List => {
                frame.child = self.pointers.step(&frame.reach, Step::Item(frame.items));
                frame.items += 1;
                false
            }
            Container::Map => {
                frame.has_key = !frame.has_key;
                if frame.has_key {
                    // Until the key is known; one that is a container has no name.
                    frame.key.clear();
                    frame.child = self.pointers.step(&frame.reach, Step::Nameless);
                }
                frame.has_key
            }
        };
        if key || frame.in_key { Position::Key } else { Position::Value(frame.child.clone()) }
    }

    /// The key of the value that comes next. `string` keeps `1` and `"1"` apart, which are two keys.
    pub(super) fn key(&mut self, text: &str, string: bool) -> Result<(), Duplicate> {
        // In a list within a key there is nothing to name.
        let Some(frame) = self.frames.last_mut().filter(|frame| frame.has_key) else { return Ok(()) };
        frame.key.push_str(text);
        frame.child = self.pointers.step(&frame.reach, Step::Member(text));
        if frame.keys.insert(self.hasher.hash_one((text, string))) { Ok(()) } else { Err(Duplicate) }
    }

    /// Goes into a container.
    pub(super) fn enter(&mut self, container: Container, position: &Position) -> Result<(), TooDeep> {
        if self.frames.len() >= DEPTH_MAX {
            return Err(TooDeep);
        }
        self.frames.push(Frame {
            container,
            in_key: matches!(position, Position::Key),
            reach: position.reach(),
            has_key: false,
            key: String::new(),
            child: Reach::default(),
            items: 0,
            keys: HashSet::new(),
        });
        Ok(())
    }

    /// Goes out of the container again.
    pub(super) fn leave(&mut self) {
        self.frames.pop();
    }

    /// How many containers the reader is in.
    pub(super) fn depth(&self) -> usize {
        self.frames.len()
    }

    /// The name of the value that is being read, where it is a member of a map.
    pub(super) fn member(&self) -> Option<&str> {
        self.frames.last().filter(|frame| frame.container == Container::Map).map(|frame| frame.key.as_str())
    }

    /// The pointer to the value that is being read.
    pub(super) fn pointer(&self) -> String {
        let mut pointer = String::new();
        for frame in &self.frames {
            let step = match frame.container {
                Container::Map => Step::Member(&frame.key),
                Container::List => Step::Item(frame.items.saturating_sub(1)),
            };
            push_step(&mut pointer, step);
        }
        pointer
    }

    pub(super) fn pointers(&self) -> &Pointers {
        self.pointers
    }
}

/// The limit of [`DEPTH_MAX`].
pub(super) struct TooDeep;
