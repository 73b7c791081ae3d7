//! How many connections there may be, in all and from one address, so that no pod takes the API server's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections at one time.
const ALL_MAX: usize = 1024;

/// Connections from one address. An API server holds one or a few; several may stand behind one address.
const EACH_MAX: usize = 256;

/// Connections by address.
#[derive(Clone, Default)]
pub(super) struct Places(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    all: usize,
    each: HashMap<IpAddr, usize>,
}

/// Room for one connection; dropping it gives it back.
pub(super) struct Place {
    places: Places,
    address: IpAddr,
}

impl Places {
    /// Room for one more, unless there is none.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= ALL_MAX || taken.each.get(&address).is_some_and(|count| *count >= EACH_MAX) {
            return None;
        }
        taken.all += 1;
        *taken.each.entry(address).or_default() += 1;
        Some(Place { places: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        if let Some(count) = taken.each.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.each.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_take_what_others_need_and_what_is_given_back_is_free() {
        let places = Places::default();
        let (pod, server) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let held: Vec<Place> = std::iter::from_fn(|| places.take(pod)).collect();
        assert_eq!(held.len(), EACH_MAX);
        assert!(places.take(server).is_some());
        drop(held);
        assert!(places.take(pod).is_some());
        assert!(places.0.lock().unwrap().each.is_empty(), "nothing is remembered of who has gone");
    }
}
