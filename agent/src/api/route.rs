//! Routes in one list: path, methods, operation. Paths are matched as they were sent; parameters are decoded once.

use http::Method;

use super::{ApiError, media};

/// The value of a path parameter by name, still percent-encoded.
pub(super) struct Parameters<'a>(matchit::Params<'a, 'a>);

/// A resource of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// One secret.
    Secret,
    /// A batch of secrets.
    Secrets,
    /// The rotation of one secret.
    Rotation,
    /// Changes of one secret.
    Events,
    /// A document whose placeholders are to be replaced.
    Resolution,
    /// A document whose strings are to be stored.
    Obfuscation,
    /// An environment.
    Environment,
    /// A team.
    Team,
    /// An application.
    Application,
    /// Who the caller is.
    Whoami,
    /// How the agent is.
    Status,
    /// The OpenAPI document.
    OpenApi,
}

/// What a request does; the label of its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiOperation {
    /// `GET /secrets/{id}`
    Get,
    /// `GET /secrets`
    Batch,
    /// `PUT /secrets/{id}`
    Put,
    /// `POST /secrets/{id}/rotate`
    Rotate,
    /// `DELETE /secrets/{id}`
    Delete,
    /// `PUT /onboarding/…`
    Onboard,
    /// `DELETE /onboarding/…`
    Offboard,
    /// `POST /resolve`
    Resolve,
    /// `POST /obfuscate`
    Obfuscate,
    /// `GET /secrets/{id}/events`
    Watch,
    /// `GET /whoami`
    Whoami,
    /// `GET /status`
    Status,
    /// `GET /api/openapi.json`
    OpenApi,
    /// Nothing that the API knows.
    Unrouted,
}

impl ApiOperation {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 14] = [
        Self::Get,
        Self::Batch,
        Self::Put,
        Self::Rotate,
        Self::Delete,
        Self::Onboard,
        Self::Offboard,
        Self::Resolve,
        Self::Obfuscate,
        Self::Watch,
        Self::Whoami,
        Self::Status,
        Self::OpenApi,
        Self::Unrouted,
    ];

    /// The label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Batch => "batch",
            Self::Put => "put",
            Self::Rotate => "rotate",
            Self::Delete => "delete",
            Self::Onboard => "onboard",
            Self::Offboard => "offboard",
            Self::Resolve => "resolve",
            Self::Obfuscate => "obfuscate",
            Self::Watch => "watch",
            Self::Whoami => "whoami",
            Self::Status => "status",
            Self::OpenApi => "openapi",
            Self::Unrouted => "unrouted",
        }
    }

    /// What it is answered with; none where that is what it was sent.
    pub(super) fn media(self) -> Option<&'static str> {
        match self {
            Self::Resolve | Self::Obfuscate => None,
            Self::Watch => Some(media::EVENTS),
            _ => Some(media::JSON),
        }
    }
}

/// Every path of the API; the OpenAPI document lists the same.
pub(super) const PATHS: [(&str, Route); 12] = [
    ("/api/v1/secrets/{id}", Route::Secret),
    ("/api/v1/secrets", Route::Secrets),
    ("/api/v1/secrets/{id}/rotate", Route::Rotation),
    ("/api/v1/secrets/{id}/events", Route::Events),
    ("/api/v1/resolve", Route::Resolution),
    ("/api/v1/obfuscate", Route::Obfuscation),
    ("/api/v1/onboarding/environments/{env}", Route::Environment),
    ("/api/v1/onboarding/environments/{env}/teams/{team}", Route::Team),
    ("/api/v1/onboarding/environments/{env}/teams/{team}/apps/{app}", Route::Application),
    ("/api/v1/whoami", Route::Whoami),
    ("/api/v1/status", Route::Status),
    ("/api/openapi.json", Route::OpenApi),
];

/// The matcher over [`PATHS`].
pub(super) struct Routes(matchit::Router<Route>);

impl Routes {
    pub(super) fn new() -> Self {
        let mut router = matchit::Router::new();
        for (path, route) in PATHS {
            router.insert(path, route).expect("the paths of the API must not conflict");
        }
        Self(router)
    }

    /// The route of a raw path. `//`, `..` and encoded separators are ordinary text here, so they match nothing.
    pub(super) fn find<'a>(&'a self, path: &'a str) -> Option<(Route, Parameters<'a>)> {
        let found = self.0.at(path).ok()?;
        Some((*found.value, Parameters(found.params)))
    }
}

impl Route {
    /// What `method` does here.
    pub(super) fn operation(self, method: &Method) -> Option<ApiOperation> {
        let read = method == Method::GET || method == Method::HEAD;
        match self {
            Self::Secret if read => Some(ApiOperation::Get),
            Self::Secret if method == Method::PUT => Some(ApiOperation::Put),
            Self::Secret if method == Method::DELETE => Some(ApiOperation::Delete),
            Self::Secrets if read => Some(ApiOperation::Batch),
            Self::Rotation if method == Method::POST => Some(ApiOperation::Rotate),
            Self::Events if read => Some(ApiOperation::Watch),
            Self::Resolution if method == Method::POST => Some(ApiOperation::Resolve),
            Self::Obfuscation if method == Method::POST => Some(ApiOperation::Obfuscate),
            Self::Environment | Self::Team | Self::Application if method == Method::PUT => Some(ApiOperation::Onboard),
            Self::Environment | Self::Team | Self::Application if method == Method::DELETE => {
                Some(ApiOperation::Offboard)
            }
            Self::Whoami if read => Some(ApiOperation::Whoami),
            Self::Status if read => Some(ApiOperation::Status),
            Self::OpenApi if read => Some(ApiOperation::OpenApi),
            _ => None,
        }
    }

    /// The methods of this resource, for `Allow`.
    pub(super) fn methods(self) -> &'static [Method] {
        match self {
            Self::Secret => &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE],
            Self::Rotation | Self::Resolution | Self::Obfuscation => &[Method::POST],
            Self::Environment | Self::Team | Self::Application => &[Method::PUT, Method::DELETE],
            Self::Secrets | Self::Events | Self::Whoami | Self::Status | Self::OpenApi => &[Method::GET, Method::HEAD],
        }
    }
}

impl Parameters<'_> {
    /// The parameter, percent-decoded once.
    ///
    /// # Errors
    /// A broken escape or bytes that are no UTF-8: no valid segment has either, so the id is invalid (422).
    pub(super) fn decoded(&self, name: &str) -> Result<String, ApiError> {
        let raw = self.0.get(name).unwrap_or_default();
        super::request::percent_decode(raw).ok_or_else(ApiError::undecodable_id)
    }
}
