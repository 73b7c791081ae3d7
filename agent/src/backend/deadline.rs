//! Deadlines around another backend.
