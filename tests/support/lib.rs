//! What the suites share: fakes with call logs, an agent under test, a client that trusts nothing.

pub mod agent;
pub mod backend;
pub mod canary;
pub mod conformance;
pub mod explorer;
pub mod wire;
