//! One module per promise. Test names begin with the acceptance case that they show.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::format_push_string,
    clippy::format_collect,
    clippy::unnecessary_wraps,
    reason = "a suite fails by panicking, and looks at the real clock and the real environment"
)]

mod api;
mod audit;
mod cache;
mod canary;
mod crash;
mod listener;
mod operations;
mod permissions;
mod process;
mod protocol;
mod resources;
mod store;
mod upgrade;
