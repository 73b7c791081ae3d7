//! The embedded backend: conformance, size, concurrency, sealing.
