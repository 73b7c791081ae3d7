//! The embedded store: one sealed file.
