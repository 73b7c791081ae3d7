//! Generated values: a prefix and characters from the system's CSPRNG, at least one of each class.

use crate::secret::SecretValue;

const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &[u8] = b"0123456789";
const ALPHABET: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// Makes new values.
#[derive(Clone, Debug)]
pub struct Generator {
    prefix: String,
    length: usize,
}

impl Default for Generator {
    /// `trd_` and 32 characters, as the control plane's own secrets.
    fn default() -> Self {
        Self { prefix: "trd_".to_owned(), length: 32 }
    }
}

impl Generator {
    /// `length` random characters after `prefix`; the configuration has checked that `length` is at least 16.
    #[must_use]
    pub fn new(prefix: String, length: usize) -> Self {
        Self { prefix, length }
    }

    /// A new value.
    ///
    /// # Errors
    /// The kernel's random source failed: there is no second-best source.
    pub fn generate(&self) -> Result<SecretValue, getrandom::Error> {
        loop {
            let mut text = String::with_capacity(self.prefix.len() + self.length);
            text.push_str(&self.prefix);
            while text.len() < self.prefix.len() + self.length {
                if let Some(character) = draw()? {
                    text.push(character);
                }
            }
            let random = text.as_bytes().get(self.prefix.len()..).unwrap_or_default();
            // Drawing again keeps every valid value equally likely, which patching a character in would not.
            if [LOWER, UPPER, DIGITS].iter().all(|class| random.iter().any(|b| class.contains(b))) {
                return Ok(SecretValue::new(text));
            }
        }
    }
}

/// One character, or none where the byte would favour the first letters of the alphabet (modulo bias).
fn draw() -> Result<Option<char>, getrandom::Error> {
    let mut byte = [0_u8; 1];
    getrandom::fill(&mut byte)?;
    let index = usize::from(byte[0] & 0b0011_1111);
    Ok(ALPHABET.get(index).map(|b| char::from(*b)))
}
