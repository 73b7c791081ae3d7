//! Where one request ends and the next begins, decided before hyper sees the bytes (N9).
//!
//! hyper is lenient where RFC 9112 lets a recipient be: it takes a bare LF for a line end, a second equal
//! `Content-Length`, `Transfer-Encoding: gzip, chunked`. Each is a way to make two readers see two requests. Here a head
//! is either plain or refused, and a chunked body is the last thing on its connection, so that its end is found by one
//! parser only.

use memchr::memchr;

/// The bytes of a connection, as they arrive in pieces.
#[derive(Debug)]
pub struct Framing {
    state: State,
    /// The line that is not complete yet.
    line: Vec<u8>,
    head_bytes: usize,
    head_bytes_max: usize,
    heads: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first byte of a request line; one empty line may stand there (RFC 9112 §2.2).
    Between { empty_line_seen: bool },
    /// In the header section.
    Fields { length: Option<u64>, chunked: bool },
    /// So many bytes of a body are still to come.
    Body(u64),
    /// A chunked body, and whatever stands behind it.
    Last,
}

/// The bytes can be read in two ways, or in none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request is not plain HTTP/1.1")]
pub struct Malformed {
    /// How many of the pushed bytes are still plain.
    pub plain: usize,
}

impl Framing {
    /// For heads of at most `head_bytes_max` bytes.
    #[must_use]
    pub fn new(head_bytes_max: usize) -> Self {
        Self {
            state: State::Between { empty_line_seen: false },
            line: Vec::new(),
            head_bytes: 0,
            head_bytes_max,
            heads: 0,
        }
    }

    /// Heads that were complete so far.
    #[must_use]
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether a head has begun and not ended.
    #[must_use]
    pub fn in_head(&self) -> bool {
        matches!(self.state, State::Fields { .. }) || !self.line.is_empty()
    }

    /// Looks at the next bytes of the connection.
    ///
    /// # Errors
    /// [`Malformed`]; nothing may be pushed after it.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut position = 0;
        while let Some(rest) = bytes.get(position..).filter(|rest| !rest.is_empty()) {
            match self.state {
                State::Last => return Ok(()),
                State::Body(left) => {
                    let taken = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::Between { empty_line_seen: false } } else { State::Body(left) };
                    position += taken;
                }
                State::Between { .. } | State::Fields { .. } => {
                    let end = memchr(b'\n', rest).map(|end| end + 1);
                    let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                    self.head_bytes += part.len();
                    let outcome = if self.head_bytes > self.head_bytes_max.saturating_mul(2) {
                        // hyper has refused the head at half of this; here it only ends our own copy of the line.
                        Err(())
                    } else if end.is_none() {
                        self.line.extend_from_slice(part);
                        Ok(())
                    } else if self.line.is_empty() {
                        self.end_line(part)
                    } else {
                        let mut line = std::mem::take(&mut self.line);
                        line.extend_from_slice(part);
                        self.end_line(&line)
                    };
                    // The line's last byte is what makes it a line: without it, hyper still waits.
                    outcome.map_err(|()| Malformed { plain: position + part.len() - 1 })?;
                    position += part.len();
                }
            }
        }
        Ok(())
    }

    fn end_line(&mut self, line: &[u8]) -> Result<(), ()> {
        let content = line.strip_suffix(b"\r\n").ok_or(())?;
        match self.state {
            State::Between { empty_line_seen } => {
                if content.is_empty() {
                    self.head_bytes = 0;
                    self.state = State::Between { empty_line_seen: true };
                    return if empty_line_seen { Err(()) } else { Ok(()) };
                }
                is_text(content)?;
                // A target has no fragment (RFC 9112 §3.2). The URI type drops one silently, so that two readers would see
                // two ids.
                if memchr(b'#', content).is_some() {
                    return Err(());
                }
                // hyper hangs up on the preface of HTTP/2 without a word.
                if !(content.ends_with(b" HTTP/1.1") || content.ends_with(b" HTTP/1.0")) {
                    return Err(());
                }
                self.state = State::Fields { length: None, chunked: false };
            }
            State::Fields { length, chunked } if content.is_empty() => {
                self.heads += 1;
                self.head_bytes = 0;
                self.state = match length {
                    _ if chunked => State::Last,
                    None | Some(0) => State::Between { empty_line_seen: false },
                    Some(length) => State::Body(length),
                };
            }
            State::Fields { length, chunked } => self.state = field(content, length, chunked)?,
            State::Body(_) | State::Last => {}
        }
        Ok(())
    }
}

/// One field line. Only what decides the length of the body is understood.
fn field(content: &[u8], length: Option<u64>, chunked: bool) -> Result<State, ()> {
    // obs-fold (RFC 9112 §5.2): a line that continues the one before.
    if matches!(content.first(), Some(b' ' | b'\t')) {
        return Err(());
    }
    is_text(content)?;
    let colon = memchr(b':', content).ok_or(())?;
    let (name, value) = content.split_at(colon);
    if name.is_empty() || matches!(name.last(), Some(b' ' | b'\t')) {
        return Err(());
    }
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    if name.eq_ignore_ascii_case(b"content-length") {
        // A second one, even an equal one, or one beside Transfer-Encoding, is what smuggling is made of (RFC 9112
        // §6.3 leaves it to us to refuse).
        if length.is_some() || chunked {
            return Err(());
        }
        return Ok(State::Fields { length: Some(decimal(value)?), chunked });
    }
    if name.eq_ignore_ascii_case(b"transfer-encoding") {
        if length.is_some() || chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(());
        }
        return Ok(State::Fields { length, chunked: true });
    }
    Ok(State::Fields { length, chunked })
}

/// Digits only: `+5`, `5, 5` and `0x5` are numbers to some readers.
fn decimal(text: &[u8]) -> Result<u64, ()> {
    if text.is_empty() || text.len() > 18 || !text.iter().all(u8::is_ascii_digit) {
        return Err(());
    }
    std::str::from_utf8(text).map_err(drop)?.parse().map_err(drop)
}

/// No control characters: a bare CR ends a line for some readers, NUL ends the text for others.
fn is_text(content: &[u8]) -> Result<(), ()> {
    // No early exit, so that the compiler can test many bytes at once.
    let plain = content.iter().fold(true, |plain, b| plain & (*b >= b' ' || *b == b'\t') & (*b != 0x7f));
    if plain { Ok(()) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(bytes: &[u8]) -> Result<u64, usize> {
        let mut framing = Framing::new(16 * 1024);
        framing.push(bytes).map(|()| framing.heads()).map_err(|malformed| malformed.plain)
    }

    const HEAD: &str = "PUT /x HTTP/1.1\r\nHost: a\r\n";

    #[test]
    fn plain_requests_are_counted_and_their_bodies_skipped() {
        assert_eq!(verdict(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(1));
        assert_eq!(verdict(format!("{HEAD}Content-Length: 3\r\n\r\n\n\n\n{HEAD}\r\n").as_bytes()), Ok(2));
        assert_eq!(verdict(format!("\r\n{HEAD}\r\n\r\n{HEAD}\r\n").as_bytes()), Ok(2));
    }

    #[test]
    fn nothing_behind_a_chunked_body_is_read_as_a_request() {
        assert_eq!(verdict(format!("{HEAD}Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n{HEAD}\n\n").as_bytes()), Ok(1));
    }

    #[test]
    fn n9_what_can_be_read_in_two_ways_is_refused_where_it_stands() {
        for line in [
            "Content-Length: +5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Content-Length\t: 5\r\n",
            "X: a\r\n folded\r\n",
            "X: a\r\n\tfolded\r\n",
            "X: a\n",
            "X: a\rb\r\n",
            "X: a\0b\r\n",
            "X: a\x7f\r\n",
            "no colon\r\n",
            ": no name\r\n",
        ] {
            let text = format!("{HEAD}{line}\r\n");
            let plain = verdict(text.as_bytes()).expect_err(line);
            assert!(plain >= HEAD.len() && plain < text.len() - 2, "{line}: {plain}");
        }
        assert!(verdict(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n").is_err(), "one empty line is enough");
        assert!(verdict(b"GET / HTTP/1.1\n").is_err());
        assert!(verdict(b"GET /x#y HTTP/1.1\r\n").is_err(), "a fragment is no part of a target");
    }

    #[test]
    fn a_head_without_an_end_is_not_kept_for_ever() {
        let mut framing = Framing::new(1024);
        let refused = (0..1000).any(|_| framing.push(&[b'a'; 100]).is_err());
        assert!(refused);
    }

    proptest! {
        #[test]
        fn the_verdict_does_not_depend_on_how_the_bytes_arrive(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "GET / HTTP/1.1", "\r\n", "\n", "\r", "Host: a", "Content-Length: 4", "Transfer-Encoding: chunked", "abcd", " ", ":", "\0",
            ]), 0..24),
            cuts in prop::collection::vec(0..300_usize, 0..8),
        ) {
            let bytes = pieces.concat().into_bytes();
            let mut whole = Framing::new(4096);
            let verdict = whole.push(&bytes).is_ok();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut split = Framing::new(4096);
            let mut same = true;
            for pair in cuts.windows(2) {
                same = same && split.push(&bytes[pair[0]..pair[1]]).is_ok();
            }
            prop_assert_eq!(verdict, same);
            if verdict {
                prop_assert_eq!((whole.heads(), whole.in_head()), (split.heads(), split.in_head()));
            }
        }
    }
}
