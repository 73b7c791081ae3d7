//! What the process does to itself before it holds a secret: no core, not dumpable.
