//! JSON: every string at its place, and nothing else.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{IDS, resolved};
use crate::document::{DocumentError, Format};

fn json(source: &str, all: &[&str]) -> String {
    resolved(Format::Json, source, all, None).unwrap()
}

#[test]
fn strings_are_written_anew_and_everything_else_stays_byte_for_byte() {
    let source =
        " {\n\t\"$<poc:::zones/a:>\" : [ 1.00, -0e0, true,null, \"$<poc:::zones/a:>\" ,\"\\u0041\"],\r\n\"x\":{} } ";
    let expected = source.replace("\"$<poc:::zones/a:>\" ,", "\"a\\\"b\\\\\\n\\u0001é\" ,");
    assert_eq!(json(source, &["a\"b\\\n\u{1}é"]), expected);
    assert_eq!(json("\"$<poc:::zones/a:>\"", &["x"]), "\"x\"", "a document may be one string");
    for untouched in ["0", "[]", " null", "{\"a\":\"$<a>\"}", "\"$<poc:::zones/a:\"", "[\"$<poc:::zones/a :>\"]"] {
        assert_eq!(json(untouched, &[]), untouched);
    }
}

#[test]
fn a_placeholder_may_be_written_with_escapes_and_stand_within_a_text() {
    let escaped = r#"["\u0024\u003cpoc:::zones\/a:\u003e", "u:$\u003Cpoc:::zones/a:>@h?p=$<poc:team::teamToken:>"]"#;
    assert_eq!(json(escaped, &["v", "", "w\t"]), r#"["v", "u:v@h?p=w\t"]"#);
}

#[test]
fn n4_a_value_is_not_scanned_again() {
    let nested = format!("$<{}>", IDS[2]);
    let source = format!("[\"$<{}>\",\"{nested}\"]", IDS[0]);
    assert_eq!(json(&source, &[&nested, "", "secret"]), format!("[\"{nested}\",\"secret\"]"));
    // What only a value and the text beside it make up is none either.
    assert_eq!(json("\"$<$<poc:::zones/a:>team::teamToken:>\"", &["poc:", "", "no"]), "\"$<poc:team::teamToken:>\"");
}

#[test]
fn paths_limit_what_is_resolved_to_a_place_and_below() {
    let p = "$<poc:::zones/a:>";
    let source = json!({"a": [p, {"b": p}], "c": p, "c/d": {"e": [p]}, "0": p}).to_string();
    let at = |paths: &[&str]| -> Value {
        serde_json::from_str(&resolved(Format::Json, &source, &["v"], Some(paths)).unwrap()).unwrap()
    };
    assert_eq!(at(&["/a"]), json!({"a": ["v", {"b": "v"}], "c": p, "c/d": {"e": [p]}, "0": p}));
    assert_eq!(at(&["/a/*/b", "/c~1d/e/0"]), json!({"a": [p, {"b": "v"}], "c": p, "c/d": {"e": ["v"]}, "0": p}));
    assert_eq!(at(&["/*/1", "/0"]), json!({"a": [p, {"b": "v"}], "c": p, "c/d": {"e": [p]}, "0": "v"}));
    assert_eq!(at(&["/none", "/a/2", "/a/00"]).to_string(), source);
    assert_eq!(at(&[""]), json!({"a": ["v", {"b": "v"}], "c": "v", "c/d": {"e": ["v"]}, "0": "v"}));
}

#[test]
fn s6_what_is_no_json_is_refused_where_it_stands() {
    let read = |source: &str| resolved(Format::Json, source, &[], None);
    for wrong in [
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "'a'",
        "[1] 2",
        "\u{feff}1",
        "01",
        "+1",
        "nul",
        "\"\t\"",
        "\"\\x\"",
        "{a:1}",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "{\"\\ud800\":1}",
        "[\"\\ud83d\\u0041\"]",
        "// c\n1",
        "NaN",
        "[1\0]",
    ] {
        assert!(matches!(read(wrong), Err(DocumentError::Syntax(_))), "{wrong:?}");
    }
    let twice = "{\"b\":[{\"a\":1,\n  \"c\": 2, \"\\u0061\":3}]}";
    assert!(matches!(read(twice), Err(DocumentError::DuplicateKey(_))));
    assert!(read("[{\"a\":1},{\"a\":{\"a\":1}}]").is_ok());
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        assert!(read(&nested(32)).is_ok());
        assert!(matches!(read(&nested(33)), Err(DocumentError::TooDeep(_))));
        assert!(matches!(read(&nested(100_000)), Err(DocumentError::TooDeep(_))));
        assert!(matches!(read(&open.repeat(100_000)), Err(DocumentError::Syntax(_))));
    }
}

/// Text with placeholders, and with what only looks like one.
pub(super) fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        "[a-z :#'\"\\\\{}$<>-]{0,6}",
        (0..IDS.len()).prop_map(|number| format!("$<{}>", IDS[number])),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => text().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let members = proptest::collection::vec((text(), inner.clone()), 0..5);
        prop_oneof![
            proptest::collection::vec(inner, 0..5).prop_map(Value::from),
            members.prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

/// What a document must become: each string that is a value, with each placeholder replaced, once.
fn expected(document: &Value, values: &[String]) -> Value {
    match document {
        Value::String(text) => super::oracle::replaced(text, values).into(),
        Value::Array(items) => items.iter().map(|item| expected(item, values)).collect(),
        Value::Object(members) => {
            members.iter().map(|(key, member)| (key.clone(), expected(member, values))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn a_document_parses_to_what_it_was_with_those_strings_changed(
        document in document(),
        values in proptest::collection::vec(any::<String>(), IDS.len()),
        pretty in any::<bool>(),
    ) {
        let source = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) };
        let all: Vec<&str> = values.iter().map(String::as_str).collect();
        let answer = json(&source.unwrap(), &all);
        prop_assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), expected(&document, &values));
    }

    #[test]
    fn any_bytes_are_a_document_or_an_error(source in any::<String>()) {
        let plain = serde_json::from_str::<Value>(&source).is_ok();
        let read = resolved(Format::Json, &source, &["", "", ""], None);
        prop_assert!(read.is_err() || plain);
    }
}
