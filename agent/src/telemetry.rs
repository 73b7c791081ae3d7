//! Logs: to stderr, bounded, never a value.
