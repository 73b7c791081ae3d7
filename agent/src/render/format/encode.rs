//! Encoders for templates: a value as a complete token of a format. None of them looks at what it encodes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Unfit, properties, toml, xml};

/// RFC 3986 §2.3: what never needs an escape.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is no base64, or none of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotDecodable;

/// RFC 4648 §4, with padding.
#[must_use]
pub fn b64enc(text: &str) -> String {
    STANDARD.encode(text)
}

/// The text that was encoded.
///
/// # Errors
/// [`NotDecodable`].
pub fn b64dec(text: &str) -> Result<String, NotDecodable> {
    let bytes = STANDARD.decode(text.trim_ascii_end()).map_err(|_| NotDecodable)?;
    String::from_utf8(bytes).map_err(|_| NotDecodable)
}

/// A JSON string.
#[must_use]
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    quote(text, &mut out);
    out
}

/// A YAML double-quoted scalar on one line.
#[must_use]
pub fn yaml(text: &str) -> String {
    // JSON's escapes are YAML's. Beside them, what YAML does not let stand (§5.1) and what it reads as a line break.
    let mut out = String::with_capacity(text.len() + 2);
    quote(text, &mut out);
    if !out.contains(is_not_yaml) {
        return out;
    }
    let mut escaped = String::with_capacity(out.len() + 16);
    for character in out.chars() {
        if is_not_yaml(character) {
            hex_escape(u16::try_from(u32::from(character)).unwrap_or_default(), &mut escaped);
        } else {
            escaped.push(character);
        }
    }
    escaped
}

fn is_not_yaml(character: char) -> bool {
    matches!(character, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// A TOML basic string.
#[must_use]
pub fn toml(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    toml::put(toml::Place::Bare, text, &mut out);
    out
}

/// A value of a properties file.
#[must_use]
pub fn properties(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    properties::put(text, &mut out);
    out
}

/// One word of a POSIX shell.
///
/// # Errors
/// [`Unfit::EnvNul`].
pub fn shell(text: &str) -> Result<String, Unfit> {
    if text.contains('\0') {
        return Err(Unfit::EnvNul);
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// Text of an element or an attribute.
///
/// # Errors
/// [`Unfit::XmlCharacter`].
pub fn xml(text: &str) -> Result<String, Unfit> {
    let mut out = String::with_capacity(text.len());
    xml::put(xml::Place::Attribute, text, &mut out)?;
    Ok(out)
}

/// A component of a URL.
#[must_use]
pub fn url(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Every line but the first, `width` further in; lines with nothing in them stay.
#[must_use]
pub fn indent(text: &str, width: usize, first: bool) -> String {
    let space = " ".repeat(width);
    let mut out = String::with_capacity(text.len() + width);
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        if (index > 0 || first) && !line.is_empty() {
            out.push_str(&space);
        }
        out.push_str(line);
    }
    out
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' => hex_escape(u16::try_from(u32::from(character)).unwrap_or_default(), out),
            other => out.push(other),
        }
    }
    out.push('"');
}

/// `\u` and four digits.
pub(super) fn hex_escape(unit: u16, out: &mut String) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    out.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        out.push(DIGITS.get(usize::from((unit >> shift) & 0xf)).copied().unwrap_or('0'));
    }
}
