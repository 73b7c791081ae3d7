//! x
mod cache;
