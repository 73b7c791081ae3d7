//! `.env` files: `NAME=value` lines as a POSIX shell reads them (XCU §2.2), which `set -a; . file` and most libraries do.

use super::Unfit;
use super::plan::{self, Reading, SourceError, Symbol};

/// Which quotation marks a value stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quotes {
    None,
    Single,
    Double,
}

pub(super) fn read(reading: &mut Reading<'_>) -> Result<(), SourceError> {
    let mut quotes = Quotes::None;
    // Names are never changed.
    let mut in_value = false;
    let mut after_space = true;
    while let Some(symbol) = reading.peek() {
        let Symbol::Char(character) = symbol else {
            if in_value {
                reading.value(plan::Place::Env(quotes));
            } else {
                reading.take();
            }
            after_space = false;
            continue;
        };
        match (quotes, character) {
            (Quotes::None, '#') if after_space => {
                reading.take_line();
                continue;
            }
            (Quotes::None, '\n') => in_value = false,
            (Quotes::None, '=') => in_value = true,
            (Quotes::None, '\'') => quotes = Quotes::Single,
            (Quotes::None, '"') => quotes = Quotes::Double,
            (Quotes::Single, '\'') | (Quotes::Double, '"') => quotes = Quotes::None,
            (Quotes::None | Quotes::Double, '\\') => {
                let from = reading.position();
                reading.take();
                // What follows is itself. Before a placeholder it means that its `$` is not the shell's, and would take
                // the first character of the value.
                if in_value && matches!(reading.peek(), Some(Symbol::Placeholder)) {
                    reading.replace_from(from, "");
                    continue;
                }
            }
            _ => {}
        }
        after_space = matches!(character, ' ' | '\t' | '\n');
        reading.take();
    }
    if quotes == Quotes::None { Ok(()) } else { Err(SourceError::Open) }
}

pub(super) fn put(quotes: Quotes, value: &str, out: &mut String) -> Result<(), Unfit> {
    if value.contains('\0') {
        return Err(Unfit::EnvNul);
    }
    match quotes {
        Quotes::Single => single(value, out),
        Quotes::Double => double(value, out),
        Quotes::None => bare(value, out),
    }
    Ok(())
}

/// As plain as it can be: many readers of `.env` files know less than a shell.
fn bare(value: &str, out: &mut String) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./:@%+,-".contains(&byte);
    if !value.is_empty() && value.bytes().all(plain) {
        out.push_str(value);
        return;
    }
    // Within single marks a backslash is nothing special to a shell, but some readers then overlook the mark after it.
    let mark = if value.contains('\'') || value.ends_with('\\') { '"' } else { '\'' };
    out.push(mark);
    if mark == '"' {
        double(value, out);
    } else {
        single(value, out);
    }
    out.push(mark);
}

fn single(value: &str, out: &mut String) {
    for (index, part) in value.split('\'').enumerate() {
        out.push_str(if index == 0 { "" } else { r"'\''" });
        out.push_str(part);
    }
}

fn double(value: &str, out: &mut String) {
    for character in value.chars() {
        match character {
            '\\' | '"' | '$' => out.extend(['\\', character]),
            // A shell would take an escape, and other readers know of none.
            '`' => out.push_str("\"'`'\""),
            other => out.push(other),
        }
    }
}
