//! What the clients of a schedule do.

/// One thing that a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Reads one entry of the map slot.
    Get,
    /// Reads it with a checksum that never matches.
    GetDoubting,
    /// Reads the whole map slot.
    GetWhole,
    /// Reads the scalar slot that takes previous values.
    GetPrevious,
    /// Reads both scalar slots in one batch.
    GetBoth,
    /// Reads one entry without holding the right.
    GetDenied,
    /// Writes the entry.
    Put,
    /// Writes another entry of the same map slot.
    PutBeside,
    /// Writes the entry and another one together.
    PutTogether,
    /// Writes the scalar slot and keeps the old value in the other.
    Rotate,
    /// Deletes the entry.
    Delete,
    /// Onboards the scope.
    Onboard,
    /// Deletes the scope.
    Offboard,
}

/// Clients side by side, each doing one thing after the other.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// For reports.
    pub name: &'static str,
    /// The clients.
    pub clients: Vec<Vec<Op>>,
    /// How many calls to the backend may fail.
    pub failures: usize,
    /// How often time may move, by a little more than half the time to live.
    pub ticks: usize,
    /// How many clients that only read may go away in the middle.
    pub leavers: usize,
    /// Whether values may be served past their time when the backend is unavailable.
    pub stale_if_error: bool,
}

impl Scenario {
    fn new(name: &'static str, clients: &[&[Op]]) -> Self {
        let clients = clients.iter().map(|ops| ops.to_vec()).collect();
        Self { name, clients, failures: 0, ticks: 0, leavers: 0, stale_if_error: false }
    }

    fn failing(self, failures: usize) -> Self {
        Self { failures, ..self }
    }

    fn ticking(self, ticks: usize) -> Self {
        Self { ticks, ..self }
    }

    fn leaving(self, leavers: usize) -> Self {
        Self { leavers, ..self }
    }

    fn stale(self) -> Self {
        Self { stale_if_error: true, ..self }
    }
}

/// Small ones, to be enumerated, and large ones, to be sampled.
pub fn scenarios() -> (Vec<Scenario>, Vec<Scenario>) {
    use Op::{
        Delete, Get, GetBoth, GetDenied, GetDoubting, GetPrevious, GetWhole, Offboard, Onboard, Put, PutBeside,
        PutTogether, Rotate,
    };
    let small = vec![
        Scenario::new("a read beside a write", &[&[Get], &[Put, Get]]).failing(1),
        Scenario::new("a read beside a write of several", &[&[Get], &[PutTogether, Get]]).failing(1),
        Scenario::new("a read beside a delete", &[&[Get], &[Delete, Get]]).failing(1),
        Scenario::new("two readers of one flight, one leaves", &[&[Get], &[Get]]).leaving(1).failing(1),
        Scenario::new("a denied reader beside an allowed one", &[&[Get], &[GetDenied]]),
        Scenario::new("expiry and refresh", &[&[Get, Get, Get]]).ticking(2).failing(1).stale(),
        Scenario::new("a doubting reader", &[&[Get, GetDoubting, GetDoubting]]).ticking(1).failing(1),
        Scenario::new("the whole slot beside an entry", &[&[GetWhole, GetWhole], &[Put]]),
        Scenario::new("rotation keeps the previous value", &[&[GetPrevious], &[Rotate, GetPrevious]]).failing(1),
    ];
    let large = vec![
        Scenario::new("readers and writers", &[&[Get, Get], &[Put, Get], &[PutBeside, Get], &[Get, Delete, Get]])
            .failing(2)
            .ticking(2)
            .leaving(1),
        Scenario::new(
            "scopes come and go",
            &[&[Get, Get], &[Onboard, Get], &[Offboard, Get], &[PutTogether, GetWhole]],
        )
        .failing(1)
        .ticking(1),
        Scenario::new(
            "doubt, refresh and writes",
            &[&[Get, GetDoubting, Get], &[GetDoubting, Get], &[Put, GetDoubting]],
        )
        .failing(2)
        .ticking(3)
        .leaving(1)
        .stale(),
        Scenario::new(
            "batches and rotation",
            &[&[GetBoth, GetPrevious], &[Rotate, GetBoth], &[GetBoth], &[Rotate, GetPrevious]],
        )
        .failing(2)
        .ticking(1)
        .leaving(1),
        Scenario::new(
            "denied readers among all others",
            &[&[GetDenied, GetDenied], &[Get, Put, Get], &[Get, Get], &[GetDenied]],
        )
        .failing(1)
        .ticking(2)
        .leaving(1)
        .stale(),
    ];
    (small, large)
}
