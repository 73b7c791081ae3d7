//! X2, X4: panics, signals, hardening.
