//! TOML 1.0: a value becomes a basic string, or part of one. A literal string cannot hold everything, so one that holds a
//! placeholder is written as a basic string.

use super::encode::hex_escape;
use super::plan::{self, Reading, SourceError, Symbol};

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// As a value of its own.
    Bare,
    /// In a string.
    String,
}

/// What the reader is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Array,
    Table,
}

pub(super) fn read(reading: &mut Reading<'_>) -> Result<(), SourceError> {
    let mut inside: Vec<Inside> = Vec::new();
    let mut in_value = false;
    let mut line_begins = true;
    while let Some(symbol) = reading.peek() {
        let Symbol::Char(character) = symbol else {
            if in_value {
                reading.value(plan::Place::Toml(Place::Bare));
            } else {
                reading.take();
            }
            line_begins = false;
            continue;
        };
        match character {
            '#' => {
                reading.take_line();
                continue;
            }
            '"' | '\'' => {
                string(reading, character, in_value)?;
                line_begins = false;
                continue;
            }
            '[' if !in_value && line_begins => {
                header(reading)?;
                continue;
            }
            '=' if !in_value => in_value = true,
            '[' if in_value => inside.push(Inside::Array),
            '{' if in_value => {
                inside.push(Inside::Table);
                in_value = false;
            }
            ']' | '}' => {
                inside.pop();
                in_value = true;
            }
            ',' => in_value = inside.last() != Some(&Inside::Table),
            '\n' if inside.is_empty() => {
                in_value = false;
                line_begins = true;
                reading.take();
                continue;
            }
            _ => {}
        }
        line_begins &= character.is_whitespace();
        reading.take();
    }
    Ok(())
}

/// `[a."b c".d]`: names only.
fn header(reading: &mut Reading<'_>) -> Result<(), SourceError> {
    loop {
        match reading.peek() {
            None | Some(Symbol::Char('\n' | '#')) => return Ok(()),
            Some(Symbol::Char(quote @ ('"' | '\''))) => string(reading, quote, false)?,
            Some(_) => reading.take(),
        }
    }
}

fn string(reading: &mut Reading<'_>, quote: char, is_value: bool) -> Result<(), SourceError> {
    let long: String = std::iter::repeat_n(quote, 3).collect();
    let is_long = reading.rest().starts_with(&long);
    let from = reading.position();
    let fence = if is_long { long.as_str() } else { long.get(..1).unwrap_or_default() };
    // Placeholders hold no quotation mark, so the end can be looked for in the text itself.
    let body = reading.rest().get(fence.len()..).unwrap_or_default();
    let length = end(body, quote, is_long, fence).ok_or(SourceError::Open)?;
    let text = body.get(..length).unwrap_or_default();
    let has_value = is_value && crate::id::scan(text).next().is_some();
    if !has_value {
        reading.take_bytes(fence.len() * 2 + length);
        return Ok(());
    }
    let stop = from + fence.len() + length;
    if quote == '"' {
        while reading.position() < stop {
            if matches!(reading.peek(), Some(Symbol::Placeholder)) {
                reading.value(plan::Place::Toml(Place::String));
            } else {
                reading.take();
            }
        }
        reading.take_bytes(fence.len());
        return Ok(());
    }
    literal(reading, fence, stop);
    Ok(())
}

/// A literal string, as a basic one.
fn literal(reading: &mut Reading<'_>, fence: &str, stop: usize) {
    let mut from = reading.position();
    reading.take_bytes(fence.len());
    // A line break right after the opening is none of the text (TOML 1.0, "String").
    if fence.len() == 3 {
        for skipped in ["\r\n", "\n"] {
            if reading.rest().starts_with(skipped) {
                reading.take_bytes(skipped.len());
                break;
            }
        }
    }
    let mut text = "\"".to_owned();
    while reading.position() < stop {
        match reading.peek() {
            Some(Symbol::Placeholder) => {
                reading.replace_from(from, &text);
                reading.value(plan::Place::Toml(Place::String));
                text.clear();
                from = reading.position();
            }
            Some(Symbol::Char(character)) => {
                escape(character, &mut text);
                reading.take();
            }
            None => break,
        }
    }
    reading.take_bytes(fence.len());
    text.push('"');
    reading.replace_from(from, &text);
}

/// How long the text of a string is.
fn end(body: &str, quote: char, is_long: bool, fence: &str) -> Option<usize> {
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        if quote == '"' && character == '\\' {
            characters.next();
        } else if character == quote && body.get(at..)?.starts_with(fence) {
            // Up to two marks may stand right before the closing ones.
            let marks = body.get(at..)?.chars().take_while(|mark| *mark == quote).count();
            return Some(if is_long { at + marks.min(5) - 3 } else { at });
        } else if character == '\n' && !is_long {
            return None;
        }
    }
    None
}

pub(super) fn put(place: Place, value: &str, out: &mut String) {
    if place == Place::Bare {
        out.push('"');
    }
    // White space is cut away behind a backslash at the end of a line (TOML 1.0, "String").
    let rest = match value.strip_prefix(' ') {
        Some(rest) if place == Place::String => {
            out.push_str("\\u0020");
            rest
        }
        _ => value,
    };
    rest.chars().for_each(|character| escape(character, out));
    if place == Place::Bare {
        out.push('"');
    }
}

fn escape(character: char, out: &mut String) {
    match character {
        '"' | '\\' => out.extend(['\\', character]),
        '\u{8}' => out.push_str("\\b"),
        '\t' => out.push_str("\\t"),
        '\n' => out.push_str("\\n"),
        '\u{c}' => out.push_str("\\f"),
        '\r' => out.push_str("\\r"),
        '\0'..='\u{1f}' | '\u{7f}' => hex_escape(u16::try_from(u32::from(character)).unwrap_or_default(), out),
        other => out.push(other),
    }
}
