//! U1 and U2: fixtures of earlier versions.
