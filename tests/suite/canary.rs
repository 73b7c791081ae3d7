//! X5: no value in any sink.
