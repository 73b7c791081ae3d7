//! Pods in all shapes: golden ones, made up ones, and those that a fuzzer starts from.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed fixture is a failed test")]

#[path = "../fuzz/checks.rs"]
mod checks;
#[path = "shapes/corpora.rs"]
mod corpora;
#[path = "shapes/golden.rs"]
mod golden;
#[path = "shapes/properties.rs"]
mod properties;
#[path = "shapes/schema.rs"]
mod schema;
