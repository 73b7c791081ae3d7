//! Configuration: one file, checked as a whole, every problem reported in one run (N1).
