//! The command that follows a secret: `watch`.

use super::arguments::IdArgument;
use super::client::{Client, runtime};
use super::console::{Console, printable};
use super::error::CliError;
use super::events::Events;

pub(super) fn run(client: &Client, secret: &IdArgument, console: &mut Console) -> Result<(), CliError> {
    runtime()?.block_on(async {
        let mut events = Events::of(client, &secret.id).await?;
        loop {
            let event = events.next().await?.ok_or(CliError::StreamEnded)?;
            console.line(if client.json { printable(&event.data) } else { event.id.to_string() })?;
            console.output.flush()?;
        }
    })
}
