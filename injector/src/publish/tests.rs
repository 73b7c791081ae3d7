//! Sightings and readiness with moved time.

use std::time::Duration;

use cloakroom_agent::clock::Clock;
use jiff::{Timestamp, ToSpan as _};

use super::Publication;
use super::entries::Mark;
use super::sightings::Sightings;

const ONE: [u8; 32] = [1; 32];
const TWO: [u8; 32] = [2; 32];

#[test]
fn c1_an_authority_is_confirmed_after_a_minute_in_every_entry_without_a_gap() {
    let clock = Clock::manual();
    let mut sightings = Sightings::new(clock.clone());
    let pass = |seconds| clock.advance(Duration::from_secs(seconds));
    assert!(!sightings.confirm(Some(ONE), false));
    pass(600);
    assert!(!sightings.confirm(Some(ONE), true), "the minute begins when it is read back");
    pass(59);
    assert!(!sightings.confirm(Some(ONE), true));
    pass(1);
    assert!(sightings.confirm(Some(ONE), true));
    assert!(!sightings.confirm(Some(ONE), false), "it was taken out of an entry");
    assert!(!sightings.confirm(Some(ONE), true));
    pass(60);
    assert!(!sightings.confirm(Some(TWO), true), "another one's minute is its own");
    assert!(!sightings.confirm(None, false));
}

#[test]
fn c4_repairs_are_a_minute_apart_whoever_made_the_last_one() {
    let (clock, wall) = (Clock::manual(), Timestamp::from_second(1_800_000_000).unwrap());
    let mut sightings = Sightings::new(clock.clone());
    let mark = |repaired| Mark { digest: "ab".into(), repaired };
    assert!(!sightings.is_repair("ab", None), "what was never there is published, not repaired");
    assert!(sightings.is_repair("ab", Some(&mark(None))), "another replica has published it");
    assert!(!sightings.is_repair("cd", Some(&mark(None))));
    sightings.complete("ab");
    assert!(sightings.is_repair("ab", None), "whoever took the bundle away took the mark too");

    assert!(sightings.may_repair(None, wall));
    sightings.repaired();
    assert!(!sightings.may_repair(None, wall));
    clock.advance(Duration::from_mins(1));
    assert!(sightings.may_repair(None, wall));
    assert!(!sightings.may_repair(Some(&mark(Some(wall - 59.seconds()))), wall));
    assert!(sightings.may_repair(Some(&mark(Some(wall - 60.seconds()))), wall));
    assert!(sightings.may_repair(Some(&mark(Some(wall + 3600.seconds()))), wall), "a time to come is nobody's");
}

#[test]
fn a_bundle_that_is_missing_for_a_moment_does_not_take_every_replica_away() {
    let clock = Clock::manual();
    let publication = Publication::new(clock.clone());
    publication.saw(false);
    assert!(!publication.is_good(), "nobody trusts us yet");
    publication.saw(true);
    assert!(publication.is_good());
    publication.saw(false);
    clock.advance(Duration::from_secs(30));
    publication.saw(false);
    assert!(publication.is_good());
    clock.advance(Duration::from_secs(1));
    assert!(!publication.is_good());
    publication.saw(true);
    assert!(publication.is_good());
}
