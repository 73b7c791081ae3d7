//! The values of one pass: every file that is made in it is made of the same.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cache::Entry;
use crate::id::{Checksum, Location};

/// Values by where they live. Shared with the cache, so that a value is in memory once.
#[derive(Clone, Default)]
pub struct Values(HashMap<Location, Arc<Entry>>);

impl Values {
    /// Takes a value in.
    pub fn insert(&mut self, location: Location, entry: Arc<Entry>) {
        self.0.insert(location, entry);
    }

    /// The value, where it is known.
    #[must_use]
    pub fn get(&self, location: &Location) -> Option<&str> {
        self.0.get(location).map(|entry| entry.value().expose())
    }

    /// Which value it is.
    #[must_use]
    pub fn checksum(&self, location: &Location) -> Option<&Checksum> {
        self.0.get(location).map(|entry| entry.checksum())
    }
}
