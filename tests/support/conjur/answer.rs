//! What the server answers, with the headers and the odd bodies that it is known to send.

use bytes::Bytes;
use http::Method;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::request::Asked;

#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    /// Made before or behind the application, so without the headers that the application adds.
    bare: bool,
    /// Written as HTTP/1.0 before the connection closes.
    pub(super) refused: bool,
}

/// An object that keeps its keys in the order in which they are written.
pub(super) struct Object(pub(super) Vec<(&'static str, Value)>);

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// JSON as Rails writes it: what could end a script in a page is escaped.
pub(super) fn text(value: &impl Serialize) -> String {
    let plain = serde_json::to_string(value).unwrap();
    if !plain.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return plain;
    }
    let mut out = String::with_capacity(plain.len() + 64);
    for letter in plain.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            other => out.push(other),
        }
    }
    out
}

impl Answer {
    fn new(status: u16, kind: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", kind.to_owned())],
            body: body.into(),
            bare: false,
            refused: false,
        }
    }

    pub(super) fn json(status: u16, value: &impl Serialize) -> Self {
        Self::new(status, "application/json; charset=utf-8", text(value))
    }

    pub(super) fn plain(body: impl Into<Bytes>) -> Self {
        Self::new(200, "text/plain; charset=utf-8", body)
    }

    pub(super) fn typed(kind: &str, body: impl Into<Bytes>) -> Self {
        Self::new(200, kind, body)
    }

    /// A status without a body, of the type that the caller would have liked.
    pub(super) fn head(status: u16, asked: &Asked) -> Self {
        Self::new(status, asked.preferred(), Bytes::new())
    }

    pub(super) fn no_content() -> Self {
        Self { status: 204, headers: Vec::new(), body: Bytes::new(), bare: false, refused: false }
    }

    /// The middleware's 401, which knows neither JSON nor the `Accept` header.
    pub(super) fn unauthorized(why: &str) -> Self {
        let mut answer = Self::new(401, "text/plain", why.to_owned()).header("Cache-Control", "no-cache");
        answer.bare = true;
        answer
    }

    /// What stands outside the application: no route, a broken path, an exception that nobody caught.
    pub(super) fn outside(status: u16, asked: &Asked) -> Self {
        let name = match status {
            404 => "Not Found",
            400 => "Bad Request",
            _ => "Internal Server Error",
        };
        let mut answer = match asked.preferred() {
            "application/json" => Self::json(status, &Object(vec![("status", json!(status)), ("error", json!(name))])),
            _ => Self::new(status, "text/html; charset=utf-8", Bytes::new()),
        };
        answer.bare = true;
        answer
    }

    /// A request line that the web server itself refuses.
    pub(super) fn too_long(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), bare: true, refused: true }
    }

    pub(super) fn error(status: u16, code: &str, message: impl Into<String>) -> Self {
        let error = Object(vec![("code", json!(code)), ("message", json!(message.into()))]);
        Self::json(status, &Object(vec![("error", serde_json::to_value(error).unwrap())]))
    }

    /// The 404 of everything but a value: a record that is not there, or not visible.
    pub(super) fn missing(id: &str) -> Self {
        let kind = super::id::kind(id);
        let details = json!({"code": "not_found", "target": "id", "message": id});
        let error = json!({"code": "not_found", "message": super::id::missing(id), "target": kind, "details": details});
        Self::json(404, &json!({ "error": error }))
    }

    /// The 404 of a value, one sentence for three cases.
    pub(super) fn no_value(id: &str) -> Self {
        Self::error(404, "not_found", format!("CONJ00076E Variable {id} is empty or not found."))
    }

    pub(super) fn argument(message: &str) -> Self {
        Self::error(422, "argument_error", message)
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds what every answer carries, and turns a 200 that the caller has already into a 304.
    pub(super) fn finish(mut self, asked: &Asked) -> Self {
        if !self.bare {
            for (name, value) in [
                ("X-Frame-Options", "SAMEORIGIN"),
                ("X-XSS-Protection", "1; mode=block"),
                ("X-Content-Type-Options", "nosniff"),
                ("X-Download-Options", "noopen"),
                ("X-Permitted-Cross-Domain-Policies", "none"),
                ("Referrer-Policy", "strict-origin-when-cross-origin"),
            ] {
                self.headers.push((name, value.to_owned()));
            }
            let tagged = matches!(self.status, 200 | 201) && !self.body.is_empty();
            let cache = if tagged { "max-age=0, private, must-revalidate" } else { "no-cache" };
            self.headers.push(("Cache-Control", cache.to_owned()));
            if tagged {
                let tag = etag(&self.body);
                let same =
                    asked.header("if-none-match").is_some_and(|known| known.split(',').any(|one| one.trim() == tag));
                self.headers.push(("ETag", tag));
                if same && self.status == 200 && matches!(asked.method, Method::GET | Method::HEAD) {
                    self.status = 304;
                    self.body = Bytes::new();
                    self.headers.retain(|(name, _)| *name != "Content-Type");
                }
            }
        }
        if !self.refused {
            let mut random = [0; 16];
            getrandom::fill(&mut random).unwrap();
            self.headers.push(("X-Request-Id", format!("{:032x}", u128::from_be_bytes(random))));
            self.headers.push(("X-Runtime", "0.007".to_owned()));
        }
        self
    }
}

/// The first half of the unsalted digest of the body.
fn etag(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    format!("W/\"{}\"", digest[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}
