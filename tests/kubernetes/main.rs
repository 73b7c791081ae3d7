//! What only a real API server can show. `tests/run cluster` finds or boots one and says where it is.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, and look at the real clock and the real environment"
)]

mod agent;
mod backend;
mod place;
mod pod;
