//! The character rules of each segment. Bytes in, yes or no out; positions and errors belong to the callers.

/// RFC 1123 label, lower case, at most 63 bytes (what Kubernetes calls a DNS label).
pub(super) fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    bytes.len() <= 63 && edge(bytes.first()) && edge(bytes.last()) && all(bytes, LABEL)
}

/// An environment holds no `--`: it is what makes `env--team` split in one way only.
pub(super) fn is_environment(text: &str) -> bool {
    is_dns_label(text) && !text.as_bytes().windows(2).any(|pair| pair == b"--")
}

/// `secrets` is the name of the environment's own Secret, so no team or application may take it.
pub(super) fn is_team_or_application(text: &str) -> bool {
    is_dns_label(text) && text != "secrets"
}

/// The namespace `env--team` is a DNS label too.
pub(super) fn namespace_fits(env: &str, team: &str) -> bool {
    env.len() + 2 + team.len() <= 63
}

pub(super) fn is_slot(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 60 && bytes.first().is_some_and(u8::is_ascii_alphabetic) && all(bytes, SLOT)
}

pub(super) fn is_sub_key(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 200
        && bytes
            .split(|byte| *byte == b'/')
            .all(|segment| !segment.is_empty() && segment != b"." && segment != b".." && all(segment, SUB_KEY))
}

pub(super) fn is_checksum(text: &str) -> bool {
    text.len() <= 64 && all(text.as_bytes(), ALPHANUMERIC)
}

/// Which of the alphabets each byte is in: one look-up a byte, because every request's id passes here.
static CLASSES: [u8; 256] = classes();

const LABEL: u8 = 1;
const SLOT: u8 = 2;
const SUB_KEY: u8 = 4;
const ALPHANUMERIC: u8 = 8;

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        let alphanumeric = byte.is_ascii_alphanumeric();
        let mut classes = 0;
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' {
            classes |= LABEL;
        }
        if alphanumeric || matches!(byte, b'_' | b'-') {
            classes |= SLOT;
        }
        if alphanumeric || matches!(byte, b'.' | b'_' | b'@' | b'+' | b'-') {
            classes |= SUB_KEY;
        }
        if alphanumeric {
            classes |= ALPHANUMERIC;
        }
        table[byte as usize] = classes;
        byte += 1;
    }
    table
}

fn all(bytes: &[u8], class: u8) -> bool {
    // No early exit: ids are short, and a branch for each byte costs more than the bytes after a wrong one.
    bytes.iter().fold(class, |kept, byte| kept & CLASSES[usize::from(*byte)]) != 0
}
