//! The Cloakroom injector: a mutating admission webhook that puts the agent into pods.
//!
//! ```text
//! accept ── TLS ── path → entry ── body in bounds ── AdmissionReview ── inject(pod, request, settings) ── answer
//! ```
//!
//! What is beside that path – certificates, the count of pods – is asked by nobody on it: a review makes no call and
//! changes nothing.

pub mod certificate;
pub mod check;
pub mod cli;
pub mod inject;
pub mod metrics;
pub mod profile;
pub mod publish;
pub mod readiness;
pub mod review;
pub mod run;
pub mod server;
pub mod settings_file;
pub mod watch;
