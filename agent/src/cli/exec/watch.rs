//! Notices that a value which the command was given is not the secret's any more, for as long as the command runs.
//!
//! A secret that was deleted is told and not signalled: what a command does on the signal, most often a restart, could
//! not succeed then, and a value that is still in use would become an outage.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::future::join;
use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::resolve::{Agent, batches};
use crate::cli::console::Console;
use crate::cli::error::CliError;
use crate::cli::events::Events;
use crate::id::SecretId;
use crate::jitter;

/// Streams that one command takes, half of what an agent has for all of its pod. What is beyond is asked for now and then.
const STREAMS: usize = 8;

/// How often that is.
const POLL: Duration = Duration::from_secs(30);

/// After a change, how long others are waited for: values that change together are one signal.
const QUIET: Duration = Duration::from_secs(1);

/// The first pause before a stream is opened again; each one is twice as long as the one before it.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// News that wait for the command's front. Who watches waits while it is full.
const NEWS: usize = 16;

/// A secret in the state that the command has, and the variables that have it.
pub(super) struct Watched {
    pub(super) id: SecretId,
    pub(super) names: String,
}

/// What a watcher has seen, and of which variables.
enum News {
    Changed,
    Deleted(String),
    /// Changes are not seen for now, and why. Told once until they are again.
    Lost(String, CliError),
    Found(String),
}

/// Watches, and calls `signal` after each change. Never ends.
pub(super) async fn tell(
    agent: &Agent<'_>,
    watched: Vec<Watched>,
    signal: impl Fn(),
    console: &mut Console,
) -> Infallible {
    let (news, mut told) = mpsc::channel(NEWS);
    let mut streamed = watched;
    let polled = streamed.split_off(streamed.len().min(STREAMS));
    let streams = join_all(streamed.into_iter().map(|secret| follow(agent, secret, &news)));
    let watching = join(streams, poll(agent, polled, &news));
    let telling = async {
        let mut due = false;
        loop {
            let quiet = async { if due { tokio::time::sleep(QUIET).await } else { std::future::pending().await } };
            let sentence = tokio::select! {
                // A news that comes meanwhile begins the quiet again only where it is a change.
                news = told.recv() => match news {
                    Some(News::Changed) => { due = true; continue }
                    Some(News::Deleted(names)) => format!("the secret of {names} was deleted; the command keeps what it has"),
                    Some(News::Lost(names, error)) => format!("changes of {names} are not seen for now: {error}"),
                    Some(News::Found(names)) => format!("changes of {names} are seen again"),
                    None => std::future::pending().await,
                },
                () = quiet => {
                    due = false;
                    signal();
                    continue;
                }
            };
            // Without a reader of our errors the command still has its signals.
            drop(writeln!(console.errors, "cloakroom: {sentence}"));
        }
    };
    tokio::select! {
        _never = watching => std::future::pending().await,
        never = telling => never,
    }
}

/// Follows one secret; a stream that ends is opened again.
async fn follow(agent: &Agent<'_>, mut secret: Watched, news: &mpsc::Sender<News>) {
    let (mut pause, mut lost) = (PAUSE, false);
    loop {
        let ended = stream(agent, &mut secret, news, &mut lost, &mut pause).await;
        if let Err(error) = ended
            && !std::mem::replace(&mut lost, true)
        {
            send(news, News::Lost(secret.names.clone(), error)).await;
        }
        tokio::time::sleep(jitter::around(pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// One stream, until it ends.
async fn stream(
    agent: &Agent<'_>,
    secret: &mut Watched,
    news: &mpsc::Sender<News>,
    lost: &mut bool,
    pause: &mut Duration,
) -> Result<(), CliError> {
    let mut events = Events::of(&agent.client()?, &secret.id.to_string()).await?;
    while let Some(event) = events.next().await? {
        *pause = PAUSE;
        if std::mem::take(lost) {
            send(news, News::Found(secret.names.clone())).await;
        }
        if event.deleted {
            send(news, News::Deleted(secret.names.clone())).await;
        } else {
            secret.is(event.id, news).await;
        }
    }
    Ok(())
}

/// Asks for what has no stream.
async fn poll(agent: &Agent<'_>, mut secrets: Vec<Watched>, news: &mpsc::Sender<News>) {
    let mut lost = false;
    while !secrets.is_empty() {
        tokio::time::sleep(jitter::around(POLL)).await;
        let names = secrets.iter().map(|secret| secret.names.as_str()).collect::<Vec<_>>().join(", ");
        match now(agent, &secrets).await {
            Ok(ids) => {
                if std::mem::take(&mut lost) {
                    send(news, News::Found(names)).await;
                }
                for (secret, id) in secrets.iter_mut().zip(ids) {
                    secret.is(id, news).await;
                }
            }
            Err(error) if !std::mem::replace(&mut lost, true) => send(news, News::Lost(names, error)).await,
            Err(_) => {}
        }
    }
}

/// The present ids. An empty checksum would be refused nowhere, but the one that is known needs no fetch when it is right.
async fn now(agent: &Agent<'_>, secrets: &[Watched]) -> Result<Vec<SecretId>, CliError> {
    let ids: Vec<&SecretId> = secrets.iter().map(|secret| &secret.id).collect();
    let mut present = Vec::with_capacity(ids.len());
    for batch in batches(&ids) {
        present.extend(agent.batch(batch).await?.into_iter().map(|secret| secret.id));
    }
    Ok(present)
}

impl Watched {
    async fn is(&mut self, id: SecretId, news: &mpsc::Sender<News>) {
        if self.id != id {
            self.id = id;
            send(news, News::Changed).await;
        }
    }
}

async fn send(news: &mpsc::Sender<News>, what: News) {
    // Its receiver lives as long as the watchers do.
    drop(news.send(what).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_another_state_than_the_known_one_is_a_change() {
        let id = |checksum: &str| SecretId::parse(&format!("poc:team:app:clientSecret:{checksum}")).unwrap();
        let (news, mut told) = mpsc::channel(NEWS);
        let mut secret = Watched { id: id("one"), names: "A".to_owned() };
        for (state, changed) in [("one", false), ("two", true), ("two", false), ("one", true)] {
            secret.is(id(state), &news).await;
            assert_eq!(matches!(told.try_recv(), Ok(News::Changed)), changed, "{state}");
        }
    }
}
