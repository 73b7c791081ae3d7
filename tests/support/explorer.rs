//! Drives the production cache through interleavings and holds each of them to N3 and N7.
//!
//! Why an explorer of its own and not loom or shuttle: every change of the cache's state is one critical section, so
//! what can go wrong goes wrong between polls, and between the moment at which a backend reads or writes and the moment
//! at which its answer arrives. Those are the steps here; loom would explore atomics instead, in a model of them.
//!
//! A schedule is the list of choices made at each step. Small scenarios are enumerated completely, depth first, by
//! running again from the start; large ones are sampled, each schedule counted once.

mod executor;
mod scenario;
mod world;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

pub use scenario::{Op, Scenario, scenarios};
use world::World;

/// How schedules are chosen.
#[derive(Clone, Copy, Debug)]
pub enum Search {
    /// All of them, in order, until there are this many.
    Exhaustive(usize),
    /// Drawn from this seed until this many distinct ones were run.
    Sampled {
        /// Start of the sequence.
        seed: u64,
        /// How many.
        schedules: usize,
    },
}

/// What a search did.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Distinct schedules that were run.
    pub schedules: usize,
    /// Whether there are no others.
    pub complete: bool,
    /// Steps of the longest.
    pub longest: usize,
}

/// Answers which of `count` alternatives is taken, and remembers.
struct Chooser<'a> {
    prefix: &'a [usize],
    random: Option<u64>,
    made: Vec<(usize, usize)>,
}

impl Chooser<'_> {
    fn choose(&mut self, count: usize) -> usize {
        let choice = match self.prefix.get(self.made.len()) {
            Some(choice) => *choice,
            None => self.random.as_mut().map_or(0, |state| {
                // xorshift64: any spread will do, and the schedule can be run again from its seed.
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                usize::try_from(*state % count as u64).unwrap_or_default()
            }),
        };
        self.made.push((choice, count));
        choice
    }
}

/// Runs schedules of `scenario`; the first one that breaks a rule is the panic's message.
pub fn explore(scenario: &Scenario, search: Search) -> Report {
    match search {
        Search::Exhaustive(most) => enumerate(scenario, most),
        Search::Sampled { seed, schedules } => sample(scenario, seed, schedules),
    }
}

fn enumerate(scenario: &Scenario, most: usize) -> Report {
    let mut report = Report { schedules: 0, complete: false, longest: 0 };
    let mut prefix = Vec::new();
    while report.schedules < most {
        let made = run(scenario, Chooser { prefix: &prefix, random: None, made: Vec::new() });
        report.schedules += 1;
        report.longest = report.longest.max(made.len());
        // The last step that had another alternative takes it; everything after it begins anew.
        let Some(last) = made.iter().rposition(|(choice, count)| choice + 1 < *count) else {
            report.complete = true;
            break;
        };
        prefix = made.iter().take(last + 1).map(|(choice, _)| *choice).collect();
        if let Some(choice) = prefix.last_mut() {
            *choice += 1;
        }
    }
    report
}

fn sample(scenario: &Scenario, seed: u64, schedules: usize) -> Report {
    let mut report = Report { schedules: 0, complete: false, longest: 0 };
    let mut distinct = HashSet::new();
    let mut draws: u64 = 0;
    // A scenario may have fewer schedules than were asked for.
    while report.schedules < schedules && draws < 4 * schedules as u64 + 100 {
        draws += 1;
        let random = Some((seed + draws).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let made = run(scenario, Chooser { prefix: &[], random, made: Vec::new() });
        let mut hasher = DefaultHasher::new();
        made.hash(&mut hasher);
        if distinct.insert(hasher.finish()) {
            report.schedules += 1;
            report.longest = report.longest.max(made.len());
        }
    }
    report
}

/// One schedule from beginning to end; its choices.
fn run(scenario: &Scenario, mut chooser: Chooser<'_>) -> Vec<(usize, usize)> {
    let mut world = World::new(scenario);
    let mut trace = Vec::new();
    loop {
        let steps = world.steps();
        if steps.is_empty() {
            break;
        }
        let step = steps[chooser.choose(steps.len())];
        trace.push(step);
        world.take(step);
        if let Some(broken) = world.broken() {
            panic!("{}: {broken}\nafter {trace:#?}", scenario.name);
        }
    }
    if let Some(broken) = world.unfinished() {
        panic!("{}: {broken}\nafter {trace:#?}", scenario.name);
    }
    chooser.made
}
