//! Reads: one variable by itself, several in batches, and a result for each whatever became of the batch.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;

use futures_util::future::join_all;
use zeroize::Zeroizing;

use super::{Shared, scope};
use crate::access::ReadPermit;
use crate::backend::plan::Selection;
use crate::backend::{BackendError, Fetched, Freshness};
use crate::conjur::{ConjurError, Side, batch};
use crate::id::{Fingerprinter, Location};
use crate::secret::SecretValue;

/// A batch of so few that failed is taken apart at once.
const SINGLY: usize = 4;

/// Room for a batch's base64 and for what an answer has besides the value.
const SLACK: usize = 1 << 10;

type Value = Result<Option<Zeroizing<Vec<u8>>>, ConjurError>;

pub(super) async fn fetch(
    shared: &Shared,
    permits: &[ReadPermit],
    freshness: Freshness,
) -> Vec<Result<Fetched, BackendError>> {
    let began = shared.clock.now();
    let asked = |permit: &ReadPermit| {
        if freshness == Freshness::Latest {
            shared.ahead.note_seen(permit.location());
        }
        (side(shared, permit.location()), scope::variable(shared, permit.location()))
    };
    let asked: Vec<(Side, String)> = permits.iter().map(asked).collect();
    let mut found: HashMap<String, Value> = HashMap::new();
    for at in [Side::Leader, Side::Follower] {
        // Once each: entries of one map slot are one variable.
        let ids: BTreeSet<&str> = asked.iter().filter(|(side, _)| *side == at).map(|(_, id)| id.as_str()).collect();
        found.extend(values(shared, at, &Vec::from_iter(ids)).await);
    }
    let mut answers = Vec::with_capacity(permits.len());
    let mut selection = Selection::default();
    for (permit, (side, id)) in permits.iter().zip(&asked) {
        let location = permit.location();
        answers.push(match found.get(id).unwrap_or(&Err(ConjurError::Misbehaved)) {
            Ok(Some(bytes)) => {
                shared.polls.note(location, *side, began, bytes, shared.settings.version_poll);
                select(shared, &mut selection, location, bytes)
            }
            Ok(None) => Err(missing(shared, *side, id).await),
            Err(error) => Err(BackendError::from(*error)),
        });
    }
    answers
}

/// Whom to ask about a slot.
fn side(shared: &Shared, location: &Location) -> Side {
    if !shared.conjur.has_follower() || shared.ahead.is_ahead(location) { Side::Leader } else { Side::Follower }
}

fn select(
    shared: &Shared,
    selection: &mut Selection,
    location: &Location,
    bytes: &[u8],
) -> Result<Fetched, BackendError> {
    let content = || shared.content(location, text(bytes)?).ok_or(BackendError::Absent);
    let value = selection.select(location, content)?;
    let checksum = Fingerprinter::Sha256.checksum(location, &value);
    Ok(Fetched::now(value, checksum))
}

/// Conjur answers alike for what is empty, hidden and unknown; whoever sees the variable knows that its scope is there.
async fn missing(shared: &Shared, side: Side, id: &str) -> BackendError {
    match shared.conjur.metadata(side, id).await {
        Ok(Some(_)) => BackendError::Absent,
        Ok(None) => BackendError::ScopeMissing,
        Err(error) => error.into(),
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<SecretValue, BackendError> {
    SecretValue::from_bytes(bytes.to_vec()).map_err(|_| BackendError::Unreadable)
}

/// What a slot holds now, at the leader.
pub(super) async fn current(shared: &Shared, location: &Location) -> Result<Option<SecretValue>, BackendError> {
    let stored = single(shared, Side::Leader, &scope::variable(shared, location)).await?;
    let stored = stored.map(|bytes| text(&bytes)).transpose()?;
    Ok(stored.and_then(|stored| shared.content(location, stored)))
}

/// The values of variables at one side.
async fn values(shared: &Shared, side: Side, ids: &[&str]) -> HashMap<String, Value> {
    let chunks = match ids {
        [] => Vec::new(),
        [id] => return HashMap::from([((*id).to_owned(), single(shared, side, id).await)]),
        ids => batch::chunks(shared.conjur.account(), ids),
    };
    let found = join_all(chunks.into_iter().map(|(ids, query)| together(shared, side, ids, query))).await;
    found.into_iter().flatten().collect()
}

pub(super) async fn single(shared: &Shared, side: Side, id: &str) -> Value {
    shared.conjur.value(side, id, None, shared.settings.slot_bytes_max + SLACK).await
}

type Together<'a> = Pin<Box<dyn Future<Output = Vec<(String, Value)>> + Send + 'a>>;

/// One batch; where it cannot be had, its halves, so that one id that is missing or denied costs the others a few calls
/// and not their values.
fn together<'a>(shared: &'a Shared, side: Side, ids: Vec<&'a str>, query: String) -> Together<'a> {
    Box::pin(async move {
        match shared.conjur.values(side, &ids, &query).await {
            Ok(Some(values)) => {
                let values = values.into_iter().map(|value| Ok(Some(value)));
                ids.iter().map(|id| (*id).to_owned()).zip(values).collect()
            }
            Ok(None) if ids.len() <= SINGLY => singly(shared, side, &ids).await,
            Ok(None) => {
                let (one, two) = ids.split_at(ids.len() / 2);
                let halves = [one, two].into_iter().flat_map(|ids| batch::chunks(shared.conjur.account(), ids));
                let found = join_all(halves.map(|(ids, query)| together(shared, side, ids, query))).await;
                found.into_iter().flatten().collect()
            }
            // Something in front of Conjur does not like batches, and would like a half of one no better.
            Err(ConjurError::Unexpected | ConjurError::Misbehaved) => singly(shared, side, &ids).await,
            Err(error) => ids.iter().map(|id| ((*id).to_owned(), Err(error))).collect(),
        }
    })
}

async fn singly(shared: &Shared, side: Side, ids: &[&str]) -> Vec<(String, Value)> {
    join_all(ids.iter().map(async |id| ((*id).to_owned(), single(shared, side, id).await))).await
}
