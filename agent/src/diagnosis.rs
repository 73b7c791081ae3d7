//! What was found by asking a backend, in sentences for whoever sets it up: facts, remarks, and what is missing.

/// How good or bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it must be.
    Fine,
    /// Worth knowing; whether it matters depends on what the agent is for.
    Note,
    /// It is wrong, and trying again does not help.
    Wrong,
    /// Who we are, or what we may, does not suffice.
    Denied,
    /// It cannot be asked now.
    Unavailable,
}

impl Verdict {
    /// The name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Note => "note",
            Self::Wrong => "wrong",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
        }
    }

    /// Whether the agent cannot work so.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Wrong | Self::Denied | Self::Unavailable)
    }
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is a good one.
    pub verdict: Verdict,
    /// What it is, and what to do about it. Holds no credential and no value.
    pub sentence: String,
}

/// Everything that was found, in the order in which it was asked.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// One more.
    pub fn add(&mut self, verdict: Verdict, sentence: impl Into<String>) {
        self.0.push(Finding { verdict, sentence: sentence.into() });
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Finding] {
        &self.0
    }

    /// What failed last: it is what everything before it has led to.
    #[must_use]
    pub fn failure(&self) -> Option<Verdict> {
        self.0.iter().rev().map(|finding| finding.verdict).find(|verdict| verdict.is_failure())
    }
}

/// What somebody else wrote, short and without anything that steers a terminal.
#[must_use]
pub fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 120;
    let mut shown: String = text.chars().take(CHARS_MAX).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// An error and its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_last_decides_and_remarks_do_not() {
        let mut findings = Findings::default();
        findings.add(Verdict::Fine, "a");
        findings.add(Verdict::Note, "b");
        assert_eq!(findings.failure(), None);
        findings.add(Verdict::Wrong, "c");
        findings.add(Verdict::Denied, "d");
        findings.add(Verdict::Note, "e");
        assert_eq!(findings.failure(), Some(Verdict::Denied));
    }

    #[test]
    fn what_others_wrote_is_short_and_steers_nothing() {
        assert_eq!(shown("a\u{1b}[2Jb"), "a?[2Jb");
        assert_eq!(shown(&"x".repeat(500)).chars().count(), 121);
    }
}
