//! XML 1.0: text, attributes and CDATA sections; in comments, instructions, names and the DOCTYPE nothing is changed.
//!
//! A placeholder begins with `$<`, which no XML may hold: beside that form, `$&lt;…&gt;` is one, so that a source can be
//! well-formed before its values are in it.

use super::Unfit;
use super::plan::{self, Reading, SourceError, Symbol};
use crate::id::{MAX_ID_BYTES, SecretId};

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Text,
    Attribute,
    Cdata,
}

/// What is skipped, by how it begins and ends.
const SKIPPED: [(&str, &str); 2] = [("<!--", "-->"), ("<?", "?>")];

pub(super) fn read(reading: &mut Reading<'_>) -> Result<(), SourceError> {
    'text: while let Some(symbol) = reading.peek() {
        if matches!(symbol, Symbol::Placeholder) {
            reading.value(plan::Place::Xml(Place::Text));
            continue;
        }
        if escaped(reading, Place::Text) {
            continue;
        }
        let rest = reading.rest();
        for (begin, end) in SKIPPED {
            if rest.starts_with(begin) {
                skip_to(reading, end)?;
                continue 'text;
            }
        }
        if rest.starts_with("<![CDATA[") {
            cdata(reading)?;
        } else if rest.starts_with("<!") {
            doctype(reading)?;
        } else if rest.starts_with('<') {
            tag(reading)?;
        } else {
            reading.take();
        }
    }
    Ok(())
}

fn skip_to(reading: &mut Reading<'_>, end: &str) -> Result<(), SourceError> {
    let length = reading.rest().find(end).ok_or(SourceError::Open)?;
    reading.take_bytes(length + end.len());
    Ok(())
}

fn cdata(reading: &mut Reading<'_>) -> Result<(), SourceError> {
    while !reading.rest().starts_with("]]>") {
        match reading.peek() {
            None => return Err(SourceError::Open),
            Some(Symbol::Placeholder) => reading.value(plan::Place::Xml(Place::Cdata)),
            Some(Symbol::Char(_)) => reading.take(),
        }
    }
    reading.take_bytes(3);
    Ok(())
}

fn tag(reading: &mut Reading<'_>) -> Result<(), SourceError> {
    let mut quote = None;
    loop {
        match (reading.peek(), quote) {
            (None, _) => return Err(SourceError::Open),
            (Some(Symbol::Placeholder), Some(_)) => reading.value(plan::Place::Xml(Place::Attribute)),
            (Some(Symbol::Char(character)), Some(open)) => {
                if character == open {
                    quote = None;
                } else if escaped(reading, Place::Attribute) {
                    continue;
                }
                reading.take();
            }
            (Some(Symbol::Char('>')), None) => {
                reading.take();
                return Ok(());
            }
            (Some(Symbol::Char(mark @ ('"' | '\''))), None) => {
                quote = Some(mark);
                reading.take();
            }
            (Some(_), None) => reading.take(),
        }
    }
}

/// With its own declarations, which may hold `>` in brackets and in quotation marks.
fn doctype(reading: &mut Reading<'_>) -> Result<(), SourceError> {
    let (mut quote, mut depth) = (None, 0_usize);
    loop {
        let Some(symbol) = reading.peek() else { return Err(SourceError::Open) };
        let skipped = SKIPPED.iter().find(|(begin, _)| quote.is_none() && reading.rest().starts_with(begin));
        if let Some((_, end)) = skipped {
            skip_to(reading, end)?;
            continue;
        }
        if let Symbol::Char(character) = symbol {
            match (quote, character) {
                (Some(open), _) => quote = Some(open).filter(|open| *open != character),
                (None, '"' | '\'') => quote = Some(character),
                (None, '<') => depth += 1,
                (None, '>') if depth <= 1 => {
                    reading.take();
                    return Ok(());
                }
                (None, '>') => depth -= 1,
                _ => {}
            }
        }
        reading.take();
    }
}

/// Takes a placeholder that is written with character references, if one comes next.
fn escaped(reading: &mut Reading<'_>, place: Place) -> bool {
    let Some(rest) = reading.rest().strip_prefix("$&lt;") else { return false };
    let Some(length) = rest.bytes().take(MAX_ID_BYTES + 1).position(|byte| matches!(byte, b'&' | b'>')) else {
        return false;
    };
    let (Some(id), Some(after)) = (rest.get(..length), rest.get(length..)) else { return false };
    let end = if after.starts_with('>') { 1 } else { 4 };
    if end == 4 && !after.starts_with("&gt;") {
        return false;
    }
    let Ok(id) = SecretId::parse(id) else { return false };
    reading.value_of(id, "$&lt;".len() + length + end, plan::Place::Xml(place));
    true
}

/// Whether XML 1.0 can hold it (§2.2).
fn is_character(character: char) -> bool {
    !matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

pub(super) fn put(place: Place, value: &str, out: &mut String) -> Result<(), Unfit> {
    if !value.chars().all(is_character) {
        return Err(Unfit::XmlCharacter);
    }
    if place == Place::Cdata {
        for character in value.chars() {
            match character {
                // Read as a line feed everywhere but in a reference (§2.11).
                '\r' => out.push_str("]]>&#13;<![CDATA["),
                // So that no `]]>` comes about, together with what stands before the value neither.
                '>' => out.push_str("]]>&gt;<![CDATA["),
                other => out.push(other),
            }
        }
        // A `]` at the end could become part of an end with what follows.
        if value.ends_with(']') {
            out.push_str("]]><![CDATA[");
        }
        return Ok(());
    }
    // A `]` at the end could become part of `]]>`, which no text may hold, with what follows (§2.4).
    let (value, bracket) = match value.strip_suffix(']') {
        Some(value) if place == Place::Text => (value, "&#93;"),
        _ => (value, ""),
    };
    for character in value.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\r' => out.push_str("&#13;"),
            '\n' if place == Place::Attribute => out.push_str("&#10;"),
            '\t' if place == Place::Attribute => out.push_str("&#9;"),
            // Some readers take them for line ends of XML 1.1.
            '\u{85}' | '\u{2028}' => {
                use std::fmt::Write as _;
                // Writing to a string cannot fail.
                let _written = write!(out, "&#{};", u32::from(character));
            }
            other => out.push(other),
        }
    }
    out.push_str(bracket);
    Ok(())
}
