//! Whether a pod asks for the agent: its label, else its annotation.

use super::Denial;
use super::key::Key;
use super::pod::Pod;

/// What the pod says, if anything. A wrong value is refused even where the other one would win: it was meant.
pub(super) fn asked(pod: &Pod<'_>) -> Result<Option<bool>, Denial> {
    let label = pod.label(Key::Inject.name()).map(flag).transpose()?;
    let annotation = pod.annotation(Key::Inject.name()).map(flag).transpose()?;
    Ok(label.or(annotation))
}

fn flag(text: &str) -> Result<bool, Denial> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Denial::Value { key: Key::Inject, must: "\"true\" or \"false\"" }),
    }
}
