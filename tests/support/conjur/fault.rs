//! What a test lets go wrong: data about which calls, how often, and in which way.

use std::sync::Mutex;
use std::time::Duration;

use super::log::{Kind, Side};
use super::request::Asked;

/// A way to fail. Nothing of it depends on what the call asks, unless it says so.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Another answer.
    Status {
        /// The status.
        code: u16,
        /// The type of the body, if it has one.
        content_type: Option<String>,
        /// More headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// The connection is reset.
    Reset,
    /// The whole address does not listen, whatever is asked there, until the fault is cleared.
    Refuse,
    /// New connections are accepted and then ignored, whatever is asked there.
    TlsStall,
    /// The true answer at so many bytes in a second, made longer with spaces if it is short.
    SlowBody(u64),
    /// The true answer is announced longer than it is, and the connection closes early.
    Truncated,
    /// A 200 without an end in sight.
    Huge {
        /// So many bytes.
        bytes: u64,
        /// Whether `Content-Length` says so.
        declared: bool,
    },
    /// A 200 with a page for people, as a captive portal gives.
    Html,
    /// A small body that says it is gzip and unpacks to a quarter of a gigabyte.
    GzipBomb,
    /// A 302 to another place.
    Redirect(String),
    /// No answer, ever.
    Hang,
    /// The connection ends without an answer and nothing was done.
    StopBeforeEffect,
    /// What was asked is done, and the connection ends without an answer.
    StopAfterEffect,
    /// Everything is done and answered, later.
    Delay(Duration),
}

impl Fault {
    /// An answer of this status with an empty body.
    pub fn status(code: u16) -> Self {
        Self::Status { code, content_type: Some("text/html".to_owned()), headers: Vec::new(), body: Vec::new() }
    }

    /// A 429 or 503 that says how many seconds to stay away.
    pub fn later(code: u16, seconds: u64) -> Self {
        let headers = vec![("Retry-After".to_owned(), seconds.to_string())];
        Self::Status { code, content_type: Some("text/html".to_owned()), headers, body: Vec::new() }
    }

    /// An answer with a JSON body.
    pub fn json(code: u16, body: &str) -> Self {
        let content_type = Some("application/json; charset=utf-8".to_owned());
        Self::Status { code, content_type, headers: Vec::new(), body: body.as_bytes().to_vec() }
    }

    fn at_the_door(&self) -> bool {
        matches!(self, Self::Refuse | Self::TlsStall)
    }
}

/// Which calls are meant. A [`Kind`] alone means all calls of that kind.
#[derive(Clone, Default, Debug)]
pub struct When {
    kind: Option<Kind>,
    side: Option<Side>,
    method: Option<String>,
    path: Option<String>,
    times: Option<usize>,
}

impl When {
    /// Any call.
    pub fn any() -> Self {
        Self::default()
    }

    /// Only calls to this address.
    #[must_use]
    pub fn on(mut self, side: Side) -> Self {
        self.side = Some(side);
        self
    }

    /// Only calls with this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only calls whose target, as it is sent, contains this.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        self.path = Some(part.to_owned());
        self
    }

    /// Only the first so many.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    pub(super) fn matches(&self, asked: &Asked) -> bool {
        self.kind.is_none_or(|kind| kind == asked.kind())
            && self.side.is_none_or(|side| side == asked.side)
            && self.method.as_deref().is_none_or(|method| method == asked.method.as_str())
            && self.path.as_deref().is_none_or(|part| asked.target().contains(part))
    }
}

impl From<Kind> for When {
    fn from(kind: Kind) -> Self {
        Self { kind: Some(kind), ..Self::default() }
    }
}

#[derive(Default)]
pub(super) struct Faults {
    armed: Mutex<Vec<(When, Fault)>>,
}

impl Faults {
    pub(super) fn arm(&self, when: When, fault: Fault) {
        self.armed.lock().unwrap().push((when, fault));
    }

    pub(super) fn clear(&self) {
        self.armed.lock().unwrap().clear();
    }

    /// What happens to this call; counted.
    pub(super) fn take(&self, asked: &Asked) -> Option<Fault> {
        self.first(|when, fault| !fault.at_the_door() && when.matches(asked))
    }

    /// Whether a new connection to this side is left to itself; counted.
    pub(super) fn stalls(&self, side: Side) -> bool {
        let ours = |when: &When| when.side.is_none_or(|meant| meant == side);
        self.first(|when, fault| matches!(fault, Fault::TlsStall) && ours(when)).is_some()
    }

    /// Whether the next new connection to this side would be.
    pub(super) fn would_stall(&self, side: Side) -> bool {
        self.stalling(side).any(|left| left != Some(0))
    }

    /// Whether connections of this side may have been.
    pub(super) fn ever_stalled(&self, side: Side) -> bool {
        self.stalling(side).next().is_some()
    }

    fn stalling(&self, side: Side) -> impl Iterator<Item = Option<usize>> {
        let armed = self.armed.lock().unwrap();
        let ours = armed
            .iter()
            .filter(|(when, fault)| matches!(fault, Fault::TlsStall) && when.side.is_none_or(|meant| meant == side));
        ours.map(|(when, _)| when.times).collect::<Vec<_>>().into_iter()
    }

    pub(super) fn refuses(&self, side: Side) -> bool {
        let armed = self.armed.lock().unwrap();
        armed.iter().any(|(when, fault)| matches!(fault, Fault::Refuse) && when.side.is_none_or(|meant| meant == side))
    }

    fn first(&self, meant: impl Fn(&When, &Fault) -> bool) -> Option<Fault> {
        let mut armed = self.armed.lock().unwrap();
        let (when, fault) = armed.iter_mut().find(|(when, fault)| when.times != Some(0) && meant(when, fault))?;
        when.times = when.times.map(|left| left - 1);
        Some(fault.clone())
    }
}
