//! The API socket: bound so that nobody else can take its place or connect before its mode is set.
