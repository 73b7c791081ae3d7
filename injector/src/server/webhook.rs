//! One HTTP request to the webhook: which entry it came through, a body within its bounds, and an answer in time.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::inject::Entry;
use crate::metrics::ReviewMetrics;
use crate::profile::Settings;
use crate::review::{self, Outcome};

/// Bytes of a review. An API server takes objects of 3 MiB; the rest is the review around it.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// Bytes of all bodies that are being read.
const BODIES_BYTES_MAX: usize = 16 << 20;

/// From the end of the head to the end of the body. The API server gives the whole call `timeoutSeconds`, 5 s.
const BODY: Duration = Duration::from_secs(3);

/// Everything that reviews share.
pub struct Webhook {
    settings: Settings,
    metrics: ReviewMetrics,
    room: Semaphore,
}

/// Why there is no body.
enum BodyError {
    TooLarge,
    TooSlow,
    Broken,
}

impl Webhook {
    /// One that decides by `settings`.
    #[must_use]
    pub fn new(settings: Settings, metrics: ReviewMetrics) -> Arc<Self> {
        Arc::new(Self { settings, metrics, room: Semaphore::new(BODIES_BYTES_MAX) })
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let entry = match request.uri().path() {
            "/inject/enabled" => Entry::Enabled,
            "/inject/required" => Entry::Required,
            "/inject/asked" => Entry::Asked,
            _ => return plain(StatusCode::NOT_FOUND, "/inject/enabled, /inject/required or /inject/asked"),
        };
        if *request.method() != Method::POST {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "POST only");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        let began = tokio::time::Instant::now();
        let (decision, reason, response) = match self.read(request.into_body()).await {
            Ok((body, _room)) => {
                let verdict = review::answer(&body, entry, &self.settings);
                (verdict.decision, verdict.reason, respond(verdict.outcome))
            }
            Err(BodyError::TooLarge) => {
                ("refused", "too-large", plain(StatusCode::BAD_REQUEST, "the review is larger than 4 MiB"))
            }
            Err(BodyError::TooSlow) => {
                ("refused", "too-slow", plain(StatusCode::REQUEST_TIMEOUT, "the review did not arrive in time"))
            }
            Err(BodyError::Broken) => {
                ("refused", "broken", plain(StatusCode::BAD_REQUEST, "the review did not arrive as a whole"))
            }
        };
        self.metrics.observe(decision, reason, began.elapsed());
        response
    }

    /// The whole body, and the room that it takes.
    async fn read(&self, mut incoming: Incoming) -> Result<(Bytes, Option<SemaphorePermit<'_>>), BodyError> {
        // What says that it is too large is not read at all.
        if incoming.size_hint().lower() > BODY_BYTES_MAX as u64 {
            return Err(BodyError::TooLarge);
        }
        let reading = async {
            let (mut body, mut room) = (BytesMut::new(), None::<SemaphorePermit<'_>>);
            while let Some(frame) = incoming.frame().await {
                let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
                if body.len() + data.len() > BODY_BYTES_MAX {
                    return Err(BodyError::TooLarge);
                }
                // Bodies that are slow together may fill the room: then all wait, and the deadline ends some of them.
                let bytes = u32::try_from(data.len()).map_err(|_| BodyError::TooLarge)?;
                let more = self.room.acquire_many(bytes).await.map_err(|_| BodyError::Broken)?;
                match &mut room {
                    Some(room) => room.merge(more),
                    None => room = Some(more),
                }
                body.extend_from_slice(&data);
            }
            Ok((body.freeze(), room))
        };
        tokio::time::timeout(BODY, reading).await.unwrap_or(Err(BodyError::TooSlow))
    }
}

fn respond(outcome: Outcome) -> Response<Full<Bytes>> {
    match outcome {
        Outcome::Answer(body) => {
            let mut response = Response::new(Full::new(body));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Outcome::Malformed(sentence) => plain(StatusCode::BAD_REQUEST, sentence),
        // By the webhook's `failurePolicy`: the API server takes it for a webhook that failed.
        Outcome::Broken => plain(StatusCode::INTERNAL_SERVER_ERROR, "a defect of the injector"),
    }
}

fn plain(status: StatusCode, sentence: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(sentence.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
