//! Asks the agent for all values at once: waits for one that is not there yet, and names the variables of what it refuses.

use std::path::PathBuf;
use std::time::Duration;

use http::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use super::error::ExecError;
use super::variables::Variables;
use crate::cli::client::{Client, segment};
use crate::cli::console::Console;
use crate::cli::environment::Environment;
use crate::cli::error::{CliError, Exit, Refusal};
use crate::id::SecretId;
use crate::jitter;
use crate::secret::SecretValue;

/// Ids that an agent takes in one request.
const BATCH_IDS: usize = 100;

/// Bytes of a request's target: the whole head may have 16 KiB.
const TARGET_BYTES: usize = 12 << 10;

/// What stands for itself in a query (RFC 3986 §3.4) and is part of many ids.
const QUERY: AsciiSet = NON_ALPHANUMERIC.remove(b':').remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'@');

/// The first pause before the agent is asked again; each one is twice as long as the one before it.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Where the agent is. Looked for at every attempt, because it may come up meanwhile.
pub(super) struct Agent<'a> {
    socket: Option<PathBuf>,
    environment: &'a Environment,
}

/// A value, and the id of the state that it belongs to.
pub(super) struct Secret {
    pub(super) id: SecretId,
    pub(super) value: SecretValue,
}

#[derive(serde::Deserialize)]
struct Items {
    items: Vec<Item>,
}

#[derive(serde::Deserialize)]
struct Item {
    id: String,
    value: SecretValue,
}

impl<'a> Agent<'a> {
    pub(super) fn new(socket: Option<PathBuf>, environment: &'a Environment) -> Self {
        Self { socket, environment }
    }

    pub(super) fn client(&self) -> Result<Client, CliError> {
        Client::new(self.socket.clone(), self.environment, false)
    }

    /// The values of up to [`BATCH_IDS`] ids, in their order.
    pub(super) async fn batch(&self, ids: &[&SecretId]) -> Result<Vec<Secret>, CliError> {
        let query: Vec<String> = ids.iter().map(|id| parameter(id)).collect();
        let answer = self.client()?.ask(Method::GET, &format!("/api/v1/secrets?{}", query.join("&")), None).await?;
        let Items { items } = answer.parse()?;
        if items.len() != ids.len() {
            return Err(CliError::Unexpected);
        }
        let secret = |(item, asked): (Item, &&SecretId)| match SecretId::parse(&item.id) {
            Ok(id) if id.location() == asked.location() => Ok(Secret { id, value: item.value }),
            _ => Err(CliError::Unexpected),
        };
        items.into_iter().zip(ids).map(secret).collect()
    }
}

/// All values that the variables need, or none.
pub(super) async fn all(
    agent: &Agent<'_>,
    variables: &Variables,
    wait: Duration,
    console: &mut Console,
) -> Result<Vec<Secret>, CliError> {
    let ids: Vec<&SecretId> = variables.ids().iter().collect();
    let mut patience = Patience { until: Instant::now() + wait, wait, pause: PAUSE, told: false };
    let mut secrets = Vec::with_capacity(ids.len());
    for batch in batches(&ids) {
        let from = secrets.len();
        loop {
            match agent.batch(batch).await {
                Ok(more) => {
                    secrets.extend(more);
                    break;
                }
                Err(error) if patience.lasts(&error) => patience.wait(&error, console).await,
                Err(error) => return Err(name_variables(agent, variables, batch, from, error, console).await),
            }
        }
    }
    Ok(secrets)
}

/// How long an agent that cannot answer is asked again.
struct Patience {
    until: Instant,
    wait: Duration,
    pause: Duration,
    told: bool,
}

impl Patience {
    fn lasts(&self, error: &CliError) -> bool {
        // A socket that may not be used will not be allowed by waiting.
        let forbidden =
            matches!(error, CliError::Connect { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied);
        error.exit() == Exit::Unavailable && !forbidden && Instant::now() < self.until
    }

    async fn wait(&mut self, error: &CliError, console: &mut Console) {
        if !self.told {
            self.told = true;
            let seconds = self.wait.as_secs();
            // A start that nobody can be told of is a start all the same.
            drop(writeln!(console.errors, "cloakroom: {error}: trying again for at most {seconds} s"));
        }
        tokio::time::sleep_until((Instant::now() + jitter::around(self.pause)).min(self.until)).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

/// Finds out which variables an answer is about. The agent refuses a batch as a whole, so each id is asked for by itself, and
/// only for the status: no value is fetched that will not be used.
async fn name_variables(
    agent: &Agent<'_>,
    variables: &Variables,
    batch: &[&SecretId],
    from: usize,
    error: CliError,
    console: &mut Console,
) -> CliError {
    let unresolved = |names, source| CliError::from(ExecError::Unresolved { names, source: Box::new(source) });
    let within = |index: usize| (from..from + batch.len()).contains(&index);
    if !matches!(&error, CliError::Refused(Refusal { status: StatusCode::FORBIDDEN | StatusCode::NOT_FOUND, .. })) {
        return unresolved(variables.names(within), error);
    }
    let mut refused = Vec::new();
    for (id, index) in batch.iter().zip(from..) {
        let asked = match agent.client() {
            Ok(client) => {
                client.ask(Method::HEAD, &format!("/api/v1/secrets/{}", segment(&id.to_string())), None).await
            }
            Err(error) => Err(error),
        };
        if let Err(CliError::Refused(refusal)) = asked {
            refused.push((index, refusal));
        }
    }
    let of = |status: StatusCode| {
        let mut indices = refused.iter().filter(|(_, refusal)| refusal.status == status).map(|(index, _)| *index);
        let names = variables.names(|needed| indices.clone().any(|index| index == needed));
        indices.next().map(|_| names)
    };
    let (denied, missing) = (of(StatusCode::FORBIDDEN), of(StatusCode::NOT_FOUND));
    match (denied, missing) {
        (Some(denied), missing) => {
            if let Some(missing) = missing {
                unresolved(missing, because(StatusCode::NOT_FOUND)).report(console);
            }
            unresolved(denied, because(StatusCode::FORBIDDEN))
        }
        (None, Some(missing)) => unresolved(missing, because(StatusCode::NOT_FOUND)),
        // It was repaired in between, or the agent has gone.
        (None, None) => unresolved(variables.names(within), error),
    }
}

fn because(status: StatusCode) -> CliError {
    let detail =
        if status == StatusCode::FORBIDDEN { "reading the secret is denied" } else { "there is no such secret" };
    CliError::Refused(Refusal { status, detail: Some(detail.to_owned()), code: None, position: None, request: None })
}

/// Cuts the ids so that each piece fits a request.
pub(super) fn batches<'a, 'b>(ids: &'b [&'a SecretId]) -> Vec<&'b [&'a SecretId]> {
    let (mut batches, mut rest) = (Vec::new(), ids);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest.iter().take(BATCH_IDS).take_while(|id| {
            bytes += parameter(id).len() + 1;
            bytes <= TARGET_BYTES
        });
        // The longest id is far below the limit, so that a piece is never empty.
        let (batch, more) = rest.split_at(fitting.count().max(1));
        batches.push(batch);
        rest = more;
    }
    batches
}

fn parameter(id: &SecretId) -> String {
    format!("secretId={}", utf8_percent_encode(&id.to_string(), &QUERY))
}
