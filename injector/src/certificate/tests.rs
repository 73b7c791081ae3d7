//! The life of certificates with moved time, and states that were damaged in every way that matters.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;

use super::files::{Pair, PairError};
use super::issue::{everything, next_authority, next_leaf};
use super::plan::{Outline, Published, Step, plan};
use super::serving::Serving;
use super::state::{Fault, Key, State};
use super::{Lifetimes, Validity, service_names};

const DAY: i64 = 24 * 3600;
const NOW: i64 = 1_800_000_000;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn names() -> Vec<String> {
    service_names("injector", "cloakroom")
}

fn fresh() -> State {
    everything(&names(), NOW, Lifetimes::default()).unwrap()
}

fn outline(state: State) -> Result<Outline, Fault> {
    state.check(&names(), &provider()).map(|checked| Outline::of(&checked))
}

fn step(state: &State, now: i64, published: Published, confirmed: bool) -> Step {
    plan(outline(state.clone()), now, published, confirmed, Lifetimes::default())
}

fn promoted(mut state: State) -> State {
    state.leaf = state.next.take().unwrap();
    state
}

#[test]
fn what_is_made_can_be_served_under_both_names_and_read_back() {
    let state = State::parse(&fresh().text()).unwrap();
    let checked = state.check(&names(), &provider()).unwrap_or_else(|fault| panic!("{fault}"));
    assert!(checked.leaf.validity.lasts(NOW) && checked.authorities[0].issues && checked.next.is_none());
    assert_eq!(checked.leaf.authority, checked.authorities[0].digest);
    assert!(!checked.leaf.validity.lasts(NOW + 14 * DAY), "no longer than was asked");
}

#[test]
fn c2_a_state_whose_parts_do_not_fit_is_no_state() {
    let fault = |change: &dyn Fn(&mut State)| {
        let mut state = fresh();
        change(&mut state);
        outline(state).unwrap_err()
    };
    let other = fresh();
    assert_eq!(State::parse(b"").err(), Some(Fault::Unreadable));
    assert_eq!(State::parse(b"{\"authorities\":[]}").err(), Some(Fault::Unreadable));
    assert_eq!(State::parse(&vec![b' '; 1 << 20]).err(), Some(Fault::Unreadable));
    assert_eq!(fault(&|state| state.authorities.clear()), Fault::Stranger);
    assert_eq!(fault(&|state| state.authorities[0].certificate = "-".into()), Fault::Unreadable);
    assert_eq!(
        fault(&|state| state.authorities[0].certificate = state.leaf.certificate.clone()),
        Fault::NotAnAuthority
    );
    assert_eq!(fault(&|state| state.authorities[0].key.clone_from(&other.authorities[0].key)), Fault::KeyMismatch);
    assert_eq!(fault(&|state| state.leaf.key = Key::new("-".into())), Fault::Unreadable);
    assert_eq!(fault(&|state| state.leaf.key = other.leaf.key.clone()), Fault::KeyMismatch);
    assert_eq!(fault(&|state| state.leaf = other.leaf.clone()), Fault::Stranger);
    let elsewhere = fresh().check(&service_names("injector", "other"), &provider());
    assert_eq!(elsewhere.err(), Some(Fault::Stranger), "a leaf for another service");
}

#[test]
fn c1_a_leaf_is_replaced_with_a_third_of_its_life_left_and_served_only_once_it_is_confirmed() {
    let state = fresh();
    let due = NOW + 14 * DAY * 2 / 3;
    assert_eq!(step(&state, NOW, Published::Differs, false), Step::Publish);
    assert_eq!(step(&state, NOW, Published::Complete, true), Step::Rest);
    assert_eq!(step(&state, due - 1, Published::Complete, true), Step::Rest);
    assert_eq!(step(&state, due, Published::Complete, true), Step::MakeLeaf);

    let state = next_leaf(state, &names(), due, Lifetimes::default()).unwrap();
    assert_eq!(state.authorities.len(), 1);
    assert_eq!(step(&state, due + 10, Published::Complete, false), Step::Rest, "not before it is confirmed");
    assert_eq!(step(&state, due + 60, Published::DiffersForNow, true), Step::Rest, "not while entries differ");
    assert_eq!(step(&state, due + 70, Published::Complete, true), Step::Promote);
    let state = promoted(state);
    assert_eq!(step(&state, due + 80, Published::Complete, true), Step::Rest);
}

#[test]
fn c1_an_authority_is_replaced_with_overlap_and_forgotten_when_its_last_leaf_has_ended() {
    let due = NOW + 365 * DAY * 2 / 3;
    let mut state = fresh();
    // The leaves until then.
    let mut now = NOW;
    while now < due {
        now += 9 * DAY + DAY / 2;
        state = promoted(next_leaf(state, &names(), now, Lifetimes::default()).unwrap());
    }
    assert_eq!(step(&state, now, Published::Complete, true), Step::MakeAuthority);
    let old = state.bundle();
    let old_leaf = state.leaf.certificate.clone();
    let state = next_authority(state, &names(), now, Lifetimes::default()).unwrap();
    assert!(state.bundle().starts_with(&old) && state.bundle().len() > old.len(), "both are published");
    assert_eq!(state.leaf.certificate, old_leaf, "the old leaf is served meanwhile");
    assert!(state.authorities[0].key.is_none(), "the old one does not issue any more");
    assert_eq!(step(&state, now, Published::Differs, false), Step::Publish);
    assert_eq!(step(&state, now + 30, Published::Complete, false), Step::Rest);
    assert_eq!(step(&state, now + 70, Published::Complete, true), Step::Promote);

    let state = promoted(state);
    let ends = state.authorities[0].leaves_until;
    assert_eq!(ends, now + 14 * DAY);
    // Its own first leaf is due before the old authority's last one has ended.
    let renewed = now + 10 * DAY;
    assert_eq!(step(&state, renewed, Published::Complete, true), Step::MakeLeaf);
    let state = promoted(next_leaf(state, &names(), renewed, Lifetimes::default()).unwrap());
    assert_eq!(step(&state, ends - 1, Published::Complete, true), Step::Rest, "it may still be served somewhere");
    assert_eq!(step(&state, ends, Published::Complete, true), Step::Forget);
}

#[test]
fn n15_while_one_authority_waits_to_become_known_no_other_is_made() {
    let waiting = outline(next_leaf(fresh(), &names(), NOW, Lifetimes::default()).unwrap()).unwrap();
    let waiting = Outline { issues: false, ..waiting };
    let next = |outline, confirmed| plan(Ok(outline), NOW + 30, Published::Complete, confirmed, Lifetimes::default());
    assert_eq!(next(waiting, false), Step::Rest);
    assert_eq!(next(waiting, true), Step::Promote);
    assert_eq!(next(Outline { next: None, ..waiting }, false), Step::MakeAuthority);
}

#[test]
fn n15_a_clock_that_was_asleep_or_set_finds_everything_that_is_due() {
    let state = fresh();
    assert_eq!(step(&state, NOW + 14 * DAY, Published::Complete, true), Step::Begin(Fault::Expired));
    assert_eq!(step(&state, NOW - 9 * 3600, Published::Complete, true), Step::Rest, "a clock that is behind");
    let waiting = next_leaf(state, &names(), NOW + 13 * DAY, Lifetimes::default()).unwrap();
    assert_eq!(step(&waiting, NOW + 14 * DAY, Published::Differs, false), Step::Promote, "better than an ended one");
    assert_eq!(step(&waiting, NOW + 40 * DAY, Published::Complete, true), Step::Begin(Fault::Expired));
}

#[test]
fn c2_what_was_taken_away_goes_on_being_served_while_a_new_authority_takes_over() {
    let state = fresh().retired();
    assert!(outline(state.clone()).is_ok_and(|outline| !outline.issues));
    assert_eq!(step(&state, NOW, Published::Complete, false), Step::MakeAuthority);
    let state = next_authority(state, &names(), NOW, Lifetimes::default()).unwrap();
    assert_eq!(step(&state, NOW, Published::Differs, false), Step::Publish);
    assert_eq!(step(&promoted(state), NOW + 70, Published::Complete, true), Step::Rest);
}

#[test]
fn c2_half_written_files_leave_the_last_good_pair_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let serving = Serving::default();
    let mut pair = Pair::new(directory.path().to_owned(), provider());
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    assert!(matches!(pair.look(&serving, NOW), Err(PairError::Read { .. })));
    let (first, second) = (fresh().leaf, fresh().leaf);
    write("tls.crt", &first.certificate);
    write("tls.key", first.key.pem());
    assert!(pair.look(&serving, NOW).unwrap());
    assert!(!pair.look(&serving, NOW).unwrap(), "nothing has changed");
    let served = serving.validity();

    write("tls.crt", &second.certificate);
    assert!(matches!(pair.look(&serving, NOW), Err(PairError::Mismatch)));
    assert!(!pair.look(&serving, NOW).unwrap(), "told once");
    write("tls.key", "");
    assert!(matches!(pair.look(&serving, NOW), Err(PairError::Pem { .. })));
    assert_eq!(serving.validity(), served);
    write("tls.key", second.key.pem());
    assert!(matches!(pair.look(&serving, NOW + 20 * DAY), Err(PairError::Expired)));
    write("tls.key", &format!("{}\n", second.key.pem()));
    assert!(pair.look(&serving, NOW).unwrap());
}

#[test]
fn an_authority_outlives_all_leaves_that_it_makes() {
    let validity = Validity { from: 10, until: 20 };
    assert!(validity.lasts(9) && validity.lasts(19) && !validity.lasts(20));
    assert!(Lifetimes::default().leaf * 4 < Lifetimes::default().authority);
    assert!(Lifetimes::default().leaf > Duration::from_hours(24));
}
