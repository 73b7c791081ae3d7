//! Reads the event stream of one secret: server-sent events (HTML Living Standard §9.2), bounded, ids only.

use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::client::{Client, segment};
use super::error::CliError;
use crate::id::SecretId;

/// The longest line: an id in a little JSON has far less.
const LINE_BYTES: usize = 4096;

/// How long a stream may be silent. An agent says something every 15 seconds, if only that nothing has changed.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// What is told of a secret: that it is there, in the state of this id, or that it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: SecretId,
    pub(super) deleted: bool,
    /// The data as it came.
    pub(super) data: String,
}

/// The events of one secret.
pub(super) struct Events {
    body: Incoming,
    lines: Lines,
}

/// Cuts bytes into events, however they are cut on their way.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    kind: Vec<u8>,
    data: Vec<u8>,
    complete: VecDeque<Event>,
}

#[derive(serde::Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
}

impl Events {
    /// Begins to follow a secret; its first event is its present state.
    pub(super) async fn of(client: &Client, id: &str) -> Result<Self, CliError> {
        let body = client.open(&format!("/api/v1/secrets/{}/events", segment(id)), "text/event-stream").await?;
        Ok(Self { body, lines: Lines::default() })
    }

    /// The next event; none when the agent has ended the stream.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, CliError> {
        loop {
            if let Some(event) = self.lines.complete.pop_front() {
                return Ok(Some(event));
            }
            let frame = tokio::time::timeout(SILENCE_MAX, self.body.frame()).await.map_err(|_| CliError::NoAnswer)?;
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(bytes) = frame.map_err(|error| CliError::Broken(error.into()))?.into_data() {
                self.lines.take(&bytes)?;
            }
        }
    }
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        for byte in bytes {
            match byte {
                b'\n' => self.end_of_line()?,
                _ if self.line.len() >= LINE_BYTES => return Err(CliError::Oversized),
                byte => self.line.push(*byte),
            }
        }
        Ok(())
    }

    fn end_of_line(&mut self) -> Result<(), CliError> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        let field = |name: &[u8]| {
            let value = line.strip_prefix(name)?.strip_prefix(b":")?;
            Some(value.strip_prefix(b" ").unwrap_or(value).to_vec())
        };
        if line.is_empty() {
            return self.end_of_event();
        }
        if let Some(kind) = field(b"event") {
            self.kind = kind;
        } else if let Some(data) = field(b"data") {
            // The one line of data that an agent sends.
            self.data = data;
        }
        // Everything else is a comment, or a field that is none of ours.
        Ok(())
    }

    fn end_of_event(&mut self) -> Result<(), CliError> {
        let (kind, data) = (std::mem::take(&mut self.kind), std::mem::take(&mut self.data));
        let deleted = match kind.as_slice() {
            _ if data.is_empty() => return Ok(()),
            b"" | b"message" => false,
            b"deleted" => true,
            // A kind that a later agent knows.
            _ => return Ok(()),
        };
        let told: Told<'_> = serde_json::from_slice(&data).map_err(|_| CliError::Unexpected)?;
        let id = SecretId::parse(&told.id).map_err(|_| CliError::Unexpected)?;
        let data = String::from_utf8(data).map_err(|_| CliError::Unexpected)?;
        self.complete.push_back(Event { id, deleted, data });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "poc:eni--hyperion:my-app:clientSecret:abc";

    fn read(stream: &[u8], piece: usize) -> Result<Vec<Event>, CliError> {
        let mut lines = Lines::default();
        stream.chunks(piece).try_for_each(|bytes| lines.take(bytes))?;
        Ok(lines.complete.into())
    }

    #[test]
    fn events_are_the_same_however_the_stream_is_cut() {
        let data = format!("{{\"id\":\"{ID}\"}}");
        let is = Event { id: SecretId::parse(ID).unwrap(), deleted: false, data };
        let gone = Event { deleted: true, ..is.clone() };
        let stream = format!(
            "data: {{\"id\":\"{ID}\"}}\n\n:\n\nevent: deleted\r\ndata: {{\"id\":\"{ID}\"}}\r\n\r\nevent: later\ndata: 1\n\n\
             retry: 5\nid: 7\ndata:{{\"id\":\"{ID}\"}}\n\ndata: unfinished"
        );
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(read(stream.as_bytes(), piece).unwrap(), [is.clone(), gone.clone(), is.clone()]);
        }
    }

    #[test]
    fn a_stream_that_is_none_is_refused() {
        for odd in ["data: {\"id\":1}\n\n", "data: no json\n\n", "data: {\"id\":\"no id\"}\n\n"] {
            assert!(matches!(read(odd.as_bytes(), 5), Err(CliError::Unexpected)), "{odd}");
        }
        assert!(matches!(read(&[b'x'; LINE_BYTES + 1], 100), Err(CliError::Oversized)));
    }
}
