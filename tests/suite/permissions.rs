//! I1, I2, I6: who may do what.
