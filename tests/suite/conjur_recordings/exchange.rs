//! Recordings as they lie in the tree.

use std::collections::BTreeSet;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

pub(super) struct Recording {
    /// When it was made, in seconds since 1970.
    pub(super) recorded: u64,
    pub(super) exchanges: Vec<Exchange>,
}

pub(super) struct Exchange {
    pub(super) name: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Body>,
    pub(super) status: u16,
    pub(super) answered: Vec<(String, String)>,
    pub(super) answer: Option<Body>,
    at_once: Option<String>,
}

#[derive(Clone)]
pub(super) enum Body {
    Bytes(Vec<u8>),
    /// Too long to be kept.
    Omitted {
        size: usize,
        sha256: String,
    },
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/conjur")
}

/// The names of all recordings.
pub(super) fn files() -> BTreeSet<String> {
    let names = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".json").map(ToOwned::to_owned)).collect()
}

impl Recording {
    pub(super) fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let recorded: jiff::Timestamp = value["recorded_at"].as_str().unwrap().parse().unwrap();
        let exchanges = value["exchanges"].as_array().unwrap().iter().map(exchange).collect();
        Self { recorded: u64::try_from(recorded.as_second()).unwrap(), exchanges }
    }

    /// The exchange at that place with those that ran at the same time.
    pub(super) fn group(&self, at: usize) -> Vec<&Exchange> {
        let first = &self.exchanges[at];
        let same = |one: &&Exchange| one.at_once.is_some() && one.at_once == first.at_once;
        std::iter::once(first).chain(self.exchanges[at + 1..].iter().take_while(same)).collect()
    }
}

impl Exchange {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.answered.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// The path for a sentence.
    pub(super) fn short(&self) -> String {
        self.path.chars().take(120).collect()
    }

    pub(super) fn text(&self) -> String {
        match &self.answer {
            Some(Body::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }
}

fn exchange(value: &Value) -> Exchange {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (request, response) = (&value["request"], &value["response"]);
    let headers = request["headers"].as_object().unwrap();
    let answered = response["headers"].as_array().unwrap();
    Exchange {
        name: text(&value["name"]),
        method: text(&request["method"]),
        path: text(&request["path"]),
        headers: headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        body: body(request),
        status: u16::try_from(response["status"].as_u64().unwrap()).unwrap(),
        answered: answered.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
        answer: body(response),
        at_once: value["concurrent_group"].as_str().map(ToOwned::to_owned),
    }
}

fn body(message: &Value) -> Option<Body> {
    if let Some(text) = message["body"].as_str() {
        return Some(Body::Bytes(text.as_bytes().to_vec()));
    }
    if let Some(text) = message["body_base64"].as_str() {
        return Some(Body::Bytes(STANDARD.decode(text).unwrap()));
    }
    let size = usize::try_from(message["body_size"].as_u64()?).unwrap();
    Some(Body::Omitted { size, sha256: message["body_sha256"].as_str().unwrap().to_owned() })
}
