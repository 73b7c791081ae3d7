//! One module per promise. Test names begin with the acceptance case that they show.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
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
mod chart_seam;
mod conjur;
mod conjur_batches;
mod conjur_check;
mod conjur_docs;
mod conjur_double;
mod conjur_faults;
mod conjur_freshness;
mod conjur_login;
mod conjur_outages;
mod conjur_process;
mod conjur_recordings;
mod conjur_scopes;
mod conjur_statuses;
mod conjur_writers;
mod crash;
mod documents;
mod events;
mod exec;
mod exec_watch;
mod injector;
mod injector_certificates;
mod injector_process;
mod kubernetes_client;
mod kubernetes_secrets;
mod listener;
mod migration;
mod operations;
mod permissions;
mod process;
mod protocol;
mod rendered;
mod rendered_formats;
mod resources;
mod store;
mod upgrade;
mod upgrade_injector;
mod watches;
