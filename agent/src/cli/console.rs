//! The three standard streams as one value, so that commands never name them and tests can replace them.

use std::io::{self, IsTerminal as _, Read, Write};

/// Where a command reads and writes.
pub struct Console {
    /// What `-` reads.
    pub input: Box<dyn Read>,
    /// Answers, and nothing else: scripts read it.
    pub output: Box<dyn Write>,
    /// Everything that is no answer.
    pub errors: Box<dyn Write>,
    /// Whether a person reads `output`.
    pub terminal: bool,
}

impl Console {
    /// The process's own streams.
    pub fn standard() -> Self {
        Self {
            input: Box::new(io::stdin()),
            terminal: io::stdout().is_terminal(),
            output: Box::new(io::stdout()),
            errors: Box::new(io::stderr()),
        }
    }

    /// Writes one line to the output.
    pub(super) fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.output, "{}", text.as_ref())
    }

    /// Writes one line that only a person wants to see.
    pub(super) fn remark(&mut self, text: &str) -> io::Result<()> {
        if self.terminal { self.line(text) } else { Ok(()) }
    }
}

/// The text without control characters: what another process answered must not steer the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
