//! Signals: the first drains, the second ends at once.
