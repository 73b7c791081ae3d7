//! The chart as a user installs it, by Helm on a real node, with the images of a release: pods that get their agent.
//! `tests/run cluster` boots the node and hands it the images.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, print what they counted, and look at the real clock and the real environment"
)]

mod availability;
mod check;
mod conjur;
mod examples;
mod files;
mod life;
mod pods;
mod process;
mod readme;
mod release;
mod upgrade;
