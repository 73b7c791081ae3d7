//! Recordings name credentials by markers; this puts those of the double in their places.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cloakroom_tests::conjur::{FakeConjur, Jwt};
use serde_json::Value;

use super::exchange::{Body, Exchange, Recording};

/// Which role a marker of a key stands for, where no recorded load tells.
const ROLES: [(&str, &str); 5] = [
    ("apikey006", "host/secrets-manager"),
    ("apikey007", "alice"),
    ("apikey002", "host/controlplane/rotator"),
    ("apikey012", "host/controlplane/dev/team-del/app-del/runner"),
    ("apikey102", "host/secrets-manager"),
];

const TOKEN: &str = "<ACCESS-TOKEN base64 of protected,payload,signature; payload=";

/// Keys that were seen, by their markers.
#[derive(Default)]
pub(super) struct Markers {
    keys: HashMap<String, String>,
    /// Tags of lists, which hold times, by those that were recorded.
    tags: HashMap<String, String>,
}

impl Markers {
    /// Takes note of a key, or says that it should have been another one.
    pub(super) fn learn(&mut self, marker: &str, key: &str) -> Result<(), String> {
        if !(50..=56).contains(&key.len())
            || !key.bytes().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
        {
            return Err(format!("{key} does not look like a key"));
        }
        let known = self.keys.entry(marker[..9].to_owned()).or_insert_with(|| key.to_owned());
        if known == key { Ok(()) } else { Err(format!("{marker} was another key")) }
    }

    /// Takes note of the tag of an answer.
    pub(super) fn tag(&mut self, one: &Exchange, ours: Option<&str>) {
        if let (true, Some(theirs), Some(ours)) = (one.path.starts_with("/resources"), one.header("etag"), ours) {
            self.tags.insert(theirs.to_owned(), ours.to_owned());
        }
    }

    /// Takes note of the keys of all roles that are there, before they are deleted or get new ones.
    pub(super) fn meet(&mut self, fake: &FakeConjur) {
        for (marker, login) in ROLES {
            let (kind, id) = login.split_once('/').unwrap_or(("user", login));
            if fake.exists(kind, id) {
                self.key(fake, marker);
            }
        }
    }

    fn key(&mut self, fake: &FakeConjur, marker: &str) -> String {
        let found = ROLES.iter().find(|(known, _)| *known == marker);
        let known = self.keys.entry(marker.to_owned());
        known.or_insert_with(|| fake.api_key(found.unwrap_or_else(|| panic!("whose key is {marker}?")).1)).clone()
    }

    /// The bytes of a request.
    pub(super) fn request(&mut self, fake: &FakeConjur, recording: &Recording, one: &Exchange) -> Vec<u8> {
        let chunked = one.headers.iter().any(|(name, _)| name == "Transfer-Encoding");
        let mut head = format!("{} {} HTTP/1.1\r\nHost: conjur\r\nConnection: close\r\n", one.method, one.path);
        for (name, value) in &one.headers {
            let value = match name.as_str() {
                "Authorization" => self.authorization(fake, one, value),
                "If-None-Match" => self.tags.get(value).unwrap_or(value).clone(),
                _ => value.clone(),
            };
            head += &format!("{name}: {value}\r\n");
        }
        let body = match &one.body {
            None => Vec::new(),
            Some(Body::Omitted { size, .. }) if one.path.starts_with("/policies") => variables(*size),
            Some(Body::Omitted { size, .. }) => fill(*size),
            Some(Body::Bytes(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) => self.body(fake, recording, one, text).into_bytes(),
                Err(_) => bytes.clone(),
            },
        };
        if !chunked && (one.body.is_some() || one.method != "GET") {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        [head.as_bytes(), b"\r\n", &body].concat()
    }

    fn authorization(&mut self, fake: &FakeConjur, one: &Exchange, value: &str) -> String {
        if let Some(basic) = value.strip_prefix("Basic <base64 of ") {
            let (login, credential) = basic.split_once(":<credential, ").unwrap();
            let length: usize = credential.split(' ').next().unwrap().parse().unwrap();
            let marker = ROLES.iter().find(|(_, role)| *role == login).map(|(marker, _)| *marker);
            let secret = match marker {
                Some(marker) if length > 50 => self.key(fake, marker),
                _ => "x".repeat(length),
            };
            return format!("Basic {}", STANDARD.encode(format!("{login}:{secret}")));
        }
        if let Some(literal) = special(fake, &one.name) {
            return literal;
        }
        let Some(from) = value.find(TOKEN) else { return value.to_owned() };
        let rest = &value[from + TOKEN.len()..];
        let end = rest.find("}>").unwrap();
        let payload = python(&rest[..=end]);
        let subject = payload["sub"].as_str().unwrap();
        let mut token = token(&fake.authorization(subject));
        if one.name.starts_with("expired token") {
            fake.set_token_ttl(Duration::ZERO);
            token = self::token(&fake.authorization(subject));
            fake.set_token_ttl(Duration::from_mins(8));
        }
        let token = tampered(&one.name, &token);
        format!("{}{token}{}", &value[..from], &rest[end + 2..])
    }

    fn body(&mut self, fake: &FakeConjur, recording: &Recording, one: &Exchange, text: &str) -> String {
        if let Some(from) = text.find("<JWT ") {
            let (before, marker) = text.split_at(from);
            let (marker, after) = marker.split_once("}>").unwrap();
            let (header, claims) = marker.split_once("header=").unwrap().1.split_once(" claims=").unwrap();
            let jwt = sign(recording, &python(header), python(&format!("{claims}}}")), one);
            return format!("{before}{jwt}{after}");
        }
        if let Some(encoded) = text.strip_prefix("jwt=eyJ") {
            // A true token with its dots percent-encoded.
            let parts: Vec<String> = format!("eyJ{encoded}").split("%2E").map(ToOwned::to_owned).collect();
            let part =
                |at: usize| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(&parts[at]).unwrap()).unwrap();
            return format!("jwt={}", sign(recording, &part(0), part(1), one).replace('.', "%2E"));
        }
        match text.find("apikey") {
            Some(at) if at == 0 && text.len() > 40 => {
                let end = text.find('\n').unwrap_or(text.len());
                self.key(fake, &text[..9]) + &text[end..]
            }
            _ => text.to_owned(),
        }
    }
}

/// A token whose times lie to now as they lay to the time of the recording, a little earlier: they were made on the way.
fn sign(recording: &Recording, header: &Value, mut claims: Value, one: &Exchange) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let base = recording.recorded + 30;
    for name in ["exp", "iat", "nbf"] {
        if let Some(then) = claims[name].as_u64() {
            claims[name] = (now + then).saturating_sub(base).into();
        }
    }
    let jwt = Jwt::raw(header.clone(), claims);
    if one.name.starts_with("signed with another key") { jwt.by_stranger().sign() } else { jwt.sign() }
}

/// Values of the recorder's language.
fn python(text: &str) -> Value {
    serde_json::from_str(&text.replace('\'', "\"")).unwrap()
}

fn token(header: &str) -> String {
    header.strip_prefix("Token token=\"").unwrap().trim_end_matches('"').to_owned()
}

/// Spellings of one good token that the recording shows with the bytes of its own.
fn special(fake: &FakeConjur, name: &str) -> Option<String> {
    let good = token(&fake.authorization("host/secrets-manager"));
    let parsed = || serde_json::from_slice::<Value>(&STANDARD.decode(&good).unwrap()).unwrap();
    let spelt = match name {
        "line breaks replaced by spaces" => good
            .as_bytes()
            .chunks(60)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect::<Vec<_>>()
            .join(" "),
        "pretty-printed JSON inside" => STANDARD.encode(serde_json::to_string_pretty(&parsed()).unwrap()),
        "keys in another order" => {
            let parsed = parsed();
            let pairs = ["signature", "protected", "payload"].map(|key| format!("\"{key}\": {}", parsed[key]));
            STANDARD.encode(format!("{{{}}}", pairs.join(", ")))
        }
        _ => return None,
    };
    Some(format!("Token token=\"{spelt}\""))
}

fn tampered(name: &str, token: &str) -> String {
    let mut parsed: Value = serde_json::from_slice(&STANDARD.decode(token).unwrap()).unwrap();
    match name {
        "without padding" => return token.trim_end_matches('=').to_owned(),
        "signature changed" => parsed["signature"] = format!("A{}", &parsed["signature"].as_str().unwrap()[1..]).into(),
        "payload changed" => parsed["payload"] = STANDARD.encode(r#"{"iat":1,"sub":"admin","exp":99999999999}"#).into(),
        "unknown kid" => {
            parsed["protected"] = STANDARD.encode(r#"{"alg":"conjur.org/slosilo/v2","kid":"0123456789abcdef"}"#).into();
        }
        _ => return token.to_owned(),
    }
    STANDARD.encode(parsed.to_string())
}

/// As many variables as make a text of that size.
fn variables(size: usize) -> Vec<u8> {
    let mut text = String::new();
    let mut n = 0;
    while text.len() < size {
        text += &format!("- !variable v{n}\n");
        n += 1;
    }
    text.into_bytes()
}

/// The long values of the recordings.
fn fill(size: usize) -> Vec<u8> {
    b"0123456789abcdef".iter().copied().cycle().take(size).collect()
}
