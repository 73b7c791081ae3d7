//! A read: from what a watch confirms, else by one get, after which the object is watched.

use std::sync::Arc;

use super::objects::{Found, News};
use super::place::Place;
use super::{Shared, requests, watch};
use crate::backend::{BackendError, Freshness};

/// The object at `place`, as fresh as is asked for; from now on it is watched.
pub(super) async fn get(shared: &Arc<Shared>, place: &Place, freshness: Freshness) -> Result<Found, BackendError> {
    let asked = shared.clock.now();
    let in_use = shared.objects.at(place, asked);
    if freshness == Freshness::Any
        && let Some(found) = in_use.known(shared, freshness, None)
    {
        return Ok(found);
    }
    let _one = in_use.gets.lock().await;
    if let Some(found) = in_use.known(shared, freshness, Some(asked)) {
        return Ok(found);
    }
    let began = shared.clock.now();
    let object = requests::get(shared, place).await.inspect_err(|error| {
        if *error == BackendError::Denied {
            in_use.doubt(&shared.objects);
        }
    })?;
    let object = object.map(Arc::new);
    let news = object.as_ref().map_or(News::Missing, |object| News::Is(Arc::clone(object)));
    in_use.learn(&shared.objects, news, began);
    if !shared.settings.believed.is_zero() && shared.objects.claim_watch(&in_use) {
        shared.tasks.spawn(watch::run(Arc::clone(shared), Arc::clone(&in_use)));
    }
    // What came meanwhile from the watch or an own write may be newer than the answer.
    let found = in_use.known(shared, Freshness::Latest, Some(began));
    Ok(found.unwrap_or_else(|| Found { object, as_of: began, watch: Arc::clone(&in_use.health) }))
}
