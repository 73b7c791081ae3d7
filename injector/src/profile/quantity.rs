//! Amounts of CPU and memory, in the form that the API server writes them in: then what comes back is what was sent.

use std::fmt;

/// CPU in thousandths: `5m`, `2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cpu(u64);

/// Memory in bytes, written with a binary unit: `16Mi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Memory(u64);

impl Cpu {
    pub(super) const fn millis(millis: u64) -> Self {
        Self(millis)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let millis = match text.strip_suffix('m') {
            Some(number) => digits(number)?,
            None => digits(text)?.checked_mul(1000)?,
        };
        (millis > 0).then_some(Self(millis))
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            millis if millis % 1000 == 0 => write!(f, "{}", millis / 1000),
            millis => write!(f, "{millis}m"),
        }
    }
}

impl Memory {
    pub(super) const fn mebibytes(number: u64) -> Self {
        Self(number << 20)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (number, shift) = [("Ki", 10), ("Mi", 20), ("Gi", 30)]
            .into_iter()
            .find_map(|(unit, shift)| text.strip_suffix(unit).map(|number| (number, shift)))?;
        let bytes = digits(number)?.checked_mul(1 << shift)?;
        (bytes > 0).then_some(Self(bytes))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, shift) = match self.0.trailing_zeros() {
            30.. => ("Gi", 30),
            20..30 => ("Mi", 20),
            _ => ("Ki", 10),
        };
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

/// At most six digits: no sum or product of such numbers overflows.
fn digits(text: &str) -> Option<u64> {
    let plain = (1..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}
