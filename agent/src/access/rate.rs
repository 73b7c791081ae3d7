//! Token buckets per subject: writes and cache misses.
