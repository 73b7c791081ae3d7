//! The numbers of the API, by name: default, least and most in one table.

use std::time::Duration;

use super::reader::Reader;

/// `limits`
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request head.
    pub header_bytes: u64,
    /// Fields of a request head.
    pub header_fields: u64,
    /// Time for a request head.
    pub header_timeout: Duration,
    /// Bytes of a body.
    pub body_bytes: u64,
    /// Time for a body.
    pub body_timeout: Duration,
    /// Bytes of a value.
    pub value_bytes: u64,
    /// Bytes of one stored slot.
    pub slot_bytes: u64,
    /// Ids in one batch.
    pub batch_ids: u64,
    /// Bytes of the answer to a document.
    pub document_bytes: u64,
    /// Connections.
    pub connections: u64,
    /// Event streams among them.
    pub event_streams: u64,
    /// Bytes of requests and answers under way.
    pub in_flight_bytes: u64,
    /// Time for a request.
    pub request_timeout: Duration,
    /// Time for one call to the backend.
    pub backend_timeout: Duration,
    /// Time for onboarding one scope.
    pub onboard_timeout: Duration,
    /// Time for a drain.
    pub drain_timeout: Duration,
    /// Writes and cache misses of one caller in a second.
    pub caller_rate: u32,
    /// As many at once.
    pub caller_burst: u32,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

pub(super) fn read(reader: &mut Reader<'_>) -> Limits {
    let seconds = Duration::from_secs;
    let rate = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let limits = Limits {
        header_bytes: reader.bytes("limits.headerBytes", 16 * KIB, (8 * KIB, 64 * KIB), "Bytes of a request head."),
        header_fields: reader.count("limits.headerFields", 64, (8, 100), "Fields of a request head."),
        header_timeout: reader.duration(
            "limits.headerTimeout",
            seconds(10),
            (seconds(1), seconds(60)),
            "Time for a request head.",
        ),
        body_bytes: reader.bytes("limits.bodyBytes", MIB, (KIB, 4 * MIB), "Bytes of a request body."),
        body_timeout: reader.duration(
            "limits.bodyTimeout",
            seconds(30),
            (seconds(1), seconds(120)),
            "Time for a request body, and for a reader to take an answer.",
        ),
        value_bytes: reader.bytes("limits.valueBytes", 64 * KIB, (1, MIB), "Bytes of a value."),
        slot_bytes: reader.bytes("limits.slotBytes", 768 * KIB, (KIB, MIB), "Bytes of one stored slot."),
        batch_ids: reader.count("limits.batchIds", 100, (1, 1000), "Ids in one batch."),
        document_bytes: reader.bytes(
            "limits.documentBytes",
            8 * MIB,
            (KIB, 64 * MIB),
            "Bytes of the answer to a document; limits.inFlightBytes is a limit to it as well.",
        ),
        connections: reader.count("limits.connections", 64, (1, 1024), "Connections at one time."),
        event_streams: reader.count("limits.eventStreams", 16, (1, 256), "Event streams at one time."),
        in_flight_bytes: reader.bytes(
            "limits.inFlightBytes",
            16 * MIB,
            (MIB, 256 * MIB),
            "Bytes of requests and answers under way.",
        ),
        request_timeout: reader.duration(
            "limits.requestTimeout",
            seconds(10),
            (seconds(1), seconds(120)),
            "Time for a request.",
        ),
        backend_timeout: reader.duration(
            "limits.backendTimeout",
            seconds(5),
            (seconds(1), seconds(60)),
            "Time for one call to the backend.",
        ),
        onboard_timeout: reader.duration(
            "limits.onboardTimeout",
            seconds(120),
            (seconds(1), seconds(600)),
            "Time for a call to the backend that onboards a scope.",
        ),
        drain_timeout: reader.duration(
            "limits.drainTimeout",
            seconds(25),
            (seconds(1), seconds(600)),
            "Time for requests in flight to end after SIGTERM.",
        ),
        caller_rate: rate(reader.count(
            "limits.callerRate",
            100,
            (1, 1_000_000),
            "Writes and cache misses of one caller in a second.",
        )),
        caller_burst: rate(reader.count(
            "limits.callerBurst",
            200,
            (1, 1_000_000),
            "Writes and cache misses of one caller at once.",
        )),
    };
    // What one limit lets in must fit into the other, or every larger request is refused for want of room.
    if limits.body_bytes > limits.in_flight_bytes {
        reader.problem("limits.bodyBytes", "must not be more than limits.inFlightBytes");
    }
    if limits.value_bytes > limits.slot_bytes {
        reader.problem("limits.valueBytes", "must not be more than limits.slotBytes");
    }
    limits
}
