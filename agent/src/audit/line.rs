//! One record as one line of JSON, pushed straight into the shared buffer.
//!
//! Every text in a record has passed a grammar that needs no escaping; it is escaped all the same, so that a grammar
//! that is widened one day cannot forge a line.

use jiff::Timestamp;

use super::record::Record;
use crate::peer::Peer;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// `YYYY-MM-DDTHH:MM:SS` of the last second seen: the calendar is worked out once a second, not once a record.
#[derive(Default)]
pub(super) struct Stamp {
    second: Option<i64>,
    prefix: String,
}

impl Stamp {
    fn push(&mut self, line: &mut Vec<u8>, now: Timestamp) {
        let second = now.as_second();
        if self.second != Some(second) {
            let whole = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH).to_string();
            self.prefix.clear();
            self.prefix.push_str(whole.trim_end_matches('Z'));
            self.second = Some(second);
        }
        line.extend_from_slice(self.prefix.as_bytes());
        let mut fraction = *b".000000Z";
        let mut rest = now.subsec_microsecond().unsigned_abs();
        for digit in fraction.iter_mut().skip(1).take(6).rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        line.extend_from_slice(&fraction);
    }
}

/// Appends `record` and a newline to `line`.
pub(super) fn push(line: &mut Vec<u8>, stamp: &mut Stamp, now: Timestamp, record: &Record<'_>) {
    line.extend_from_slice(b"{\"time\":\"");
    stamp.push(line, now);
    line.extend_from_slice(b"\",\"request\":\"");
    line.extend_from_slice(record.request.as_bytes());
    line.extend_from_slice(b"\",");
    line.extend_from_slice(record.phase.member());
    line.push(b',');
    line.extend_from_slice(record.operation.member());
    line.extend_from_slice(&record.caller.json);
    for (index, location) in record.secrets.iter().enumerate() {
        if index > 0 {
            line.push(b',');
        }
        text(line, location.as_str());
    }
    line.extend_from_slice(b"],");
    if let Some(scope) = record.scope {
        line.extend_from_slice(b"\"scope\":");
        text(line, scope.as_str());
        line.push(b',');
    }
    line.extend_from_slice(record.decision.member());
    line.push(b',');
    line.extend_from_slice(record.reason.member());
    line.push(b',');
    line.extend_from_slice(record.result.map_or(b"\"result\":null", super::AuditResult::member));
    line.push(b',');
    line.extend_from_slice(record.source.map_or(b"\"source\":null", super::AuditSource::member));
    match record.fingerprint {
        Some(fingerprint) => {
            line.extend_from_slice(b",\"fingerprint\":\"");
            hex(line, fingerprint.bytes());
            line.push(b'"');
        }
        None => line.extend_from_slice(b",\"fingerprint\":null"),
    }
    line.extend_from_slice(b",\"duration_us\":");
    number_or_null(line, record.duration.map(|duration| duration.as_micros()));
    line.extend_from_slice(b"}\n");
}

/// The members of a record that say who asks, up to the opening bracket of `secrets`.
pub(super) fn caller(subject: Option<&str>, pod: Option<&str>, peer: Peer) -> Vec<u8> {
    let mut line = Vec::new();
    line.extend_from_slice(b",\"subject\":");
    text_or_null(&mut line, subject);
    line.extend_from_slice(b",\"pod\":");
    text_or_null(&mut line, pod);
    line.extend_from_slice(b",\"peer\":{\"uid\":");
    number(&mut line, peer.uid.into());
    line.extend_from_slice(b",\"gid\":");
    number(&mut line, peer.gid.into());
    line.extend_from_slice(b",\"pid\":");
    number_or_null(&mut line, peer.pid.map(|pid| u128::from(pid.unsigned_abs())));
    line.extend_from_slice(b"},\"secrets\":[");
    line
}

fn text_or_null(line: &mut Vec<u8>, value: Option<&str>) {
    match value {
        Some(value) => text(line, value),
        None => line.extend_from_slice(b"null"),
    }
}

/// A JSON string in ASCII: what is not plain is escaped as UTF-16 units, so that neither a line break of Unicode nor a
/// terminal's control sequence survives.
fn text(line: &mut Vec<u8>, value: &str) {
    line.push(b'"');
    // No early exit, so that the compiler can test many bytes at once.
    let plain = value.bytes().fold(true, |plain, b| plain & matches!(b, b' '..=b'~') & (b != b'"') & (b != b'\\'));
    if plain {
        line.extend_from_slice(value.as_bytes());
    } else {
        for character in value.chars() {
            match character {
                '"' | '\\' => line.extend_from_slice(&[b'\\', if character == '"' { b'"' } else { b'\\' }]),
                ' '..='~' => line.push(u8::try_from(character).unwrap_or(b'?')),
                _ => escape(line, character),
            }
        }
    }
    line.push(b'"');
}

fn escape(line: &mut Vec<u8>, character: char) {
    let mut units = [0_u16; 2];
    for unit in character.encode_utf16(&mut units) {
        line.extend_from_slice(b"\\u");
        for shift in [12, 8, 4, 0] {
            line.push(HEX[usize::from(*unit >> shift & 0xf)]);
        }
    }
}

fn hex(line: &mut Vec<u8>, bytes: &[u8; 16]) {
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]);
    }
    line.extend_from_slice(&digits);
}

fn number_or_null(line: &mut Vec<u8>, value: Option<u128>) {
    match value {
        Some(value) => number(line, u64::try_from(value).unwrap_or(u64::MAX)),
        None => line.extend_from_slice(b"null"),
    }
}

fn number(line: &mut Vec<u8>, value: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}
