//! Obfuscation: which strings are taken, how they are named, and what stands in their places.

use crate::document::{DocumentError, Format, HiddenPath, KeyError, KeyTemplate, Obfuscation, Pointer};
use crate::id::{Location, SecretId};

fn slot() -> Location {
    SecretId::parse("poc:team:app:externalSecrets:").unwrap().into_parts().0
}

fn plan(format: Format, source: &str, paths: &[(&str, Option<&str>)]) -> Result<Obfuscation, DocumentError> {
    let path = |(pointer, key): &(&str, Option<&str>)| HiddenPath {
        pointer: Pointer::parse(pointer).unwrap(),
        key: key.map(|key| KeyTemplate::parse(key).unwrap()),
    };
    let paths: Vec<HiddenPath> = paths.iter().map(path).collect();
    Obfuscation::plan(format, source, &paths, &slot(), 100)
}

/// What is stored, as `key=value`, and the document with `<key>` in the places.
fn hidden(
    format: Format,
    source: &str,
    paths: &[(&str, Option<&str>)],
) -> Result<(Vec<String>, String), DocumentError> {
    let plan = plan(format, source, paths)?;
    let stored = plan.strings().iter().map(|string| format!("{}={}", string.key.as_str(), string.value.expose()));
    let marks: Vec<String> = plan.strings().iter().map(|string| format!("<{}>", string.key.as_str())).collect();
    let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
    let mut out = Vec::with_capacity(plan.size(source, &marks, usize::MAX).unwrap());
    let capacity = out.capacity();
    plan.write(source, &marks, &mut out).unwrap();
    assert_eq!(out.len(), capacity);
    Ok((stored.collect(), String::from_utf8(out).unwrap()))
}

fn refused(source: &str, paths: &[(&str, Option<&str>)]) -> DocumentError {
    hidden(Format::Json, source, paths).unwrap_err()
}

#[test]
fn plain_strings_at_the_pointers_are_taken_and_everything_else_stays() {
    let source = r#"{ "a": "s\u0031", "b": ["x", 1, null, {"c": "y"}], "d": "stays", "é/~": "z" }"#;
    let paths = [("/a", None), ("/b/*", None), ("/b/3/c", None), ("/é~1~0", None), ("/none", None), ("/d/x", None)];
    let (stored, answer) = hidden(Format::Json, source, &paths).unwrap();
    assert_eq!(stored, ["a=s1", "b/0=x", "b/3/c=y", "--1-0=z"]);
    let expected = r#"{ "a": "<a>", "b": ["<b/0>", 1, null, {"c": "<b/3/c>"}], "d": "stays", "é/~": "<--1-0>" }"#;
    assert_eq!(answer, expected);
}

#[test]
fn a_placeholder_stays_and_a_text_that_only_holds_one_is_stored_as_it_is() {
    let source = r#"["$<poc:team:app:externalSecrets/k:1>", "u:$<poc:team:app:externalSecrets/k:>", "$<no>"]"#;
    let (stored, answer) = hidden(Format::Json, source, &[("/*", None)]).unwrap();
    assert_eq!(stored, ["1=u:$<poc:team:app:externalSecrets/k:>", "2=$<no>"]);
    assert_eq!(answer, r#"["$<poc:team:app:externalSecrets/k:1>", "<1>", "<2>"]"#);
}

#[test]
fn a_key_may_quote_siblings_wherever_they_stand_and_does_not_depend_on_positions() {
    let paths = [("/apis/*/clientSecret", Some("{basePath}/clientSecret/{port}{tls}"))];
    let one = r#"{"clientSecret": "s1", "basePath": "/eni/a", "port": 80, "tls": true}"#;
    let two = r#"{"port": 1, "tls": false, "basePath": "/eni/b", "clientSecret": "s2", "x": {"basePath": "no"}}"#;
    let stored =
        |apis: &str| hidden(Format::Json, &format!(r#"{{"basePath": "no", "apis": {apis}}}"#), &paths).unwrap().0;
    assert_eq!(stored(&format!("[{one},{two}]")), ["eni/a/clientSecret/80true=s1", "eni/b/clientSecret/1false=s2"]);
    assert_eq!(stored(&format!("[{two},{one}]")), ["eni/b/clientSecret/1false=s2", "eni/a/clientSecret/80true=s1"]);
    assert_eq!(stored(&format!("{{\"x\":{one}}}")), ["eni/a/clientSecret/80true=s1"]);
}

#[test]
fn a_sibling_that_is_missing_or_itself_hidden_is_refused() {
    let missing = DocumentError::Key(1, KeyError::MissingSibling);
    let path = [("/x", None), ("/*/s", Some("{n}/s"))];
    for source in [r#"{"a":{"s":"1"}}"#, r#"{"n":"x","a":{"s":"1","m":{"n":"x"}}}"#, r#"{"a":{"s":"1","n":null}}"#] {
        assert_eq!(refused(source, &path), missing);
    }
    assert_eq!(refused(r#"[["1"]]"#, &[("/*/0", Some("{n}"))]), DocumentError::Key(0, KeyError::MissingSibling));
    assert_eq!(refused(r#""s""#, &[("", Some("{n}"))]), DocumentError::Key(0, KeyError::MissingSibling));
    let hidden = DocumentError::Key(0, KeyError::HiddenSibling);
    assert_eq!(refused(r#"{"a":"s1","b":"s2"}"#, &[("/a", Some("{b}")), ("/b", None)]), hidden);
    assert_eq!(refused(r#"{"a":"s1"}"#, &[("/a", Some("x/{a}"))]), hidden, "nor does a secret name itself");
}

#[test]
fn two_strings_have_two_keys() {
    let collision = |path| DocumentError::Key(path, KeyError::Collision);
    assert_eq!(refused(r#"{"a b":"1","a-b":"1"}"#, &[("/*", None)]), collision(0));
    assert_eq!(refused(r#"["1","2"]"#, &[("/*", Some("k"))]), collision(0));
    assert_eq!(refused(r#"{"a":"1","b":"2"}"#, &[("/a", Some("b")), ("/b", None)]), collision(0));
    // A placeholder that stays must not come to stand for another string: a list was put into another order.
    let standing = r#"["new", "$<poc:team:app:externalSecrets/0:1>"]"#;
    assert_eq!(refused(standing, &[("/*", None)]), collision(0));
    assert_eq!(refused(r#"["$<poc:team:app:externalSecrets/1:1>", "new"]"#, &[("/*", None)]), collision(0));
    for apart in [r#"["x", "$<poc:team:other:externalSecrets/0:1>"]"#, r#"["$<poc:::zones/1:>", "x"]"#] {
        assert!(hidden(Format::Json, apart, &[("/*", None)]).is_ok());
    }
    // One string that two paths name has the name of the first.
    let (stored, _) = hidden(Format::Json, r#"{"a":"1","b":"2"}"#, &[("/a", Some("first")), ("/*", None)]).unwrap();
    assert_eq!(stored, ["b=2", "first=1"]);
}

#[test]
fn what_cannot_be_named_is_refused() {
    for (source, paths) in
        [(r#""s""#, [("", None)]), (r#"{"":"s"}"#, [("/", None)]), (r#"{"n":"//","s":"1"}"#, [("/s", Some("{n}"))])]
    {
        assert!(matches!(refused(source, &paths), DocumentError::Key(0, KeyError::Grammar(_))), "{source}");
    }
    let long = format!(r#"{{"{}":"s"}}"#, "n".repeat(201));
    assert!(matches!(refused(&long, &[("/*", None)]), DocumentError::Key(0, KeyError::Grammar(_))));
}

#[test]
fn strings_at_one_time_are_bounded() {
    let source = |count: usize| format!("[{}]", vec!["\"x\""; count].join(","));
    assert_eq!(hidden(Format::Json, &source(100), &[("/*", None)]).unwrap().0.len(), 100);
    assert_eq!(refused(&source(101), &[("/*", None)]), DocumentError::TooManyStrings);
    let named: Vec<String> = (0..101).map(|number| format!("{{\"n\":{number},\"s\":\"x\"}}")).collect();
    let one = format!("{{\"n\":0,\"s\":[{}]}}", named.join(","));
    assert_eq!(refused(&one, &[("/s/*/s", Some("{n}"))]), DocumentError::TooManyStrings);
}

#[test]
fn yaml_strings_are_what_the_core_schema_takes_for_strings() {
    let source = "a: s # c\nb: 12\nc: '12'\nd: yes\ne: |\n  l1\n  l2\nf: ~\ng: !!str 1\nh: 1.5e3\ni: 0o17\nj: -.inf\n";
    let (stored, answer) = hidden(Format::Yaml, source, &[("/*", None)]).unwrap();
    assert_eq!(stored, ["a=s", "c=12", "d=yes", "e=l1\nl2\n", "g=1"]);
    assert_eq!(
        answer,
        "a: \"<a>\" # c\nb: 12\nc: '<c>'\nd: \"<d>\"\ne: \"<e>\"\nf: ~\ng: !!str \"<g>\"\nh: 1.5e3\ni: 0o17\nj: -.inf\n"
    );
}

#[test]
fn a_block_that_ends_with_its_source_is_stored_without_a_line_break_that_is_not_there() {
    for (source, value) in [("a: |\n  hunter2", "hunter2"), ("a: |\n  hunter2\n", "hunter2\n"), ("a: |-\n  x\n", "x")] {
        let (stored, _) = hidden(Format::Yaml, source, &[("/a", None)]).unwrap();
        assert_eq!(stored, [format!("a={value}")]);
    }
}

#[test]
fn what_an_alias_repeats_is_stored_once_or_refused() {
    let yaml = |source, paths: &[(&str, Option<&str>)]| hidden(Format::Yaml, source, paths);
    let all = yaml("a: &x s\nb: *x\n", &[("/*", None)]).unwrap();
    assert_eq!(all, (vec!["a=s".to_owned()], "a: &x \"<a>\"\nb: *x\n".to_owned()));
    let first = yaml("a: &x s\nb: *x\n", &[("/a", None)]).unwrap();
    assert_eq!(first.1, "a: &x \"<a>\"\nb: \"s\"\n", "what was not named stays what it is");
    let second = yaml("a: &x s\nb: *x\n", &[("/b", None)]).unwrap();
    assert_eq!(second, (vec!["b=s".to_owned()], "a: &x s\nb: \"<b>\"\n".to_owned()));
    let container = yaml("a: &x {s: 1x}\nb: *x\n", &[("/a/s", None)]);
    assert!(matches!(container, Err(DocumentError::AliasElsewhere(_))));
    let quoted = yaml("n: &x name\na: {n: *x, s: v}\n", &[("/a/s", Some("{n}"))]).unwrap();
    assert_eq!(quoted.0, ["name=v"]);
    let twice = yaml("s: x\n---\ns: y\n", &[("/s", None)]);
    assert_eq!(twice.unwrap_err(), DocumentError::Key(0, KeyError::Collision), "one name in two documents");
    assert!(matches!(hidden(Format::Text, "x", &[("", None)]), Err(DocumentError::NoStructure)));
}
