//! What of a pod is kept while it is read: what the core looks at, and nothing else. Of an ordinary pod that is a third;
//! most of the rest says which client has set which field.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Values that are kept of one pod. A pod of a megabyte has tens of thousands in all; an array of zeros has a value for
/// every two bytes, and each takes sixteen times that in memory.
const VALUES_MAX: usize = 128 * 1024;

/// What every name begins with that is ours to give: what carries one is compared with what would be put there.
const RESERVED: &str = "cloakroom-";

/// What is kept of one value. A value of another shape than these words expect is kept as it is, for the core to refuse.
#[derive(Clone, Copy)]
enum Keep {
    /// Everything.
    All,
    /// Of an object, these members.
    Members(&'static [(&'static str, Keep)]),
    /// Of an object, these members; everything where its name is [`RESERVED`].
    Named(&'static [(&'static str, Keep)]),
    /// Of a list, this of each item.
    Each(&'static Keep),
}

const POD: Keep = Keep::Members(&[("metadata", METADATA), ("spec", SPEC)]);

const METADATA: Keep = Keep::Members(&[("labels", Keep::All), ("annotations", Keep::All)]);

const SPEC: Keep = Keep::Members(&[
    // Nothing among these is ever compared: an agent has no place there.
    ("containers", Keep::Each(&Keep::Members(CONTAINER))),
    ("initContainers", Keep::Each(&Keep::Named(CONTAINER))),
    ("volumes", Keep::Each(&Keep::Named(&[("name", Keep::All)]))),
    ("securityContext", Keep::Members(&[("supplementalGroups", Keep::All)])),
    ("os", Keep::All),
    ("nodeSelector", Keep::All),
    ("hostNetwork", Keep::All),
    ("hostPID", Keep::All),
    ("shareProcessNamespace", Keep::All),
]);

const CONTAINER: &[(&str, Keep)] =
    &[("name", Keep::All), ("command", Keep::All), ("ports", Keep::All), ("volumeMounts", Keep::All)];

/// A pod without what nobody looks at.
pub(super) enum Kept {
    /// It, or whatever stands in its place.
    Pod(Value),
    /// More would have been kept of it than a pod can need.
    TooMuch,
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let room = Room { left: Cell::new(VALUES_MAX), is_full: Cell::new(false) };
        let pod = Reader { keep: POD, room: &room }.deserialize(deserializer)?;
        Ok(if room.is_full.get() { Self::TooMuch } else { Self::Pod(pod) })
    }
}

/// A member's name; most are skipped and never copied.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// How many values may still be kept, and whether that was too few.
struct Room {
    left: Cell<usize>,
    is_full: Cell<bool>,
}

/// Reads one value, and counts it.
#[derive(Clone, Copy)]
struct Reader<'a> {
    keep: Keep,
    room: &'a Room,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(left) = self.room.left.get().checked_sub(1) else {
            self.room.is_full.set(true);
            return IgnoredAny::deserialize(deserializer).map(|_| Value::Null);
        };
        self.room.left.set(left);
        let Keep::Named(members) = self.keep else { return deserializer.deserialize_any(self) };
        // Its name may come last, and nearly always it is not one of ours.
        let text = <&RawValue>::deserialize(deserializer)?.get();
        let read = |keep| {
            Self { keep, ..self }.deserialize(&mut serde_json::Deserializer::from_str(text)).map_err(D::Error::custom)
        };
        let kept = read(Keep::Members(members))?;
        let is_reserved = kept.get("name").and_then(Value::as_str).is_some_and(|name| name.starts_with(RESERVED));
        if is_reserved { read(Keep::All) } else { Ok(kept) }
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(Name(name)) = map.next_key()? {
            let keep = match self.keep {
                Keep::Members(members) => members.iter().find(|(known, _)| *known == name).map(|(_, keep)| *keep),
                Keep::All | Keep::Named(_) | Keep::Each(_) => Some(Keep::All),
            };
            match keep {
                Some(keep) => drop(kept.insert(name.into_owned(), map.next_value_seed(Self { keep, ..self })?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Object(kept))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let keep = match self.keep {
            Keep::Each(keep) => *keep,
            Keep::All | Keep::Named(_) | Keep::Members(_) => Keep::All,
        };
        let mut kept = Vec::new();
        while let Some(item) = list.next_element_seed(Self { keep, ..self })? {
            kept.push(item);
        }
        Ok(Value::Array(kept))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}
