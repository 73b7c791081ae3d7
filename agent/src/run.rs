//! Wires the parts into a running agent.
