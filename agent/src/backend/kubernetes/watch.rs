//! One watch of one object: it goes on where it broke off, tells of changes, and ends when nobody uses the object.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, header};
use zeroize::Zeroizing;

use super::object::Event;
use super::objects::{InUse, News};
use super::version::Version;
use super::{Shared, requests};
use crate::backend::BackendError;
use crate::jitter;
use crate::kubernetes::{CallError, Lines};

/// What the next line is.
type Line = Result<Option<Zeroizing<Vec<u8>>>, CallError>;

/// How long one watch is asked to last. Short enough that a right that was taken away ends it within minutes, and
/// different from agent to agent.
const LASTS: Duration = Duration::from_mins(4);

/// How long the API server may take to begin.
const BEGIN: Duration = Duration::from_secs(10);

/// How long a watch that begins anew may take to tell of an object that exists.
const FIRST: Duration = Duration::from_secs(2);

/// Pauses after a watch broke.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Pause after we were told that we may not watch.
const PAUSE_DENIED: Duration = Duration::from_secs(30);

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
///
/// This task lies in memory for every object in use. What it needs only for a moment is on the heap for that moment.
pub(super) async fn run(shared: Arc<Shared>, object: Arc<InUse>) {
    let released = Released { shared: &shared, object: &object };
    let mut pause = PAUSE_MIN;
    while goes_on(&shared, &object) {
        let end = tokio::select! {
            () = shared.stop.cancelled() => break,
            end = once(&shared, &object) => end,
        };
        match end {
            // Not at once: where a server that many watch goes away, they come back one after the other.
            End::Asked => pause = PAUSE_MIN,
            // Where a server has been restarted, that is so of every object that has not changed since: its own version
            // is no place to go on from, however often it is got. Without one, a watch begins with what there is.
            End::Expired => {
                object.health.set(false);
                if object.doubt(&shared.objects) {
                    continue;
                }
            }
            // What we may not watch we may perhaps still get: its time to live goes on, without a watch.
            End::Denied => {
                object.health.set(false);
                pause = PAUSE_DENIED;
            }
            End::Broken => object.health.set(false),
        }
        Box::pin(rest(&shared, pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    drop(released);
}

/// Whether to watch again: not when the agent stops, nor what nobody uses, which is forgotten here.
fn goes_on(shared: &Shared, object: &Arc<InUse>) -> bool {
    // Two times the time to live: what is asked for at all is asked for within one.
    let idle = shared.settings.believed * 2;
    let now = shared.clock.now();
    !shared.stop.is_cancelled() && (now.since(object.used()) < idle || !shared.objects.forget(object, now))
}

/// Waits before the next watch, and as long as the server has asked for; not when the agent stops.
async fn rest(shared: &Shared, pause: Duration) {
    let pause = async {
        tokio::time::sleep(jitter::around(pause)).await;
        shared.calm.wait().await;
    };
    shared.stop.run_until_cancelled(pause).await;
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

/// Gets the object, for a watch that began without a place and heard nothing.
async fn look(shared: &Arc<Shared>, object: &Arc<InUse>) -> Result<(), BackendError> {
    let began = shared.clock.now();
    let found = requests::get(shared, &object.place).await?;
    let news = found.map_or(News::Missing, |found| News::Is(Arc::new(found)));
    object.learn(&shared.objects, news, began);
    // Whatever happened while nobody looked: what was cached is asked for again.
    shared.tell(&object.place);
    Ok(())
}

/// One watch, from where the last one ended, or from now where nothing is known.
async fn once(shared: &Arc<Shared>, object: &Arc<InUse>) -> End {
    let version = object.resume();
    let resumed = version.is_some();
    let mut lines = match Box::pin(begin(shared, object, version)).await {
        Ok(lines) => lines,
        Err(end) => return end,
    };
    if resumed {
        object.health.set(true);
        object.confirm(shared.clock.now(), None);
    }
    loop {
        let line = if object.health.is_live() {
            lines.next().await
        } else {
            match Box::pin(first(shared, object, &mut lines)).await {
                Ok(Some(line)) => line,
                Ok(None) => continue,
                Err(end) => return end,
            }
        };
        let line = match line {
            Ok(Some(line)) => line,
            Ok(None) => return End::Asked,
            Err(_) => return End::Broken,
        };
        if let Some(end) = heard(shared, object, &line) {
            return end;
        }
    }
}

async fn begin(shared: &Arc<Shared>, object: &Arc<InUse>, version: Option<Version>) -> Result<Box<Lines>, End> {
    let place = &object.place;
    let seconds = jitter::around(LASTS).as_secs();
    let mut path = format!(
        "{}?watch=true&allowWatchBookmarks=true&fieldSelector=metadata.name%3D{}&timeoutSeconds={seconds}",
        place.collection(),
        place.name(),
    );
    if let Some(version) = version {
        path.push_str("&resourceVersion=");
        path.push_str(&version.to_string());
    }
    let request = Request::get(path).header(header::ACCEPT, "application/json").body(Vec::new());
    match shared.api.lines(request.map_err(|_| End::Broken)?, BEGIN).await {
        Ok(Ok(lines)) => Ok(Box::new(lines)),
        // As a server does that has just come back, until its memory is filled.
        Err(CallError::Busy(retry_after)) => {
            shared.calm.keep(retry_after * 2);
            Err(End::Broken)
        }
        Ok(Err(StatusCode::GONE)) => Err(End::Expired),
        Ok(Err(StatusCode::FORBIDDEN)) => Err(End::Denied),
        Ok(Err(_)) | Err(_) => Err(End::Broken),
    }
}

/// What is told first by a watch that began without a place; nothing where there was nothing to tell, which is known
/// by then.
async fn first(shared: &Arc<Shared>, object: &Arc<InUse>, lines: &mut Lines) -> Result<Option<Line>, End> {
    // An object that exists is the first thing that is told (Kubernetes API concepts, "Semantics for watch"). One that
    // does not exist is told by nothing.
    let Ok(line) = tokio::time::timeout(FIRST, lines.next()).await else {
        look(shared, object).await.map_err(|_| End::Broken)?;
        object.health.set(true);
        return Ok(None);
    };
    Ok(Some(line))
}

/// Takes in what a line says; why the watch ends, if it does.
fn heard(shared: &Shared, object: &InUse, line: &[u8]) -> Option<End> {
    let Ok(event) = Event::parse(line) else { return Some(End::Broken) };
    let now = shared.clock.now();
    let news = match event {
        Event::Is(found) => News::Is(Arc::new(found)),
        Event::Gone(found) => News::Gone { version: found.version, uid: Some(found.uid) },
        Event::Bookmark(version) => {
            object.confirm(now, Some(version));
            return None;
        }
        Event::Expired => return Some(End::Expired),
        Event::Unknown => return Some(End::Broken),
    };
    if object.learn(&shared.objects, news, now) {
        shared.tell(&object.place);
    }
    object.health.set(true);
    None
}
