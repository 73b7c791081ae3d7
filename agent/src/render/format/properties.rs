//! Java properties (`java.util.Properties.load`): everything can be escaped, so every value fits.

use super::plan::{self, Reading, Symbol};

pub(super) fn read(reading: &mut Reading<'_>) {
    while reading.peek().is_some() {
        line(reading);
        reading.take();
    }
}

/// One logical line: a backslash at the end of a line joins it with the next.
fn line(reading: &mut Reading<'_>) {
    while matches!(reading.peek(), Some(Symbol::Char(' ' | '\t' | '\u{c}'))) {
        reading.take();
    }
    if matches!(reading.peek(), Some(Symbol::Char('#' | '!'))) {
        while !matches!(reading.peek(), None | Some(Symbol::Char('\n' | '\r'))) {
            reading.take();
        }
        return;
    }
    let mut in_value = false;
    loop {
        match reading.peek() {
            None | Some(Symbol::Char('\n' | '\r')) => return,
            Some(Symbol::Placeholder) if in_value => {
                reading.value(plan::Place::Properties);
                continue;
            }
            Some(Symbol::Char('\\')) => {
                let from = reading.position();
                reading.take();
                // A line break that is escaped, of two characters too.
                if reading.rest().starts_with("\r\n") {
                    reading.take();
                }
                // A placeholder after a backslash is one like any other: the backslash escapes its `$`, and goes with it.
                if matches!(reading.peek(), Some(Symbol::Placeholder)) {
                    if in_value {
                        reading.replace_from(from, "");
                    }
                    continue;
                }
            }
            Some(Symbol::Char('=' | ':' | ' ' | '\t' | '\u{c}')) => in_value = true,
            Some(_) => {}
        }
        reading.take();
    }
}

/// Writes `value` so that it can stand anywhere in a value.
pub(super) fn put(value: &str, out: &mut String) {
    for (index, character) in value.chars().enumerate() {
        match character {
            ' ' if index > 0 => out.push(' '),
            '\\' | ' ' | '=' | ':' | '#' | '!' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{c}' => out.push_str("\\f"),
            '!'..='~' => out.push(character),
            // A stream is read as ISO 8859-1, whatever the file was meant to be.
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    super::encode::hex_escape(*unit, out);
                }
            }
        }
    }
}
