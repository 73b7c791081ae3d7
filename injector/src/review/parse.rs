//! What of an `AdmissionReview` is read (admission.k8s.io/v1), and what makes it unfit.
//!
//! The body is anybody's: the pod network can reach the webhook. Only the fields that decide are kept, and everything is
//! read once.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::kept::Kept;
use crate::inject::Operation;

/// API servers send a UUID of 36 characters.
const UID_BYTES_MAX: usize = 128;

/// What was asked, as far as it is read.
pub(super) struct Review<'a> {
    pub(super) uid: Cow<'a, str>,
    pub(super) namespace: Cow<'a, str>,
    pub(super) user: Cow<'a, str>,
    pub(super) operation: Operation,
    kind: Kind<'a>,
    sub_resource: bool,
    object: Option<Kept>,
}

/// Why there is no decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    NotJson,
    NotAReview,
    OtherVersion,
    NoRequest,
    NoUid,
    NotAPod,
    NoContainers,
    TooMuch,
}

impl Unfit {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not-json",
            Self::NotAReview => "not-a-review",
            Self::OtherVersion => "other-version",
            Self::NoRequest => "no-request",
            Self::NoUid => "no-uid",
            Self::NotAPod => "not-a-pod",
            Self::NoContainers => "no-containers",
            Self::TooMuch => "too-much",
        }
    }

    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::NotJson => "the body is not the JSON of an AdmissionReview",
            Self::NotAReview => "the body is no AdmissionReview",
            Self::OtherVersion => "only AdmissionReview of admission.k8s.io/v1 is understood",
            Self::NoRequest => "the review has no request",
            Self::NoUid => "the request has no uid",
            Self::NotAPod => "the request is not about a pod; the webhook's rules must name pods alone",
            Self::NoContainers => "the pod has no containers",
            Self::TooMuch => "the pod has more fields than a pod can need",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow, default)]
    api_version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    request: Option<Body<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow, default)]
    uid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    kind: Option<Kind<'a>>,
    #[serde(borrow, default)]
    sub_resource: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    operation: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    user_info: Option<User<'a>>,
    #[serde(default)]
    object: Option<Kept>,
}

#[derive(Default, Deserialize)]
struct Kind<'a> {
    #[serde(borrow, default)]
    group: Cow<'a, str>,
    #[serde(borrow, default)]
    version: Cow<'a, str>,
    #[serde(borrow, default, rename = "kind")]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct User<'a> {
    #[serde(borrow, default)]
    username: Cow<'a, str>,
}

impl<'a> Review<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Unfit> {
        let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Unfit::NotAReview,
            _ => Unfit::NotJson,
        })?;
        if envelope.kind.as_deref() != Some("AdmissionReview") {
            return Err(Unfit::NotAReview);
        }
        if envelope.api_version.as_deref() != Some("admission.k8s.io/v1") {
            return Err(Unfit::OtherVersion);
        }
        let request = envelope.request.ok_or(Unfit::NoRequest)?;
        let uid = request.uid.filter(|uid| !uid.is_empty() && uid.len() <= UID_BYTES_MAX).ok_or(Unfit::NoUid)?;
        Ok(Self {
            uid,
            namespace: request.namespace.unwrap_or_default(),
            user: request.user_info.map(|user| user.username).unwrap_or_default(),
            operation: match request.operation.as_deref() {
                Some("CREATE") => Operation::Create,
                Some("DELETE") => Operation::Delete,
                Some("CONNECT") => Operation::Connect,
                // Whatever else there may be one day: nothing is put into a pod that is there.
                _ => Operation::Update,
            },
            kind: request.kind.unwrap_or_default(),
            sub_resource: request.sub_resource.is_some_and(|name| !name.is_empty()),
            object: request.object,
        })
    }

    /// The pod, as far as the core looks at it; none where only a part of one is written (`pods/status`, `pods/ephemeralcontainers`).
    pub(super) fn pod(&self) -> Result<Option<&Value>, Unfit> {
        let Kind { group, version, name } = &self.kind;
        if !(group.is_empty() && version == "v1" && name == "Pod") {
            return Err(Unfit::NotAPod);
        }
        if self.sub_resource {
            return Ok(None);
        }
        let pod = match &self.object {
            None => return Err(Unfit::NotAPod),
            Some(Kept::TooMuch) => return Err(Unfit::TooMuch),
            Some(Kept::Pod(pod)) => pod,
        };
        let is_pod = pod.get("metadata").is_some_and(Value::is_object) && pod.get("spec").is_some_and(Value::is_object);
        if !is_pod {
            return Err(Unfit::NotAPod);
        }
        let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
        if containers.is_none_or(Vec::is_empty) {
            return Err(Unfit::NoContainers);
        }
        Ok(Some(pod))
    }
}
