//! The embedded store: its files, its seals, its crashes.
