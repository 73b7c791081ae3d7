//! What must hold of every format, and what each document becomes.

#![expect(clippy::format_push_string, clippy::format_collect, reason = "what makes texts is to be read easily")]

mod hidden;
mod hostile;
mod json;
mod oracle;
mod written;
mod yaml;

use super::{DocumentError, Format, Placeholders, Pointer, WriteError};

/// Ids that the documents of these tests name, in the order of their values.
const IDS: [&str; 3] = ["poc:::zones/a:", "poc:team:app:externalSecrets/b.c/d:0123abcd", "poc:team::teamToken:"];

/// A value for each id that a document names, by [`IDS`].
fn values<'a>(found: &Placeholders, values: &[&'a str]) -> Vec<&'a str> {
    let number = |id: &str| IDS.iter().position(|known| *known == id);
    found.ids().map(|id| values[number(&id.to_string()).unwrap()]).collect()
}

/// `source` with the values of [`IDS`] in it, at `paths` or everywhere.
fn resolved(format: Format, source: &str, all: &[&str], paths: Option<&[&str]>) -> Result<String, DocumentError> {
    let paths = paths.map(|paths| paths.iter().map(|path| Pointer::parse(path).unwrap()).collect());
    let found = Placeholders::find(format, source, paths, 100)?;
    let values = values(&found, all);
    let size = found.size(source, &values, usize::MAX).unwrap();
    let mut out = Vec::with_capacity(size);
    found.write(source, &values, &mut out).unwrap();
    assert_eq!(out.len(), size, "the buffer must not grow");
    if size > 0 {
        assert_eq!(found.size(source, &values, size - 1), Err(WriteError::TooLong));
    }
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn a_text_is_scanned_as_it_is_and_written_without_escapes() {
    let text = |source| resolved(Format::Text, source, &["\"<&\n", "$<poc:::zones/a:>", "t"], None).unwrap();
    assert_eq!(text("a=$<poc:::zones/a:>; $<no>"), "a=\"<&\n; $<no>");
    assert_eq!(text("$<$<poc:team:app:externalSecrets/b.c/d:0123abcd>>"), "$<$<poc:::zones/a:>>", "never again");
    assert_eq!(text("\u{feff}{\"a\": \"\\u003cx\"}\r\n\0"), "\u{feff}{\"a\": \"\\u003cx\"}\r\n\0");
    assert_eq!(resolved(Format::Text, "x", &[], Some(&["/a"])), Err(DocumentError::NoStructure));
}

#[test]
fn more_ids_than_allowed_are_refused_and_the_same_one_counts_once() {
    let find = |source: &str, max| Placeholders::find(Format::Text, source, None, max).map(|found| found.ids().len());
    let many = |count: usize| (0..count).map(|number| format!("$<poc:::zones/{number}:>")).collect::<String>();
    assert_eq!(find(&many(3).repeat(5), 3), Ok(3));
    assert_eq!(find(&many(4), 3), Err(DocumentError::TooManyIds));
    // Another checksum is another id.
    assert_eq!(find("$<poc:::zones/a:1>$<poc:::zones/a:2>", 1), Err(DocumentError::TooManyIds));
}
