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
pub mod api_server;
pub mod backend;
pub mod balancer;
pub mod canary;
pub mod chart;
pub mod cluster;
pub mod conformance;
pub mod conjur;
pub mod conjur_agent;
pub mod events;
pub mod exec;
pub mod explorer;
pub mod https;
pub mod injector;
pub mod injector_objects;
pub mod kubernetes;
pub mod pods;
pub mod replica;
pub mod wire;
