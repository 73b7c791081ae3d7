//! The Cloakroom agent: hand a value in, keep the placeholder, resolve it just in time.
//!
//! ```text
//! accept ── peer credentials ── HTTP limits ── route ── parse id ── authorise → Permit ── audit "attempt"
//!         ── cache ── coalesced backend call ── audit "outcome" ── answer
//! ```

pub mod access;
pub mod admin;
pub mod api;
pub mod audit;
pub mod backend;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod config;
pub mod conjur;
pub mod diagnosis;
pub mod document;
pub mod hardening;
pub mod id;
pub mod identity;
pub mod jitter;
mod json;
pub mod kubernetes;
pub mod lease;
pub mod listener;
pub mod metrics;
pub mod operations;
pub mod peer;
pub mod render;
pub mod request_id;
pub mod run;
pub mod secret;
pub mod server;
pub mod shutdown;
pub mod slots;
pub mod telemetry;
mod trust;
