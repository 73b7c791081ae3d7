//! N6: recorded before effect and before answer.
