//! The grants file.
