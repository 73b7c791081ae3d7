//! JSON string content (RFC 8259 §7), into buffers of exactly the right size: a buffer that grows leaves a copy behind.

/// How long [`push_escaped`] makes a text: the buffer must not grow, since growing leaves a copy behind.
pub(crate) fn escaped_len(text: &str) -> usize {
    text.bytes().map(|byte| escape(byte).map_or(1, |escape| if escape == b'u' { 6 } else { 2 })).sum()
}

/// Appends `text` as the content of a JSON string.
pub(crate) fn push_escaped(body: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(position) = rest.iter().position(|byte| escape(*byte).is_some()) {
        let (plain, special) = rest.split_at(position);
        body.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        match escape(*byte) {
            Some(b'u') => {
                let digit = |nibble: u8| b"0123456789abcdef".get(usize::from(nibble)).copied().unwrap_or(b'0');
                body.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 0xf)]);
            }
            Some(short) => body.extend_from_slice(&[b'\\', short]),
            None => body.push(*byte),
        }
        rest = after;
    }
    body.extend_from_slice(rest);
}

fn escape(byte: u8) -> Option<u8> {
    match byte {
        b'"' => Some(b'"'),
        b'\\' => Some(b'\\'),
        b'\n' => Some(b'n'),
        b'\r' => Some(b'r'),
        b'\t' => Some(b't'),
        0x08 => Some(b'b'),
        0x0c => Some(b'f'),
        0..=0x1f => Some(b'u'),
        _ => None,
    }
}
