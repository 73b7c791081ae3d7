//! In which way a pod gets its secrets.

use super::Denial;
use super::key::Key;

/// The ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// An agent beside the containers for as long as they run.
    Sidecar,
    /// Files are written once, before the containers start.
    Init,
    /// As [`Mode::Sidecar`], and containers are started by the agent's program, which resolves their environment.
    Exec,
}

impl Mode {
    pub(super) fn parse(text: &str) -> Result<Self, Denial> {
        match text {
            "sidecar" => Ok(Self::Sidecar),
            "init" => Ok(Self::Init),
            "exec" => Ok(Self::Exec),
            _ => Err(Denial::Value { key: Key::Mode, must: "sidecar, init or exec" }),
        }
    }

    /// Whether there is an agent while the containers run.
    pub(super) fn stays(self) -> bool {
        self != Self::Init
    }
}
