//! Errors as RFC 9457 problems: the only place that turns a cause into an HTTP status.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use super::Route;
use crate::access::AccessError;
use crate::api::body;
use crate::backend::BackendError;
use crate::document::{DocumentError, WriteError};
use crate::id::IdError;
use crate::operations::OperationError;
use crate::request_id::RequestId;
use crate::server::{BodyError, Refusal};
use crate::slots::{OnboardError, OnboardRefusal};

/// What went wrong, for programs. A closed set: clients may match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// 400: HTTP that is ambiguous or not taken on a socket.
    MalformedRequest,
    /// 400
    MalformedBody,
    /// 400: a parameter that the call does not have, or a broken escape in the query.
    InvalidQuery,
    /// 401
    NotAuthenticated,
    /// 403
    Denied,
    /// 403
    SlotNotAllowed,
    /// 404: no such path.
    NoSuchPath,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 406
    NotAcceptable,
    /// 408
    BodyTooSlow,
    /// 403: the cluster's admission rules.
    Rejected,
    /// 404: the namespace of a scope.
    NamespaceMissing,
    /// 409
    ChecksumDiffers,
    /// 409: the stored object cannot be changed.
    Immutable,
    /// 409: the only writer was not the only one.
    VersionGap,
    /// 413
    TooLarge,
    /// 415
    UnsupportedMediaType,
    /// 422
    InvalidId,
    /// 422
    InvalidValue,
    /// 422
    InvalidOnboarding,
    /// 422: what a document repeats cannot be changed in its place.
    InvalidDocument,
    /// 422: a string of a document has no place or no name of its own.
    InvalidObfuscation,
    /// 429
    RateLimited,
    /// 429
    Contention,
    /// 500
    Internal,
    /// 502
    BackendMisbehaved,
    /// 503
    BackendUnavailable,
    /// 503
    PermissionsUnavailable,
    /// 503
    AuditUnavailable,
    /// 503
    OverCapacity,
    /// 504
    OutcomeUnknown,
}

/// An answer that is no success. Its texts are ours: nothing of the request is repeated.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: Code,
    detail: Cow<'static, str>,
    position: Option<usize>,
    retry_after: Option<Duration>,
    allow: Option<HeaderValue>,
}

#[derive(serde::Serialize)]
struct Problem<'a> {
    r#type: String,
    status: u16,
    title: &'a str,
    detail: &'a str,
    code: Code,
    instance: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
}

impl ApiError {
    fn new(status: StatusCode, code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, detail: detail.into(), position: None, retry_after: None, allow: None }
    }

    fn retry(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Names the position of an id in a batch, counted from 0.
    pub(super) fn at(mut self, position: usize) -> Self {
        self.position = Some(position);
        self
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::NoSuchPath, "no such path; /api/openapi.json lists those that exist")
    }

    pub(super) fn method_not_allowed(route: Route) -> Self {
        let mut error =
            Self::new(StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed, "the path does not have this method");
        error.allow = Some(super::allow(route.methods()));
        error
    }

    pub(super) fn not_acceptable(media: &'static str) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, Code::NotAcceptable, format!("only {media} is served here"))
    }

    pub(super) fn unsupported_media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::UnsupportedMediaType,
            "only application/json in UTF-8 without a content encoding is read",
        )
    }

    pub(super) fn unsupported_document() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::UnsupportedMediaType,
            "a document is application/json, application/yaml or text/plain, in UTF-8 without a content encoding",
        )
    }

    pub(super) fn invalid_paths() -> Self {
        let detail = "`paths` is a list of at most 100 JSON Pointers that begin with `/`, parted by commas";
        Self::new(StatusCode::BAD_REQUEST, Code::InvalidQuery, detail)
    }

    /// A pointer or a key of an obfuscation, which has no text of the caller in its error.
    pub(super) fn invalid_path(error: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::InvalidObfuscation, error.to_string())
    }

    pub(super) fn too_many_paths() -> Self {
        let detail = "an obfuscation names at most 100 paths";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, detail)
    }

    pub(super) fn document_no_text() -> Self {
        let detail = "where `contentType` is YAML, `document` is its text as a JSON string";
        Self::new(StatusCode::BAD_REQUEST, Code::MalformedBody, detail)
    }

    pub(super) fn malformed_query() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            Code::InvalidQuery,
            "the query holds a broken percent escape, or one that is no UTF-8",
        )
    }

    pub(super) fn unknown_parameter() -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::InvalidQuery, "a query parameter or its value is not known here")
    }

    pub(super) fn missing_parameter() -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::InvalidQuery, "at least one secretId is needed")
    }

    pub(super) fn batch_too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, "the batch names more ids than one call may")
    }

    pub(super) fn undecodable_id() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            Code::InvalidId,
            "the id is no UTF-8 text, percent-encoded exactly once",
        )
    }

    pub(super) fn invalid_id(error: IdError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::InvalidId, error.to_string())
    }

    /// The control plane's sentence. `name` has passed the grammar of slots.
    pub(super) fn slot_not_allowed(name: Option<&str>) -> Self {
        let secret = name.map_or_else(|| "the secret".to_owned(), |name| format!("secret {name}"));
        let detail = format!("{secret} is not allowed for onboarding: this kind of scope has no such slot");
        Self::new(StatusCode::FORBIDDEN, Code::SlotNotAllowed, detail)
    }

    /// The same answer, naming the slot where that is what was refused.
    pub(super) fn naming(self, slot: &str) -> Self {
        match self.code {
            Code::SlotNotAllowed => Self { position: self.position, ..Self::slot_not_allowed(Some(slot)) },
            _ => self,
        }
    }

    pub(super) fn answer_too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Code::TooLarge,
            "the values of this batch make a larger answer than the agent gives; ask for fewer ids at once",
        )
    }

    pub(super) fn over_capacity() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::OverCapacity,
            "too many bytes of requests and answers are under way",
        )
        .retry(Duration::from_secs(1))
    }

    pub(super) fn too_many_streams() -> Self {
        let detail = "as many event streams are open as there may be";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::OverCapacity, detail).retry(Duration::from_secs(1))
    }

    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Internal,
            "a defect of the agent; its log has the request id",
        )
    }

    /// The answer.
    pub(super) fn into_response(self, request: &RequestId) -> Response<Full<Bytes>> {
        let code = serde_json::to_value(self.code).ok();
        let code = code.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
        let problem = Problem {
            r#type: format!("urn:cloakroom:problem:{code}"),
            status: self.status.as_u16(),
            title: self.status.canonical_reason().unwrap_or_default(),
            detail: &self.detail,
            code: self.code,
            instance: request.as_str(),
            position: self.position,
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = self.retry_after {
            // Whole seconds, rounded up (RFC 9110 §10.2.3): a caller that comes earlier is refused again.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0 || after.is_zero());
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, allow);
        }
        response
    }
}

// === causes become HTTP: every match is without a wildcard, so that a new cause forces a decision ===

impl From<OperationError> for ApiError {
    fn from(error: OperationError) -> Self {
        let unprocessable = |code, detail: String| Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
        match error {
            OperationError::Access(AccessError::Denied) => {
                Self::new(StatusCode::FORBIDDEN, Code::Denied, "the right is not granted for this scope")
            }
            OperationError::Access(AccessError::NotAuthenticated) => {
                Self::new(StatusCode::UNAUTHORIZED, Code::NotAuthenticated, "the identity was refused")
            }
            OperationError::Access(AccessError::Unavailable) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                Code::PermissionsUnavailable,
                "permissions cannot be asked; nothing is allowed meanwhile",
            )
            .retry(Duration::from_secs(1)),
            OperationError::SlotNotAllowed => Self::slot_not_allowed(None),
            OperationError::Id(error) => Self::invalid_id(error),
            OperationError::SubKeyOfScalar => unprocessable(Code::InvalidId, error.to_string()),
            OperationError::BlankValue => unprocessable(Code::InvalidValue, error.to_string()),
            OperationError::NotRotatable => unprocessable(
                Code::InvalidValue,
                "a whole map slot takes no generated value, and keepPrevious names another slot that holds one value"
                    .to_owned(),
            ),
            OperationError::ValueTooLarge => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, error.to_string())
            }
            OperationError::Onboard(OnboardRefusal { position, cause }) => Self::from(cause).at(position),
            OperationError::ChecksumDiffers => {
                Self::new(StatusCode::CONFLICT, Code::ChecksumDiffers, error.to_string())
            }
            OperationError::RateLimited(after) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, Code::RateLimited, error.to_string()).retry(after)
            }
            OperationError::AuditUnavailable => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::AuditUnavailable, error.to_string())
                    .retry(Duration::from_secs(1))
            }
            OperationError::Deadline => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::BackendUnavailable, error.to_string())
                    .retry(Duration::from_secs(1))
            }
            OperationError::OutcomeUnknown => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, Code::OutcomeUnknown, error.to_string())
            }
            OperationError::Backend(error) => error.into(),
            OperationError::BackendAt(position, error) => Self::from(error).at(position),
            OperationError::Internal => Self::internal(),
        }
    }
}

impl From<OnboardError> for ApiError {
    fn from(error: OnboardError) -> Self {
        let text = match error {
            OnboardError::NotAllowed => return Self::slot_not_allowed(None),
            OnboardError::Name(cause) => format!("{error}: {cause}"),
            OnboardError::Map(cause) => format!("{error}: {cause}"),
            OnboardError::SubKeyOfScalar
            | OnboardError::Duplicate
            | OnboardError::SlotAndSubKey
            | OnboardError::Blank => error.to_string(),
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::InvalidOnboarding, text)
    }
}

impl From<BackendError> for ApiError {
    fn from(error: BackendError) -> Self {
        let text = error.to_string();
        match error {
            // One text for both, so that a reader learns of secrets and not of scopes.
            BackendError::Absent | BackendError::ScopeMissing => {
                Self::new(StatusCode::NOT_FOUND, Code::NotFound, "no such secret or scope")
            }
            BackendError::Denied | BackendError::LoadRefused => Self::new(StatusCode::FORBIDDEN, Code::Denied, text),
            BackendError::Rejected => Self::new(StatusCode::FORBIDDEN, Code::Rejected, text),
            BackendError::NamespaceMissing => Self::new(StatusCode::NOT_FOUND, Code::NamespaceMissing, text),
            BackendError::Immutable => Self::new(StatusCode::CONFLICT, Code::Immutable, text),
            BackendError::ChecksumDiffers => Self::new(StatusCode::CONFLICT, Code::ChecksumDiffers, text),
            BackendError::InvalidValue => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                Code::InvalidValue,
                "a whole map slot is a flat JSON object of strings: each key once and in the sub-key grammar, no blank value, at least one entry",
            ),
            BackendError::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, text),
            BackendError::Contention => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, Code::Contention, text).retry(Duration::from_secs(1))
            }
            BackendError::VersionGap => Self::new(StatusCode::CONFLICT, Code::VersionGap, text),
            BackendError::NotSerialised => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::BackendUnavailable, text).retry(Duration::from_secs(5))
            }
            BackendError::Unavailable { retry_after } | BackendError::Terminating { retry_after } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::BackendUnavailable, text).retry(retry_after)
            }
            BackendError::Misbehaved | BackendError::Unreadable => {
                Self::new(StatusCode::BAD_GATEWAY, Code::BackendMisbehaved, text)
            }
            BackendError::OutcomeUnknown => Self::new(StatusCode::GATEWAY_TIMEOUT, Code::OutcomeUnknown, text),
        }
    }
}

impl From<body::BodyError> for ApiError {
    fn from(error: body::BodyError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::MalformedBody, error.to_string())
    }
}

impl From<DocumentError> for ApiError {
    fn from(error: DocumentError) -> Self {
        let text = error.to_string();
        match error {
            DocumentError::NotText
            | DocumentError::Syntax(_)
            | DocumentError::DuplicateKey(_)
            | DocumentError::TooDeep(_) => Self::new(StatusCode::BAD_REQUEST, Code::MalformedBody, text),
            DocumentError::TooManyIds
            | DocumentError::TooManyStrings
            | DocumentError::TooManyAnchors
            | DocumentError::TooLong => Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, text),
            DocumentError::AliasElsewhere(_) | DocumentError::NoStructure => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::InvalidDocument, text)
            }
            DocumentError::Key(path, cause) => Self::invalid_path(format!("{text}: {cause}")).at(path),
        }
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::TooLong => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, "the answer would be longer than the limit")
            }
            WriteError::Unfaithful => {
                tracing::error!("a document was not given out, because it would not have read as what it was");
                Self::internal()
            }
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = match refusal {
            Refusal::Host | Refusal::Proxied | Refusal::Target | Refusal::Upgrade => {
                (StatusCode::BAD_REQUEST, Code::MalformedRequest)
            }
            Refusal::Fields => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Code::TooLarge),
        };
        Self::new(status, code, refusal.to_string())
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let text = error.to_string();
        match error {
            BodyError::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, text),
            BodyError::TooSlow => Self::new(StatusCode::REQUEST_TIMEOUT, Code::BodyTooSlow, text),
            BodyError::Malformed => Self::new(StatusCode::BAD_REQUEST, Code::MalformedRequest, text),
            BodyError::OverCapacity => Self::over_capacity(),
        }
    }
}
