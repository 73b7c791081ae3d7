//! YAML that was not written to be read.

use super::resolved;
use crate::document::{DocumentError, Format, Placeholders};

fn yaml(source: &str) -> Result<String, DocumentError> {
    resolved(Format::Yaml, source, &["v", "v", "v"], None)
}

#[test]
fn an_alias_is_never_unfolded() {
    let mut source = String::from("a0: &a0 [$<poc:::zones/a:>]\n");
    for level in 1..200 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        source.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let answer = yaml(&source).unwrap();
    assert_eq!(answer, source.replace("$<poc:::zones/a:>", "\"v\""));
    assert_eq!(yaml("a: &x [*x, $<poc:::zones/a:>]\n").unwrap(), "a: &x [*x, \"v\"]\n", "nor one of itself");
    let anchors: String = (0..1001).map(|number| format!("- &a{number} x\n")).collect();
    assert_eq!(yaml(&anchors), Err(DocumentError::TooManyAnchors));
}

#[test]
fn what_is_no_yaml_is_refused_where_it_stands() {
    for wrong in [
        "a: [",
        "a: b: c",
        "a: *none",
        "\"\\ud800\"",
        "a: \"\\x0\"",
        "a\0b",
        "a: \u{1}",
        "%FOO\n",
        "- a\nb: c",
        "}",
        "a: 'b",
        "---\n\u{feff}a: 1",
        "&a &b c",
        "!<a b",
        "a: |\n x\n\u{0}",
    ] {
        assert!(matches!(yaml(wrong), Err(DocumentError::Syntax(_))), "{wrong:?} {:?}", yaml(wrong));
    }
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    for twice in [
        "a: 1\na: 2\n",
        "{a: 1, \"a\": 2}",
        "a: 1\n'a': 2",
        "- x: 1\n  \"\\x78\": 2",
        "? |-\n  a\n: 1\na: 2",
        "<<: {}\n<<: {}",
        "x: &a k\n*a : 1\nk: 2\n",
        "1: a\n1: b",
    ] {
        assert!(matches!(yaml(twice), Err(DocumentError::DuplicateKey(_))), "{twice}");
    }
    for once in ["a: {a: 1}\n", "1: a\n\"1\": b\n", "? [a]\n: 1\n? [b]\n: 2\n", "a: 1\n---\na: 1\n"] {
        assert!(yaml(once).is_ok(), "{once}");
    }
}

#[test]
fn depth_is_limited_in_every_way_of_writing_it() {
    let flow = |depth: usize| format!("{}x{}", "[".repeat(depth), "]".repeat(depth));
    let block = |depth: usize| format!("{}x", "- ".repeat(depth));
    let lines = |depth: usize| (0..depth).map(|level| format!("{}a:\n", " ".repeat(level))).collect::<String>();
    let keys = |depth: usize| format!("{}x", "? ".repeat(depth));
    for nested in [&flow as &dyn Fn(usize) -> String, &block, &lines, &keys] {
        assert!(yaml(&nested(32)).is_ok());
        for depth in [33, 64, 100, 3000] {
            assert!(matches!(yaml(&nested(depth)), Err(DocumentError::TooDeep(_))), "{depth}");
        }
    }
}

#[test]
fn a_short_document_does_not_become_a_long_one() {
    let source = format!("[{}]", "\"$<poc:::zones/a:>\",".repeat(1000));
    let value = "x".repeat(64 * 1024);
    for (format, source) in [(Format::Yaml, source.clone()), (Format::Text, source)] {
        let found = Placeholders::find(format, &source, None, 100).unwrap();
        assert!(found.size(&source, &[&value], 8 << 20).is_err());
    }
}
