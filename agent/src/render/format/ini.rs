//! INI: there is no standard and no escape that readers agree on, so a value is written as it is or not at all.

use super::Unfit;
use super::plan::{self, Reading, Symbol};

/// Where a value stands in what is right of `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    quote: Option<char>,
    /// Nothing but white space stands before it.
    first: bool,
    /// Nothing but white space stands after it.
    last: bool,
}

pub(super) fn read(reading: &mut Reading<'_>) {
    let mut has_key = false;
    while reading.peek().is_some() {
        has_key = line(reading, has_key);
        // The end of the line, if there is one.
        reading.take();
    }
}

/// One line, behind a line with a key or not; whether a key stands in it, or in the one that it goes on with.
fn line(reading: &mut Reading<'_>, has_key: bool) -> bool {
    let goes_on = has_key && matches!(reading.peek(), Some(Symbol::Char(' ' | '\t')));
    skip_space(reading);
    let mut first = true;
    match reading.peek() {
        None | Some(Symbol::Char('\n')) => return has_key,
        Some(Symbol::Char('#' | ';')) => {
            reading.take_line();
            return has_key;
        }
        Some(Symbol::Char('[')) => {
            reading.take_line();
            return false;
        }
        Some(_) => {}
    }
    // The key; a placeholder in it is text. An indented line without one is more of the value before.
    loop {
        match reading.peek() {
            None | Some(Symbol::Char('\n')) => return goes_on,
            Some(Symbol::Placeholder) if goes_on => break,
            Some(Symbol::Char('=' | ':')) => {
                reading.take();
                first = true;
                skip_space(reading);
                break;
            }
            Some(_) => {
                reading.take();
                first = false;
            }
        }
    }
    let mut quote = None;
    loop {
        match reading.peek() {
            None | Some(Symbol::Char('\n')) => return true,
            Some(Symbol::Placeholder) => {
                let after = reading.rest().split_once('>').map_or("", |(_, after)| after);
                let last = after.split('\n').next().unwrap_or_default().trim().is_empty();
                reading.value(plan::Place::Ini(Place { quote, first, last }));
            }
            Some(Symbol::Char(character)) => {
                if quote == Some(character) {
                    quote = None;
                } else if first && matches!(character, '"' | '\'') {
                    quote = Some(character);
                }
                reading.take();
            }
        }
        first = false;
    }
}

fn skip_space(reading: &mut Reading<'_>) {
    while matches!(reading.peek(), Some(Symbol::Char(' ' | '\t' | '\r'))) {
        reading.take();
    }
}

pub(super) fn put(place: Place, value: &str, out: &mut String) -> Result<(), Unfit> {
    let line_break =
        |character: char| (character.is_control() && character != '\t') || matches!(character, '\u{2028}' | '\u{2029}');
    if value.contains(line_break) {
        return Err(Unfit::IniControl);
    }
    if (place.quote.is_some() && value.contains(['"', '\'']))
        || (place.quote.is_none() && place.first && value.starts_with(['"', '\'']))
    {
        return Err(Unfit::IniQuote);
    }
    if place.quote.is_none() {
        if (place.first && value.starts_with(char::is_whitespace))
            || (place.last && value.ends_with(|end: char| end == '\\' || end.is_whitespace()))
        {
            return Err(Unfit::IniEdge);
        }
        let mut before = if place.first { ' ' } else { out.chars().next_back().unwrap_or(' ') };
        for character in value.chars() {
            if matches!(character, '#' | ';') && before.is_whitespace() {
                return Err(Unfit::IniComment);
            }
            before = character;
        }
    }
    out.push_str(value);
    Ok(())
}
