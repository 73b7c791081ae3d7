//! YAML: every string at its place, whatever way it is written in.

use proptest::prelude::*;

use super::oracle::trees;
use super::written::{source, written};
use super::{IDS, resolved};
use crate::document::{DocumentError, Format, Pointer};

const P: &str = "$<poc:::zones/a:>";

fn yaml(source: &str, all: &[&str]) -> String {
    resolved(Format::Yaml, source, all, None).unwrap()
}

/// `@` stands for the placeholder; what comes of it is what libyaml takes it for as well.
fn becomes(source: &str, value: &str, expected: &str) {
    let source = source.replace('@', P);
    let answer = yaml(&source, &[value]);
    assert_eq!(answer, expected);
    let values = vec![value.to_owned(); IDS.len()];
    let before = trees(&source)
        .unwrap_or_else(|| panic!("malformed to libyaml: {source:?}"))
        .into_iter()
        .map(|tree| tree.resolved(&values, &|_| true).settled());
    let after: Vec<_> = trees(&answer).unwrap().into_iter().map(super::oracle::Tree::settled).collect();
    assert_eq!(after, before.collect::<Vec<_>>(), "{source}");
}

#[test]
fn a_plain_scalar_stays_a_string_whatever_comes_into_it() {
    for value in ["true", "123", "null", "~", "a: b", "a #b", "- x", "1e3", "yes", "@x", "{a}", "0x1F", " x ", ""] {
        becomes("a: @ # c\n", value, &format!("a: \"{value}\" # c\n"));
        becomes("[@,{b: @}]", value, &format!("[\"{value}\",{{b: \"{value}\"}}]"));
    }
    becomes("- @\n", "a\nb\t\"\\\r\u{85}\u{2028}\u{feff}\0", "- \"a\\nb\\t\\\"\\\\\\r\\u0085\\u2028\\ufeff\\u0000\"\n");
    becomes("a: u:@@h\n  more\nb: 1\n", "'", "a: \"u:''h more\"\nb: 1\n");
    becomes("@", "x", "\"x\"");
}

#[test]
fn quotes_stay_where_they_can() {
    becomes("a: 'it''s @'\n", "'q'", "a: 'it''s ''q'''\n");
    becomes("a: 'it''s @'\n", "x\ny", "a: \"it's x\\ny\"\n");
    becomes("a: \"\\u0024\\x3cpoc:::zones/a:> \\\n   x\"\n", "v", "a: \"v x\"\n");
}

#[test]
fn a_literal_block_keeps_its_lines_and_further_lines_get_their_indentation() {
    let pem = "-----BEGIN\nabc\n\n-----END";
    becomes("a: |\n  x=@;\n  y\nb: 1\n", pem, "a: |\n  x=-----BEGIN\n  abc\n\n  -----END;\n  y\nb: 1\n");
    becomes("a:\n- |2- # | c\n     @\n\n# d\n", "v: w # x", "a:\n- |2- # | c\n     v: w # x\n\n# d\n");
    becomes("- >\n  a @\n  b\n", "v", "- >\n  a v\n  b\n");
    becomes("a: |+\n  @@\n\n\nb: 1\n", "v", "a: |+\n  vv\n\n\nb: 1\n");
    becomes("a: |\r\n  @\r\n  y\r\n", "v", "a: |\r\n  v\r\n  y\r\n");
}

#[test]
fn a_block_is_written_in_quotes_where_its_lines_cannot_hold_the_value() {
    becomes("a: | # c\n  @\n  y\nb: 1\n", " v", "a: \" v\\ny\\n\" # c\nb: 1\n");
    becomes("a: |\n  @\nb: 1\n", "v\n", "a: \"v\\n\\n\"\nb: 1\n");
    becomes("- x: |-\n    @\n  y: 1\n", "v\n", "- x: \"v\\n\"\n  y: 1\n");
    becomes("a: >-\n  @\n  y\n\n  z\nb: 1\n", "v\nw", "a: \"v\\nw y\\nz\"\nb: 1\n");
    becomes("a: |\n  @\nb: 1\n", "v\rw", "a: \"v\\rw\\n\"\nb: 1\n");
    becomes("a: !!str &x |\n  @\nb: *x\n", "\tv", "a: !!str &x \"\\tv\\n\"\nb: *x\n");
    becomes("a: # >\n  &b !own\n  # |\n  |1-\n   @\n", "\n", "a: # >\n  &b !own\n  # |\n  \"  \\n\"\n");
    // These libyaml does not take.
    assert_eq!(yaml(&format!("--- |\n{P}\n--- 1\n"), &["..."]), "--- \"...\\n\"\n--- 1\n");
    assert_eq!(yaml(&format!("- &|>|\n >\n  {P}"), &["\n"]), "- &|>|\n \"\\n\"\n");
}

#[test]
fn a_block_that_ends_with_its_source_has_no_line_break_that_is_not_there() {
    for (source, value, expected) in [
        ("a: |\n  @", "v", "a: |\n  v"),
        ("a: |\n  @", " v", "a: \" v\"\n"),
        ("a: |+\n  x\n\n  @", " v", "a: \"x\\n\\n v\"\n"),
        ("a: |\r\n  x\r\n  @", " v", "a: \"x\\n v\"\r\n"),
        ("a: >\n  x\n  @", "v\nw", "a: \"x v\\nw\"\n"),
        ("a: |-\n  @", " v", "a: \" v\"\n"),
        ("a: &x |\n  @\nb: *x\nc: |\n  @", " v", "a: &x \" v\\n\"\nb: *x\nc: \" v\"\n"),
    ] {
        // Neither does this libyaml.
        assert_eq!(yaml(&source.replace('@', P), &[value; 2]), expected, "{source:?}");
    }
    becomes("a: |\n  @\n", " v", "a: \" v\\n\"\n");
    becomes("a: |\n  @\n# c", " v", "a: \" v\\n\"\n# c");
}

#[test]
fn everything_else_stays_byte_for_byte() {
    let source = "%YAML 1.1\n%TAG !e! tag:e,2000:\n--- !e!x # c\nk: &a  [1, 'x' ,{}]\n? |\n  $<poc:::zones/a:>\n: *a\n\
                  \"$<poc:::zones/a:>\" :\t@\n<<: {x: ~}\n...\n# between\n---\n- @\n";
    let expected = source.replace('@', "\"v\"");
    assert_eq!(yaml(&source.replace('@', P), &["v"]), expected);
    for untouched in
        ["", "\n", "# c\n", "---\n", "a: $<poc:::zones/a\n", "\u{feff}a: 1\n", "!!int \"$<poc:::zones/a:>\""]
    {
        assert_eq!(yaml(untouched, &["v"]), untouched);
    }
    becomes("\u{feff}a: @\n", "v", "\u{feff}a: \"v\"\n");
    becomes("? [@]\n: @\n? {@: @}\n: [@]\n", "v", &format!("? [{P}]\n: \"v\"\n? {{{P}: {P}}}\n: [\"v\"]\n"));
}

#[test]
fn what_an_alias_repeats_changes_with_its_anchor_and_is_written_out_where_it_must_not() {
    becomes("a: &x @\nb: *x\nc: &y {d: @}\ne: {<<: *y}\n", "v", "a: &x \"v\"\nb: *x\nc: &y {d: \"v\"}\ne: {<<: *y}\n");
    // A key is never changed, and what repeats a key is no key.
    becomes("a: &x @\n*x : 1\n", "v", &format!("a: &x \"v\"\n\"{P}\" : 1\n"));
    becomes("? &x @\n: *x\n", "v", &format!("? &x {P}\n: \"v\"\n"));
    let at = |source: &str, paths: &[&str]| resolved(Format::Yaml, &source.replace('@', P), &["v"], Some(paths));
    assert_eq!(at("a: &x @\nb: *x\n", &["/a"]).unwrap(), format!("a: &x \"v\"\nb: \"{P}\"\n"));
    assert_eq!(at("a: &x @\nb: *x\n", &["/b"]).unwrap(), format!("a: &x {P}\nb: \"v\"\n"));
    assert_eq!(at("a: &x [@]\nb: *x\n", &["/a", "/b"]).unwrap(), "a: &x [\"v\"]\nb: *x\n");
    assert_eq!(at("a: &x [1]\nb: [*x, @]\n", &["/b"]).unwrap(), "a: &x [1]\nb: [*x, \"v\"]\n");
    for (source, path) in [("a: &x [@]\nb: *x\n", "/a"), ("a: &x {c: @}\nb: *x\n", "/b/c"), ("? &x [@]\n: *x\n", "")] {
        assert!(matches!(at(source, &[path]), Err(DocumentError::AliasElsewhere(_))), "{source} {path}");
    }
}

#[test]
fn pointers_lead_through_every_document_of_a_stream() {
    let source = "a: {1: @, b: [@, @]}\n---\na: {b: [0, @]}\n".replace('@', P);
    let at = |path| resolved(Format::Yaml, &source, &["v"], Some(&[path])).unwrap();
    let expected = |marks: &str| {
        let mut marks = marks.chars();
        source
            .split(P)
            .map(str::to_owned)
            .reduce(|text, rest| text + if marks.next() == Some('v') { "\"v\"" } else { P } + &rest)
    };
    assert_eq!(Some(at("/a/b/1")), expected("--vv"));
    assert_eq!(Some(at("/a/1")), expected("v---"));
    assert_eq!(Some(at("/*/b")), expected("-vvv"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_document_parses_to_what_it_was_with_those_strings_changed(
        document in written(),
        values in proptest::collection::vec(super::json::text(), IDS.len()),
        windows in any::<bool>(),
    ) {
        let source = source(&document, if windows { "\r\n" } else { "\n" });
        let before = trees(&source);
        prop_assume!(before.is_some());
        let all: Vec<&str> = values.iter().map(String::as_str).collect();
        let answer = yaml(&source, &all);
        let expected: Vec<_> =
            before.unwrap().into_iter().map(|tree| tree.resolved(&values, &|_| true).settled()).collect();
        let after = trees(&answer).unwrap_or_else(|| panic!("malformed:\n{source}\n{answer}"));
        prop_assert_eq!(after.into_iter().map(super::oracle::Tree::settled).collect::<Vec<_>>(), expected, "\n{}\n{}", source, answer);
    }

    #[test]
    fn a_document_parses_to_what_it_was_with_the_strings_at_some_paths_changed(
        document in written(),
        paths in proptest::collection::vec(proptest::collection::vec(prop_oneof!["[0-3]", Just("*".to_owned())], 0..3), 1..3),
    ) {
        let source = source(&document, "\n");
        let before = trees(&source);
        prop_assume!(before.is_some());
        let texts: Vec<String> = paths.iter().map(|path| path.iter().map(|step| format!("/{step}")).collect()).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        match resolved(Format::Yaml, &source, &["v", "w", "x"], Some(&texts)) {
            // What cannot be done by changing strings in their places.
            Err(error) => prop_assert!(matches!(error, DocumentError::AliasElsewhere(_)), "{source}"),
            Ok(answer) => {
                let pointers: Vec<Pointer> = texts.iter().map(|text| Pointer::parse(text).unwrap()).collect();
                prop_assert_eq!(pointers.len(), paths.len());
                let wanted = |place: &[String]| paths.iter().any(|path| {
                    path.len() <= place.len() && path.iter().zip(place).all(|(step, name)| step == "*" || step == name)
                });
                let values: Vec<String> = ["v", "w", "x"].map(str::to_owned).to_vec();
                let expected: Vec<_> = before.unwrap().into_iter()
                    .map(|tree| tree.resolved(&values, &wanted).settled()).collect();
                let after: Vec<_> = trees(&answer).unwrap().into_iter().map(super::oracle::Tree::settled).collect();
                prop_assert_eq!(after, expected, "{:?}\n{}\n{}", texts, source, answer);
            }
        }
    }
}
