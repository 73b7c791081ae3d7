//! Why `exec` did not start its command. Names variables, never what is in them.

use std::fmt;

use nix::errno::Errno;

use super::super::error::{CliError, Exit};

/// More names than this are counted: a sentence is for reading.
const NAMES_MAX: usize = 20;

/// Why a command was not started.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ExecError {
    #[error("cannot resolve {names}")]
    Unresolved { names: Names, source: Box<CliError> },
    #[error("the value of {names} has a NUL in it, which no environment can hold")]
    Nul { names: Names },
    #[error("the command has a NUL in it")]
    NulInCommand,
    #[error("cannot find the command {command}")]
    NotFound { command: String },
    #[error("cannot run the command {command}")]
    NotExecutable { command: String, source: Errno },
    #[error("the environment and the arguments are {total} bytes, more than the kernel gives to a program{largest}")]
    TooLarge { total: usize, largest: Largest },
    #[error("cannot take over the signals")]
    Signals(#[source] Errno),
}

/// Names of variables, for a sentence.
#[derive(Debug)]
pub(in crate::cli) struct Names(pub(in crate::cli) Vec<String>);

/// The variables that are larger by themselves than the kernel takes.
#[derive(Debug)]
pub(in crate::cli) struct Largest(pub(in crate::cli) Option<Names>);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..NAMES_MAX).unwrap_or(&self.0);
        f.write_str(&shown.join(", "))?;
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl fmt::Display for Largest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(names) => write!(f, "; too large by itself is {names}"),
            None => Ok(()),
        }
    }
}

impl ExecError {
    /// 126 and 127 are what a shell gives a command that it cannot run or find.
    pub(in crate::cli) fn exit(&self) -> Exit {
        match self {
            Self::Unresolved { source, .. } => source.exit(),
            Self::NotFound { .. } => Exit::Command(127),
            Self::NotExecutable { .. } | Self::TooLarge { .. } | Self::NulInCommand => Exit::Command(126),
            Self::Nul { .. } | Self::Signals(_) => Exit::Failed,
        }
    }

    pub(in crate::cli) fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Unresolved { source, .. } => source.advice(),
            Self::Nul { .. } => Some("hand it over in a file, or store it encoded"),
            Self::NotFound { .. } => Some("give a path, or check PATH and the interpreter that a script names"),
            Self::TooLarge { .. } => Some(
                "one variable can have 128 KiB with its name, and all together a quarter of the stack's limit \
                 (`ulimit -s`); hand large values over in files",
            ),
            Self::NotExecutable { .. } => Some("check its permissions and what it was built for"),
            Self::NulInCommand | Self::Signals(_) => None,
        }
    }
}
