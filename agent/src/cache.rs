//! The cache: freshness and ordering of what was read (N3, N7).
