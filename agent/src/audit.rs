//! The audit record: written before effect and before answer (N6).
