//! What the suites share: fakes with call logs, an agent under test, a client that trusts nothing.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::format_push_string,
    clippy::format_collect,
    reason = "what tests share fails by panicking, says what it leaves out, and looks at the real clock and the real environment"
)]

pub mod agent;
pub mod backend;
pub mod canary;
pub mod cluster;
pub mod conformance;
pub mod explorer;
pub mod https;
pub mod wire;
