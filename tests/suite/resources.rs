//! R1 to R5: floods, caps, memory.
