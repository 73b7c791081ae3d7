//! YAML scalars: which of them are strings, and how a string is quoted so that every reader reads it back.

use granit_parser::{ScalarStyle, Tag};

use crate::document::WriteError;
use crate::document::splice::Out;
use crate::document::walk::LeafKind;

/// The quotes that a string stands in, or is put in: of a plain scalar the new content may look like anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::document) enum Quotes {
    Single,
    Double,
}

/// What a scalar is, by its tag, else by the core schema (YAML 1.2.2 §10.3).
pub(super) fn kind(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> LeafKind {
    match tag.map(|tag| (tag.is_yaml_core_schema(), tag.core_suffix())) {
        // `!` and tags of applications: what it is made into is not known, what it is written as is text.
        Some((false, _) | (true, Some("str"))) => LeafKind::String,
        Some((true, Some("null"))) => LeafKind::Null,
        Some((true, _)) => LeafKind::Other,
        None if style != ScalarStyle::Plain => LeafKind::String,
        None => plain_kind(text),
    }
}

/// A block scalar with which `source` ends. The line break at its end is empty where there is none (YAML 1.2.2, rule
/// `b-chomped-last`); the parser adds one.
pub(super) fn at_end<'a>(text: &'a str, style: ScalarStyle, source: &str) -> &'a str {
    let last = source.rsplit(['\n', '\r']).next().unwrap_or_default().trim_start_matches(' ');
    let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
    let chomped = text.strip_suffix('\n').filter(|chomped| is_block && !last.is_empty() && chomped.ends_with(last));
    chomped.unwrap_or(text)
}

fn plain_kind(text: &str) -> LeafKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => LeafKind::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" | ".nan" | ".NaN" | ".NAN" => LeafKind::Other,
        _ if is_number(text) => LeafKind::Other,
        _ => LeafKind::String,
    }
}

fn is_number(text: &str) -> bool {
    let digits = |text: &str, digit: fn(&u8) -> bool| !text.is_empty() && text.as_bytes().iter().all(digit);
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, |byte| (b'0'..=b'7').contains(byte));
    }
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return digits(hexadecimal, u8::is_ascii_hexdigit);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return true;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let decimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    decimal(whole)
        && decimal(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| digits(exponent, u8::is_ascii_digit))
}

/// Writes a string in quotes: in single ones where they are asked for and every reader takes the content in them.
pub(in crate::document) fn put_quoted<'a>(
    out: &mut impl Out,
    quotes: Quotes,
    parts: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), WriteError> {
    if quotes == Quotes::Single && parts.clone().all(|part| !part.contains(is_special)) {
        out.put("'")?;
        for part in parts {
            let mut pieces = part.split('\'');
            out.put(pieces.next().unwrap_or_default())?;
            for piece in pieces {
                out.put("''")?;
                out.put(piece)?;
            }
        }
        return out.put("'");
    }
    out.put("\"")?;
    for part in parts {
        put_escaped(out, part)?;
    }
    out.put("\"")
}

/// What not every reader takes as it is: line breaks of YAML 1.1 and 1.2, tabs, and what is not printable to one of them.
pub(super) fn is_special(character: char) -> bool {
    matches!(character,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// The content of a double-quoted scalar, on one line. The escapes are those that JSON has too.
fn put_escaped(out: &mut impl Out, text: &str) -> Result<(), WriteError> {
    let mut rest = text;
    while let Some(found) = rest.find(|character| is_special(character) || matches!(character, '"' | '\\')) {
        let (plain, special) = rest.split_at(found);
        out.put(plain)?;
        let mut characters = special.chars();
        match characters.next().unwrap_or_default() {
            '"' => out.put("\\\"")?,
            '\\' => out.put("\\\\")?,
            '\n' => out.put("\\n")?,
            '\r' => out.put("\\r")?,
            '\t' => out.put("\\t")?,
            other => out.put(&format!("\\u{:04x}", u32::from(other)))?,
        }
        rest = characters.as_str();
    }
    out.put(rest)
}
