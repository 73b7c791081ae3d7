//! Where a value comes from: the argument itself, a file or standard input; taken exactly, and wiped where it was read.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::error::CliError;
use crate::secret::SecretValue;

/// More than an agent takes in one request, so that a mistaken file is not read to its end.
const READ_BYTES: usize = 4 << 20;

/// A file's content as a value.
pub(super) fn file(path: &Path) -> Result<SecretValue, CliError> {
    let what = path.display().to_string();
    let file = File::open(path).map_err(|source| CliError::Read { what: what.clone(), source })?;
    value(read(file, &what)?, what)
}

/// Standard input as a value.
pub(super) fn stdin(input: impl Read) -> Result<SecretValue, CliError> {
    let what = "standard input".to_owned();
    value(read(input, &what)?, what)
}

/// Everything that `input` has, up to the limit. `what` is for the error.
pub(super) fn read(mut input: impl Read, what: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let mut text = Zeroizing::new(Vec::new());
    let mut chunk = Zeroizing::new([0; 8192]);
    loop {
        match input.read(&mut *chunk) {
            Ok(0) => return Ok(text),
            Ok(length) if text.len() + length > READ_BYTES => {
                return Err(CliError::TooLarge { what: what.to_owned() });
            }
            Ok(length) => append(&mut text, chunk.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(CliError::Read { what: what.to_owned(), source }),
        }
    }
}

/// Appends without leaving a copy behind: a vector that grows by itself frees its old allocation unwiped.
pub(super) fn append(text: &mut Zeroizing<Vec<u8>>, more: &[u8]) {
    if text.capacity() - text.len() < more.len() {
        let mut larger = Vec::with_capacity((text.len() + more.len()) * 2);
        larger.extend_from_slice(text);
        *text = Zeroizing::new(larger);
    }
    text.extend_from_slice(more);
}

/// A request body as JSON. It goes into one allocation that is wiped when the last user of the bytes is done.
///
/// `values` is how many bytes of secrets are in it: the most that JSON makes of a byte is the six of `\u0000`.
pub(super) fn json(body: &impl serde::Serialize, values: usize) -> Result<Bytes, CliError> {
    let mut text = Zeroizing::new(Vec::with_capacity(values * 6 + 4096));
    serde_json::to_writer(&mut *text, body).map_err(|error| CliError::Output(error.into()))?;
    Ok(wiped(text))
}

/// Bytes to send, which are wiped when the last user of them is done.
pub(super) fn wiped(bytes: Zeroizing<Vec<u8>>) -> Bytes {
    Bytes::from_owner(Wiped(bytes))
}

struct Wiped(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn value(mut bytes: Zeroizing<Vec<u8>>, what: String) -> Result<SecretValue, CliError> {
    SecretValue::from_bytes(std::mem::take(&mut *bytes)).map_err(|_| CliError::NotText { what })
}
