//! The handler of `/secrets/{id}/events`: changes of one secret as server-sent events (HTML Living Standard §9.2).

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response};
use tokio::sync::OwnedSemaphorePermit;

use super::{ApiError, Call, answer};
use crate::identity::Connected;
use crate::operations::{Change, Watch};
use crate::server::{AnswerBody, Events};

impl Call<'_> {
    pub(super) async fn events(self, connected: &Arc<Connected>) -> Result<Response<AnswerBody>, ApiError> {
        self.no_query()?;
        let id = self.id()?;
        // Taken before anything is read: a stream that finds no place costs nothing.
        let place = Arc::clone(&self.api.streams).try_acquire_owned().map_err(|_| ApiError::too_many_streams())?;
        let who = {
            let (identity, connected) = (Arc::clone(&self.api.identity), Arc::clone(connected));
            Box::new(move || identity.caller(&connected))
        };
        let watch = self.api.operations.watch(self.context, id, who).await?;
        let head_only = self.parts.method == Method::HEAD;
        Ok(answer::events(if head_only { AnswerBody::default() } else { AnswerBody::events(events(watch, place)) }))
    }
}

/// The stream; its place is free again when it is dropped.
fn events(watch: Watch, place: OwnedSemaphorePermit) -> Events {
    Box::pin(futures_util::stream::unfold((watch, place), |(mut watch, place)| async move {
        let change = watch.next().await?;
        Some((Bytes::from(event(&change)), (watch, place)))
    }))
}

/// One event. An id holds nothing that JSON would have to escape.
fn event(change: &Change) -> String {
    match change {
        Change::Is(id) => format!("data: {{\"id\":\"{id}\"}}\n\n"),
        Change::Gone(location) => format!("event: deleted\ndata: {{\"id\":\"{location}:\"}}\n\n"),
        // A comment.
        Change::Nothing => ":\n\n".to_owned(),
    }
}
