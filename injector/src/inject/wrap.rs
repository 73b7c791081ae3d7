//! Mode exec: a container's command becomes one that resolves the environment and then becomes that command.

use serde_json::Value;

use super::Denial;
use super::denial::Plain;
use super::draft::Draft;
use super::volumes::BIN_DIRECTORY;

/// Puts our program before the command of the container at `path`, once.
pub(super) fn arrange(draft: &mut Draft, path: &str) -> Result<(), Denial> {
    let program = format!("{BIN_DIRECTORY}/cloakroom");
    let list = format!("{path}/command");
    let command = draft.list(&list);
    match command.first() {
        // What the image would run is nothing that a pod tells.
        None => return Err(Denial::NoCommand(Plain::container(draft.name(path)))),
        // Ours, from before: whoever writes it themselves has what they want, too.
        Some(first) if *first == program.as_str() => return Ok(()),
        Some(_) => {}
    }
    let wrapped =
        [program.as_str(), "exec", "--"].map(Value::from).into_iter().chain(command.iter().cloned()).collect();
    draft.set(path, "command", Value::Array(wrapped));
    Ok(())
}
