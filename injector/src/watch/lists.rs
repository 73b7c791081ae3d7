//! Lists and watches of metadata (`PartialObjectMetadata`), page by page, so that a large cluster costs little memory.

use std::time::Duration;

use cloakroom_agent::jitter;
use cloakroom_agent::kubernetes::{ApiServer, CallError, Lines};
use http::{Request, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::End;
use super::judge::Metadata;

/// What is listed: a path, and what is selected of it.
#[derive(Clone, Copy)]
pub(super) struct Collection(&'static str, &'static str);

pub(super) const NAMESPACES: Collection = Collection("/api/v1/namespaces", "");

/// Pods that have ended are not made anew by a restart.
pub(super) const PODS: Collection =
    Collection("/api/v1/pods", "&fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed");

/// Objects of one page; fewer where those are larger than an answer may be.
const PAGE: usize = 250;
const PAGE_MIN: usize = 4;

const CALL: Duration = Duration::from_secs(15);

/// How long one watch is asked to last.
const LASTS: Duration = Duration::from_mins(5);

#[derive(Deserialize)]
struct Page {
    metadata: PageMetadata,
    /// `null` where there is none.
    items: Option<Vec<Object>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    resource_version: String,
    #[serde(default, rename = "continue")]
    rest: String,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
}

/// One event of a watch. A bookmark is an object with a version and nothing else.
pub(super) struct Event {
    pub(super) metadata: Metadata,
    pub(super) gone: bool,
}

impl Event {
    /// None where the watch says that it cannot go on.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Raw {
            r#type: String,
            object: Object,
        }
        let Raw { r#type, object: Object { metadata } } = serde_json::from_slice(line).ok()?;
        match r#type.as_str() {
            "ADDED" | "MODIFIED" => Some(Self { metadata, gone: false }),
            "DELETED" => Some(Self { metadata, gone: true }),
            // Without a name and a uid it is nobody's, whatever else the server puts into it.
            "BOOKMARK" => {
                let metadata = Metadata { resource_version: metadata.resource_version, ..Metadata::default() };
                Some(Self { metadata, gone: false })
            }
            _ => None,
        }
    }
}

/// Hands every object to `each`, and gives the version to watch from.
pub(super) async fn all(
    api: &ApiServer,
    Collection(path, selected): Collection,
    mut each: impl FnMut(Metadata),
) -> Result<String, End> {
    let (mut rest, mut limit) = (String::new(), PAGE);
    loop {
        let target = format!("{path}?limit={limit}{selected}{rest}");
        let answer = match api.call(get(&target, "PartialObjectMetadataList")?, CALL).await {
            Err(CallError::Misbehaved) if limit > PAGE_MIN => {
                limit = (limit / 4).max(PAGE_MIN);
                continue;
            }
            answer => answer?,
        };
        match answer.status {
            StatusCode::OK => {}
            StatusCode::FORBIDDEN => return Err(End::Denied),
            _ => return Err(End::Broken),
        }
        let page: Page = answer.json()?;
        page.items.into_iter().flatten().for_each(|object| each(object.metadata));
        if page.metadata.rest.is_empty() {
            return Ok(page.metadata.resource_version);
        }
        rest = format!("&continue={}", utf8_percent_encode(&page.metadata.rest, NON_ALPHANUMERIC));
    }
}

/// Watches from `version` on.
pub(super) async fn watch(
    api: &ApiServer,
    Collection(path, selected): Collection,
    version: &str,
) -> Result<Lines, End> {
    let seconds = jitter::around(LASTS).as_secs();
    let target = format!(
        "{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={version}{selected}"
    );
    match api.lines(get(&target, "PartialObjectMetadata")?, CALL).await? {
        Ok(lines) => Ok(lines),
        Err(StatusCode::FORBIDDEN) => Err(End::Denied),
        Err(_) => Err(End::Broken),
    }
}

fn get(target: &str, shape: &str) -> Result<Request<Vec<u8>>, End> {
    let accept = format!("application/json;as={shape};g=meta.k8s.io;v=v1");
    Request::get(target).header(header::ACCEPT, accept).body(Vec::new()).map_err(|_| End::Broken)
}
