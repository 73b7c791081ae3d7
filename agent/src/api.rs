//! The HTTP API: routes, handlers, and the one place where errors become HTTP.

mod about;
mod answer;
pub mod body;
mod documents;
mod events;
mod media;
mod onboarding;
mod problem;
mod request;
mod route;
mod secrets;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::identity::{Connected, Identity};
use crate::metrics::RequestMetrics;
use crate::operations::{Context, Operations};
use crate::peer::Peer;
use crate::request_id::RequestIds;
use crate::server::{AnswerBody, Handler, InFlight, Refusal, RequestBody};

pub use about::About;
pub use problem::{ApiError, Code};
pub use route::{ApiOperation, Route};

/// The OpenAPI 3 document, served as it is.
pub const OPENAPI: &str = include_str!("api/openapi.json");

/// `X-Request-Id`
static X_REQUEST_ID: header::HeaderName = header::HeaderName::from_static("x-request-id");

type ApiResult = Result<Response<Full<Bytes>>, ApiError>;

/// What the API needs to know of its limits.
#[derive(Clone, Copy, Debug)]
pub struct ApiLimits {
    /// Ids in one batch.
    pub batch_ids: usize,
    /// Bytes of the largest answer: all that may be in flight at once.
    pub answer_bytes: usize,
    /// Bytes of the largest document that is answered.
    pub document_bytes: usize,
    /// Streams of events at one time.
    pub event_streams: usize,
    /// How long a document waits for its turn to be read.
    pub turn: Duration,
}

/// The API on the socket.
pub struct Api {
    operations: Arc<Operations>,
    identity: Arc<Identity>,
    about: About,
    limits: ApiLimits,
    in_flight: InFlight,
    /// Places for event streams.
    streams: Arc<Semaphore>,
    /// Turns of large documents.
    turns: Arc<Semaphore>,
    request_ids: RequestIds,
    routes: route::Routes,
    metrics: RequestMetrics,
}

impl Api {
    /// Puts the API in front of `operations`.
    #[must_use]
    pub fn new(
        operations: Arc<Operations>,
        identity: Identity,
        about: About,
        limits: ApiLimits,
        in_flight: InFlight,
        request_ids: RequestIds,
    ) -> Self {
        let metrics = operations.metrics.requests();
        Self {
            operations,
            identity: Arc::new(identity),
            about,
            limits,
            in_flight,
            streams: Arc::new(Semaphore::new(limits.event_streams)),
            turns: Arc::new(Semaphore::new(documents::TURNS)),
            request_ids,
            routes: route::Routes::new(),
            metrics,
        }
    }

    async fn dispatch(
        &self,
        connected: &Arc<Connected>,
        context: &Context,
        operation: &mut ApiOperation,
        request: Request<RequestBody>,
    ) -> Result<Response<AnswerBody>, ApiError> {
        let (parts, body) = request.into_parts();
        let (route, parameters) = self.routes.find(parts.uri.path()).ok_or_else(ApiError::not_found)?;
        *operation = route.operation(&parts.method).ok_or_else(|| ApiError::method_not_allowed(route))?;
        if let Some(media) = operation.media() {
            media::check_accept(&parts.headers, media)?;
        }
        let call = Call { api: self, context, parts: &parts, parameters };
        let answer = match operation {
            ApiOperation::Watch => return Box::pin(call.events(connected)).await,
            ApiOperation::Get => call.get_secret().await,
            // Boxed, so that a cached read does not carry room for the state of everything else.
            ApiOperation::Batch => Box::pin(call.get_secrets()).await,
            ApiOperation::Put => Box::pin(call.put_secret(body)).await,
            ApiOperation::Rotate => Box::pin(call.rotate_secret(body)).await,
            ApiOperation::Delete => Box::pin(call.delete_secret()).await,
            ApiOperation::Onboard => Box::pin(call.onboard(route, body)).await,
            ApiOperation::Offboard => Box::pin(call.offboard(route)).await,
            ApiOperation::Resolve => Box::pin(call.resolve(body)).await,
            ApiOperation::Obfuscate => Box::pin(call.obfuscate(body)).await,
            ApiOperation::Whoami => Box::pin(call.whoami()).await,
            ApiOperation::Status => call.status(),
            ApiOperation::OpenApi => Ok(answer::document(OPENAPI)),
            ApiOperation::Unrouted => Err(ApiError::not_found()),
        };
        answer.map(whole)
    }
}

fn whole(answer: Response<Full<Bytes>>) -> Response<AnswerBody> {
    answer.map(AnswerBody::Whole)
}

/// One request on its way through a handler.
struct Call<'a> {
    api: &'a Api,
    context: &'a Context,
    parts: &'a http::request::Parts,
    parameters: route::Parameters<'a>,
}

impl Handler for Api {
    type Caller = Connected;

    fn admit(&self, peer: Peer) -> Option<Connected> {
        self.identity.admit(peer)
    }

    async fn handle(&self, connected: &Arc<Connected>, request: Request<RequestBody>) -> Response<AnswerBody> {
        let began = Instant::now();
        let context = Context { request: self.request_ids.next(), caller: self.identity.caller(connected) };
        let mut operation = ApiOperation::Unrouted;
        let result = self.dispatch(connected, &context, &mut operation, request).await;
        let mut response = result.unwrap_or_else(|error| whole(error.into_response(&context.request)));
        response.headers_mut().insert(&X_REQUEST_ID, context.request.to_header());
        self.metrics.observe(operation, response.status(), began.elapsed());
        response
    }

    fn refuse(&self, refusal: Refusal) -> Response<AnswerBody> {
        self.finish(ApiError::from(refusal))
    }

    fn panicked(&self) -> Response<AnswerBody> {
        self.finish(ApiError::internal())
    }
}

impl Api {
    fn finish(&self, error: ApiError) -> Response<AnswerBody> {
        let request = self.request_ids.next();
        let mut response = whole(error.into_response(&request));
        response.headers_mut().insert(&X_REQUEST_ID, request.to_header());
        self.metrics.observe(ApiOperation::Unrouted, response.status(), Duration::ZERO);
        response
    }
}

/// The methods of a route, for `Allow`.
fn allow(methods: &[Method]) -> HeaderValue {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static(""))
}
