//! What is known of an object, where get, watch and write tell of it in an order that no server promises.

use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::id::Scope;

fn place(scope: &str) -> Place {
    Place::of(&Scope::parse(scope).unwrap())
}

fn is(version: u32) -> News {
    let json = format!(r#"{{"metadata": {{"uid": "u", "resourceVersion": "{version}"}}}}"#);
    News::Is(Arc::new(Object::parse(json.as_bytes()).unwrap()))
}

fn version(object: &InUse) -> Option<u64> {
    object.state().known.as_ref()?.object.as_ref().map(|object| object.version.order())
}

#[test]
fn n7_a_get_that_found_nothing_does_not_follow_what_was_heard_after_it_began() {
    let (clock, objects) = (Clock::manual(), Objects::new(10, 1 << 20));
    let object = objects.at(&place("poc"), clock.now());
    let began = clock.now();
    clock.advance(Duration::from_secs(1));
    assert!(object.learn(&objects, is(7), clock.now()));
    assert!(!object.learn(&objects, News::Missing, began));
    assert_eq!(version(&object), Some(7));
    assert!(object.learn(&objects, News::Missing, clock.now()), "one that began later does");
    assert!(!object.learn(&objects, is(8), clock.now()), "and what was gone does not come back");
    assert_eq!(version(&object), None);
}

#[test]
fn n8_places_that_nobody_watches_or_holds_are_let_go_of_at_the_cap() {
    let (clock, objects) = (Clock::manual(), Objects::new(1, 1 << 20));
    let watched = objects.at(&place("watched"), clock.now());
    assert!(objects.claim_watch(&watched));
    for number in 0..1000 {
        drop(objects.at(&place(&format!("env-{number}")), clock.now()));
    }
    assert!(objects.lock().len() <= 64, "{}", objects.lock().len());
    assert!(Arc::ptr_eq(&watched, &objects.at(&place("watched"), clock.now())));
}
