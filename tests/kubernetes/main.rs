//! What only a real API server can show. `tests/run cluster` finds or boots one and says where it is.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, print what they counted, and look at the real clock and the real environment"
)]

mod admission;
mod agent;
mod backend;
mod compat;
mod contains;
mod freshness;
mod injection;
mod injector_certificates;
mod injector_golden;
mod injector_load;
mod injector_outages;
mod injector_standards;
mod leases;
mod load;
mod merges;
mod place;
mod pod;
mod rights;
