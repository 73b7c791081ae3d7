//! The command line of `cloakroom`.
