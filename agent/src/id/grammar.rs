//! The character rules of each segment. Bytes in, yes or no out; positions and errors belong to the callers.

/// RFC 1123 label, lower case, at most 63 bytes (what Kubernetes calls a DNS label).
pub(super) fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// An environment holds no `--`: it is what makes `env--team` split in one way only.
pub(super) fn is_environment(text: &str) -> bool {
    is_dns_label(text) && !text.contains("--")
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
    bytes.len() <= 60
        && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

pub(super) fn is_sub_key(text: &str) -> bool {
    text.len() <= 200
        && text.split('/').all(|segment| {
            !segment.is_empty()
                && segment != "."
                && segment != ".."
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'@' | b'+' | b'-'))
        })
}

pub(super) fn is_checksum(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric())
}
