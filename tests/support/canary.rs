//! The canary sweep: planted values, every encoding of them, every sink.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// How many bytes of a canary in a row count as a leak.
const SHORTEST: usize = 12;

/// A value that occurs nowhere by chance.
#[derive(Clone, Debug)]
pub struct Canary {
    text: String,
    needles: Vec<Vec<u8>>,
}

impl Canary {
    /// The `number`-th canary; it holds characters that every encoding changes.
    pub fn new(number: usize) -> Self {
        let mut random = [0_u8; 12];
        getrandom::fill(&mut random).unwrap();
        let unique: String = random.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        let text = format!("cnry{number:02}{unique}<&\"'/ +é\\{unique}Z{number:02}");
        Self { needles: needles(&text), text }
    }

    /// The value.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether `bytes` hold it in any encoding.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.place_in(bytes).is_some()
    }

    fn place_in(&self, bytes: &[u8]) -> Option<usize> {
        self.needles.iter().find_map(|needle| memchr::memmem::find(bytes, needle))
    }
}

/// The text as it would look after each encoding. Where an encoding depends on what stands before it, each way.
fn needles(text: &str) -> Vec<Vec<u8>> {
    let raw = text.as_bytes();
    let mut found: Vec<String> = vec![
        // The plain beginning is what survives an error message that cuts values off.
        text.chars().take(SHORTEST + 6).collect(),
        raw.iter().map(|byte| format!("{byte:02x}")).collect(),
        raw.iter().map(|byte| format!("{byte:02X}")).collect(),
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string(),
        serde_json::to_string(text).unwrap().trim_matches('"').to_owned(),
        text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").replace('\'', "&#39;"),
        format!("{text:?}").trim_matches('"').to_owned(),
    ];
    for offset in 0..3 {
        let mut padded = vec![b'x'; offset];
        padded.extend_from_slice(raw);
        for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&padded);
            // Without the characters that depend on what stands before and after.
            let body = text.trim_end_matches('=');
            found.push(body.get(offset.div_ceil(1) + 2..body.len() - 4).unwrap_or_default().to_owned());
        }
    }
    found.retain(|needle| needle.len() >= SHORTEST);
    let mut needles: Vec<Vec<u8>> = found.into_iter().map(String::into_bytes).collect();
    needles.push(raw.to_vec());
    needles
}

/// Something that must hold no canary.
#[derive(Debug)]
pub struct Sink {
    /// For the report.
    pub name: String,
    /// What it holds, unpacked.
    pub content: Vec<u8>,
}

impl Sink {
    /// A sink; a gzip stream is unpacked first.
    pub fn new(name: impl Into<String>, content: Vec<u8>) -> Self {
        let mut unpacked = Vec::new();
        let packed = content.starts_with(&[0x1f, 0x8b]);
        let read = packed && flate2::read::GzDecoder::new(content.as_slice()).read_to_end(&mut unpacked).is_ok();
        Self { name: name.into(), content: if read { unpacked } else { content } }
    }

    /// Every file below `directory`, except those named.
    pub fn files(directory: &Path, except: &[&str]) -> Vec<Self> {
        let mut sinks = Vec::new();
        let mut rest: Vec<PathBuf> = vec![directory.to_owned()];
        while let Some(path) = rest.pop() {
            let Ok(found) = fs::symlink_metadata(&path) else { continue };
            if found.is_dir() {
                rest.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if found.is_file() && !except.iter().any(|name| path.ends_with(name)) {
                // Gone since it was listed: then it holds nothing.
                let Ok(content) = fs::read(&path) else { continue };
                sinks.push(Self::new(path.display().to_string(), content));
            }
        }
        sinks
    }
}

/// Which sinks hold which canary.
pub fn sweep(canaries: &[Canary], sinks: &[Sink]) -> Vec<String> {
    let mut hits = Vec::new();
    for sink in sinks {
        for (number, canary) in canaries.iter().enumerate() {
            if let Some(place) = canary.place_in(&sink.content) {
                let around = &sink.content[place.saturating_sub(300)..sink.content.len().min(place + 100)];
                hits.push(format!("canary {number} in {}: {}", sink.name, String::from_utf8_lossy(around)));
            }
        }
    }
    hits
}
