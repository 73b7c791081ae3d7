//! Drives the production cache through interleavings.
