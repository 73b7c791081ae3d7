//! One watch of one object: it goes on where it broke off, tells of changes, and ends when nobody uses the object.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, header};

use super::object::Event;
use super::objects::{InUse, News};
use super::{Shared, requests};
use crate::backend::BackendError;
use crate::jitter;
use crate::kubernetes::Lines;

/// How long one watch is asked to last. Short enough that a right that was taken away ends it within minutes, and
/// different from agent to agent.
const LASTS: Duration = Duration::from_mins(4);

/// How long the API server may take to begin.
const BEGIN: Duration = Duration::from_secs(10);

/// Pauses after a watch broke.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Why a watch ended.
enum End {
    /// As asked: it may go on at once.
    Asked,
    /// It broke, or did not come about.
    Broken,
    /// The version that it began at is too old.
    Expired,
    /// We may not watch.
    Denied,
}

/// Watches until the object is not used any more, or the agent stops.
pub(super) async fn run(shared: Arc<Shared>, object: Arc<InUse>) {
    let released = Released { shared: &shared, object: &object };
    let mut pause = PAUSE_MIN;
    // Two times the time to live: what is asked for at all is asked for within one.
    let idle = shared.settings.believed * 2;
    while !shared.stop.is_cancelled() {
        let now = shared.clock.now();
        if now.since(object.used()) >= idle && shared.objects.forget(&object, now) {
            break;
        }
        let end = tokio::select! {
            () = shared.stop.cancelled() => break,
            end = once(&shared, &object) => end,
        };
        match end {
            // Not at once: where a server that many watch goes away, they come back one after the other.
            End::Asked => pause = PAUSE_MIN,
            End::Expired => {
                object.health.set(false);
                object.doubt(&shared.objects);
                // On the heap while it lasts, as the beginning of a watch is: this task lies in memory for every object in use.
                if Box::pin(look(&shared, &object)).await.is_ok() {
                    continue;
                }
            }
            // What we may not watch we may perhaps still get: its time to live goes on, without a watch.
            End::Denied => {
                object.health.set(false);
                pause = PAUSE_MAX;
            }
            End::Broken => object.health.set(false),
        }
        tokio::select! {
            () = shared.stop.cancelled() => break,
            () = tokio::time::sleep(jitter::around(pause)) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
    drop(released);
}

/// Gives the watch's place back however the task ends.
struct Released<'a> {
    shared: &'a Arc<Shared>,
    object: &'a Arc<InUse>,
}

impl Drop for Released<'_> {
    fn drop(&mut self) {
        self.object.health.set(false);
        self.shared.objects.release_watch(self.object);
    }
}

/// Gets the object anew, for a watch that has lost its place.
async fn look(shared: &Arc<Shared>, object: &Arc<InUse>) -> Result<(), BackendError> {
    let began = shared.clock.now();
    let found = requests::get(shared, &object.place).await?;
    let news = found.map_or(News::Missing, |found| News::Is(Arc::new(found)));
    object.learn(&shared.objects, news, began);
    // Whatever happened while nobody looked: what was cached is asked for again.
    shared.tell(&object.place);
    Ok(())
}

/// One watch, from where the last one ended.
async fn once(shared: &Arc<Shared>, object: &Arc<InUse>) -> End {
    let Some(version) = object.resume() else { return End::Expired };
    let place = &object.place;
    let seconds = jitter::around(LASTS).as_secs();
    let path = format!(
        "{}?watch=true&allowWatchBookmarks=true&fieldSelector=metadata.name%3D{}&timeoutSeconds={seconds}&resourceVersion={version}",
        place.collection(),
        place.name(),
    );
    let Ok(request) = Request::get(path).header(header::ACCEPT, "application/json").body(Vec::new()) else {
        return End::Broken;
    };
    match Box::pin(shared.api.lines(request, BEGIN)).await {
        Ok(Ok(lines)) => {
            object.health.set(true);
            object.confirm(shared.clock.now(), None);
            follow(shared, object, lines).await
        }
        Ok(Err(StatusCode::GONE)) => End::Expired,
        Ok(Err(StatusCode::FORBIDDEN)) => End::Denied,
        Ok(Err(_)) | Err(_) => End::Broken,
    }
}

async fn follow(shared: &Arc<Shared>, object: &Arc<InUse>, mut lines: Lines) -> End {
    loop {
        let line = match lines.next().await {
            Ok(Some(line)) => line,
            Ok(None) => return End::Asked,
            Err(_) => return End::Broken,
        };
        let Ok(event) = Event::parse(&line) else { return End::Broken };
        let now = shared.clock.now();
        let news = match event {
            Event::Is(found) => News::Is(Arc::new(found)),
            Event::Gone(found) => News::Gone { version: found.version, uid: Some(found.uid) },
            Event::Bookmark(version) => {
                object.confirm(now, Some(version));
                continue;
            }
            Event::Expired => return End::Expired,
            Event::Unknown => return End::Broken,
        };
        if object.learn(&shared.objects, news, now) {
            shared.tell(&object.place);
        }
    }
}
