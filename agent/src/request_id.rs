//! Request ids: ours, unique in one process and across restarts, never the caller's.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

/// `X-Request-Id`: 16 hex digits that name this process, 8 that count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 24]);

/// Makes the ids of one process.
pub struct RequestIds {
    process: [u8; 16],
    next: AtomicU64,
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl RequestIds {
    /// A new process part from the system's CSPRNG.
    ///
    /// # Errors
    /// The kernel's random source failed.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random)?;
        Ok(Self { process: hex(u64::from_le_bytes(random)), next: AtomicU64::new(1) })
    }

    /// The next id.
    #[must_use]
    pub fn next(&self) -> RequestId {
        let count = hex(self.next.fetch_add(1, Ordering::Relaxed));
        let mut id = [0_u8; 24];
        let (process, counter) = id.split_at_mut(16);
        process.copy_from_slice(&self.process);
        counter.copy_from_slice(count.split_at(8).1);
        RequestId(id)
    }
}

impl RequestId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The text's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The header.
    #[must_use]
    pub fn to_header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or(HeaderValue::from_static("invalid"))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn hex(number: u64) -> [u8; 16] {
    let mut text = [0_u8; 16];
    for (index, digit) in text.iter_mut().enumerate() {
        let shift = 60 - 4 * index;
        *digit = HEX[usize::try_from(number >> shift & 0xf).unwrap_or_default()];
    }
    text
}
