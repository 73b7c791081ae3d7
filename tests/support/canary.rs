//! The canary sweep: planted values, every encoding of them, every sink.
