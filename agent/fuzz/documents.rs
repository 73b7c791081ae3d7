//! What must hold of every document, pointer and key.

use cloakroom_agent::document::{Format, HiddenPath, KeyTemplate, Obfuscation, Placeholders, Pointer, WriteError};
use cloakroom_agent::id::{SecretId, SubKey, scan};

use super::says_nothing_of;

/// Values that would be somebody else's lines, keys or types, were they not written for their place.
const VALUES: [&str; 12] = [
    "v",
    "true",
    "a: b # c",
    "\"'\\",
    "one\ntwo\n\n three",
    " lead",
    "trail\n",
    "---\n- x\n...\n",
    "$<poc:::zones/a:>",
    "\u{0}\u{85}\u{2028}\u{feff}\r\n\t",
    "",
    "}]\",\"x\":[{",
];

/// What is to be hidden.
const SECRET: &str = "Zq9secretZq9";

/// More than this is no fuzzer's business.
const LARGEST: usize = 1 << 20;

fn resolved(format: Format, text: &str, choice: u8) -> Option<String> {
    let paths =
        (choice & 0x80 != 0).then(|| ["/*/a", "/0"].map(|path| Pointer::parse(path).expect("a pointer")).into());
    let found = match Placeholders::find(format, text, paths, 100) {
        Ok(found) => found,
        Err(error) => {
            says_nothing_of(&error.to_string(), text);
            return None;
        }
    };
    let values: Vec<&str> = (0..found.ids().len()).map(|number| value(choice, number)).collect();
    let Ok(size) = found.size(text, &values, LARGEST) else { return None };
    let mut out = Vec::with_capacity(size);
    assert_eq!(found.write(text, &values, &mut out), Ok::<(), WriteError>(()), "it would read otherwise");
    assert_eq!(out.len(), size, "the buffer grows");
    let answer = String::from_utf8(out).expect("text stays text");
    if found.places() == 0 && format != Format::Yaml {
        assert_eq!(answer, text);
    }
    Some(answer)
}

fn value(choice: u8, number: usize) -> &'static str {
    VALUES[(usize::from(choice & 0x7f) + number) % VALUES.len()]
}

/// A JSON document becomes what it parses to with its strings changed.
pub(crate) fn json(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Some(answer) = resolved(Format::Json, text, *choice) else { return };
    if choice & 0x80 == 0 {
        let mut ids: Vec<SecretId> = Vec::new();
        // A number beyond what a tree can hold stays as it is written.
        let Ok(before) = serde_json::from_str::<serde_json::Value>(text) else { return };
        // In the order of the text, which a map of serde_json does not keep.
        collect(text, &mut ids);
        let after: serde_json::Value = serde_json::from_str(&answer).expect("what is answered must be JSON");
        assert_eq!(
            after,
            expected(&before, &|id| {
                let number = ids.iter().position(|known| known == id).expect("an id must have been found");
                value(*choice, number)
            })
        );
    }
    assert!(Placeholders::find(Format::Json, &answer, None, usize::MAX).is_ok());
}

/// The ids of a JSON text in their order, by the room's own reader.
fn collect(text: &str, ids: &mut Vec<SecretId>) {
    let found = Placeholders::find(Format::Json, text, None, 100).expect("it was read before");
    ids.extend(found.ids().cloned());
}

fn expected(value: &serde_json::Value, of: &dyn Fn(&SecretId) -> &'static str) -> serde_json::Value {
    match value {
        serde_json::Value::String(text) => {
            let mut out = String::new();
            let mut from = 0;
            for found in scan(text) {
                out.push_str(text.get(from..found.range.start).expect("what is found lies in the text"));
                out.push_str(of(&found.id));
                from = found.range.end;
            }
            (out + text.get(from..).expect("what is found ends in the text")).into()
        }
        serde_json::Value::Array(items) => items.iter().map(|item| expected(item, of)).collect(),
        serde_json::Value::Object(members) => members
            .iter()
            .map(|(key, member)| (key.clone(), expected(member, of)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// A YAML document becomes one that its own parser reads as the same with its strings changed: the room looks itself, and
/// must never find that it is not so.
pub(crate) fn yaml(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Some(answer) = resolved(Format::Yaml, text, *choice) {
        assert!(Placeholders::find(Format::Yaml, &answer, None, usize::MAX).is_ok());
    }
}

/// A pointer leads to the one place that its steps name.
pub(crate) fn pointer(data: &[u8]) {
    const HERE: &str = "\"$<poc:::zones/a:>\"";
    let Ok(text) = std::str::from_utf8(data) else { return };
    let pointer = match Pointer::parse(text) {
        Ok(pointer) => pointer,
        Err(error) => return says_nothing_of(&error.to_string(), text),
    };
    let mut document = HERE.to_owned();
    for step in text.split('/').skip(1).collect::<Vec<_>>().into_iter().rev() {
        let name = step.replace("~1", "/").replace("~0", "~");
        let name = serde_json::to_string(&name).expect("a string");
        // Beside it stands another, where a star may lead as well.
        document = if step == "*" {
            format!("{{{name}:{document}}}")
        } else {
            format!(
                "{{\"\\u0000{}:{HERE},{name}:{document}}}",
                name.strip_prefix('"').expect("a string begins with a quote")
            )
        };
    }
    let found = Placeholders::find(Format::Json, &document, Some(vec![pointer]), 100).expect("at most 32 levels");
    assert_eq!(found.places(), 1, "{document}");
    let mut out = Vec::new();
    found.write(&document, &["v"], &mut out).expect("JSON is not read again");
    let (before, after) = document.rsplit_once(HERE).expect("it stands there");
    assert_eq!(String::from_utf8(out).expect("text"), format!("{before}\"v\"{after}"));
}

/// Whatever a key quotes, what comes of it is a sub-key, and the same one wherever the string stands.
pub(crate) fn key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (template, sibling) = text.split_once('\n').unwrap_or((text, ""));
    let template = match KeyTemplate::parse(template) {
        Ok(template) => template,
        Err(error) => return says_nothing_of(&error.to_string(), text),
    };
    let slot = SecretId::parse("poc:::zones:").expect("an id").into_parts().0;
    let paths = [HiddenPath { pointer: Pointer::parse("/*/s").expect("a pointer"), key: Some(template) }];
    let item = serde_json::json!({"a": sibling, "s": SECRET, "n": 1, "t": true});
    let keys = |document: serde_json::Value| -> Option<Vec<SubKey>> {
        match Obfuscation::plan(Format::Json, &document.to_string(), &paths, &slot, 100) {
            Ok(plan) => Some(plan.strings().iter().map(|string| string.key.clone()).collect()),
            Err(error) => {
                says_nothing_of(&error.to_string(), text);
                None
            }
        }
    };
    let first = keys(serde_json::json!([item]));
    assert_eq!(first, keys(serde_json::json!([1, {}, item])));
    assert_eq!(first, keys(serde_json::json!({ "x": item })));
    for key in first.unwrap_or_default() {
        assert!(SubKey::parse(key.as_str()).is_ok());
        assert!(text.contains(SECRET) || !key.as_str().contains(SECRET), "a key gives the secret away");
    }
}
