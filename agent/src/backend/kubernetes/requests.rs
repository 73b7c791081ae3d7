//! Requests about Secrets, and what their answers mean. Statuses and closed reasons decide; no text of the server's does.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Shared;
use super::object::Object;
use super::place::Place;
use super::version::Version;
use crate::backend::BackendError;
use crate::backend::plan::Plan;
use crate::kubernetes::{Answer, CallError};

/// Who writes, in `managedFields`.
const MANAGER: &str = "fieldManager=cloakroom";

/// How long to leave a namespace or an object alone that is on its way out.
const TERMINATING_RETRY: Duration = Duration::from_secs(5);

/// What became of a write.
pub(super) enum Outcome {
    /// It is stored; this is the object now, where the server shows it.
    Done(Option<Object>),
    /// Somebody else wrote first, or made the object first: nothing was changed.
    Conflict,
    /// There is no such object.
    Missing,
    /// It was sent, and the server said that something failed.
    Failed,
    /// It was sent and nobody knows.
    Unknown,
}

/// The Secret as it is now; none where it or its namespace is missing.
pub(super) async fn get(shared: &Shared, place: &Place) -> Result<Option<Object>, BackendError> {
    let answer = shared.api.call(build(Request::get(place.path()), None, Vec::new())?, shared.settings.call).await;
    let answer = answer.map_err(nothing_changed)?;
    match answer.status {
        StatusCode::OK => object(&answer).map(Some),
        StatusCode::NOT_FOUND => Ok(None),
        StatusCode::FORBIDDEN => Err(BackendError::Denied),
        _ => Err(BackendError::Misbehaved),
    }
}

/// Whether the server answers at all. Asks nothing that takes a right.
pub(super) async fn probe(shared: &Shared) -> Result<(), BackendError> {
    let answered = shared.api.minor_version(shared.settings.call).await;
    answered.map(drop).map_err(nothing_changed)
}

/// Stores the changes of a plan in the object that it was worked out from, and in no later one. Where `repair` says so,
/// labels and finalizer that are missing are put on it.
pub(super) async fn patch(
    shared: &Shared,
    place: &Place,
    base: &Object,
    plan: &Plan,
    repair: bool,
    within: Duration,
) -> Result<Outcome, BackendError> {
    let mut metadata = json!({"resourceVersion": base.version.to_string(), "uid": &*base.uid});
    if repair && let Some(members) = metadata.as_object_mut() {
        let missing = shared.settings.labels(place.scope());
        members.insert("labels".to_owned(), missing.into_iter().filter(|(name, _)| !base.has_label(name)).collect());
        if !base.holds(&shared.settings.finalizer) {
            let held = base.finalizers.iter().chain([shared.settings.finalizer.as_str()]);
            members.insert("finalizers".to_owned(), held.collect());
        }
    }
    change(shared, place, &json!({ "metadata": metadata }), Some(plan), within).await
}

/// Takes our finalizer off.
pub(super) async fn release(
    shared: &Shared,
    place: &Place,
    base: &Object,
    within: Duration,
) -> Result<Outcome, BackendError> {
    let others = base.finalizers.iter().filter(|held| *held != shared.settings.finalizer);
    let others: Value = others.collect();
    let body =
        json!({"metadata": {"resourceVersion": base.version.to_string(), "uid": &*base.uid, "finalizers": others}});
    change(shared, place, &body, None, within).await
}

/// A JSON merge patch (RFC 7396): what it does not name stays.
async fn change(
    shared: &Shared,
    place: &Place,
    head: &Value,
    plan: Option<&Plan>,
    within: Duration,
) -> Result<Outcome, BackendError> {
    let request = Request::patch(format!("{}?{MANAGER}", place.path()));
    let request = build(request, Some("application/merge-patch+json"), body(head, plan)?)?;
    outcome(shared.api.call(request, within).await)
}

/// Makes the Secret with what a plan puts into it.
pub(super) async fn create(
    shared: &Shared,
    place: &Place,
    plan: &Plan,
    within: Duration,
) -> Result<Outcome, BackendError> {
    let settings = &shared.settings;
    let labels: serde_json::Map<String, Value> = settings.labels(place.scope()).into_iter().collect();
    let finalizers: Vec<&str> = Some(settings.finalizer.as_str()).filter(|name| !name.is_empty()).into_iter().collect();
    let head = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {
            "name": place.name(), "namespace": place.namespace(), "labels": labels, "finalizers": finalizers,
        },
    });
    let request = Request::post(format!("{}?{MANAGER}", place.collection()));
    let request = build(request, Some("application/json"), body(&head, Some(plan))?)?;
    match outcome(shared.api.call(request, within).await)? {
        // The object cannot be missing where it is to be made.
        Outcome::Missing => Err(BackendError::NamespaceMissing),
        outcome => Ok(outcome),
    }
}

/// Makes a namespace; that it is there already is as good.
pub(super) async fn create_namespace(shared: &Shared, name: &str, within: Duration) -> Result<(), BackendError> {
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let request = Request::post(format!("/api/v1/namespaces?{MANAGER}"));
    let request = build(request, Some("application/json"), body.to_string().into_bytes())?;
    outcome(shared.api.call(request, within).await).map(drop)
}

/// Deletes exactly the object that was seen, in the state that was seen.
pub(super) async fn delete(
    shared: &Shared,
    place: &Place,
    uid: &str,
    version: &Version,
    within: Duration,
) -> Result<Outcome, BackendError> {
    let body = json!({
        "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid, "resourceVersion": version.to_string()},
    });
    let request = build(Request::delete(place.path()), Some("application/json"), body.to_string().into_bytes())?;
    outcome(shared.api.call(request, within).await)
}

/// `head` with `data` beside its members, written into memory that is wiped and does not move.
fn body(head: &Value, plan: Option<&Plan>) -> Result<Vec<u8>, BackendError> {
    let mut text = head.to_string();
    let Some(plan) = plan else { return Ok(text.into_bytes()) };
    text.pop();
    let size: usize = plan
        .changes
        .iter()
        .map(|(slot, value)| slot.as_str().len() + 8 + value.as_ref().map_or(4, |value| value.len() / 3 * 4 + 4))
        .sum();
    let mut body = Zeroizing::new(Vec::with_capacity(text.len() + size + 16));
    body.extend_from_slice(text.as_bytes());
    body.extend_from_slice(b",\"data\":{");
    for (index, (slot, value)) in plan.changes.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        // A slot's name is letters, digits, `-` and `_`: there is nothing to escape.
        body.push(b'"');
        body.extend_from_slice(slot.as_str().as_bytes());
        body.extend_from_slice(b"\":");
        match value {
            None => body.extend_from_slice(b"null"),
            Some(value) => {
                body.push(b'"');
                let (start, bytes) = (body.len(), value.expose().as_bytes());
                body.resize(start + base64::encoded_len(bytes.len(), true).ok_or(BackendError::TooLarge)?, 0);
                let place = body.get_mut(start..).unwrap_or_default();
                STANDARD.encode_slice(bytes, place).map_err(|_| BackendError::TooLarge)?;
                body.push(b'"');
            }
        }
    }
    body.extend_from_slice(b"}}");
    Ok(std::mem::take(&mut *body))
}

fn build(
    request: http::request::Builder,
    content_type: Option<&'static str>,
    body: Vec<u8>,
) -> Result<Request<Vec<u8>>, BackendError> {
    let request = request.header(header::ACCEPT, "application/json");
    let request = match content_type {
        Some(content_type) => request.header(header::CONTENT_TYPE, content_type),
        None => request,
    };
    request.body(body).map_err(|_| BackendError::Misbehaved)
}

/// Reads the object of an answer.
fn object(answer: &Answer) -> Result<Object, BackendError> {
    Object::parse(answer.body())
}

/// An error of a call that changes nothing.
pub(super) fn nothing_changed(error: CallError) -> BackendError {
    match error {
        CallError::Busy(retry_after) => BackendError::Unavailable { retry_after },
        CallError::Unreachable | CallError::Lost | CallError::Failed => {
            BackendError::Unavailable { retry_after: Duration::from_secs(1) }
        }
        CallError::NotAuthenticated | CallError::Misbehaved => BackendError::Misbehaved,
    }
}

/// What a write's answer means.
fn outcome(answer: Result<Answer, CallError>) -> Result<Outcome, BackendError> {
    let answer = match answer {
        Ok(answer) => answer,
        // Stored or not: 500 is what a server says whose webhook is away, and whose store did not answer it in time.
        Err(CallError::Failed) => return Ok(Outcome::Failed),
        Err(CallError::Lost | CallError::Misbehaved) => return Ok(Outcome::Unknown),
        Err(error) => return Err(nothing_changed(error)),
    };
    match answer.status {
        // A delete answers with a status where the object is gone at once.
        StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED => Ok(Outcome::Done(object(&answer).ok())),
        StatusCode::CONFLICT => Ok(Outcome::Conflict),
        StatusCode::NOT_FOUND => Ok(Outcome::Missing),
        StatusCode::PAYLOAD_TOO_LARGE => Err(BackendError::TooLarge),
        StatusCode::FORBIDDEN => Err(forbidden(&answer)),
        // Admission refuses with these where a webhook or a policy names no other; ours is a well-formed request.
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Err(BackendError::Rejected),
        _ => Err(BackendError::Misbehaved),
    }
}

/// 403 has four senses: RBAC, a namespace on its way out, a quota, and admission.
fn forbidden(answer: &Answer) -> BackendError {
    if answer.causes().iter().any(|reason| reason == "NamespaceTerminating") {
        return BackendError::Terminating { retry_after: TERMINATING_RETRY };
    }
    BackendError::Denied
}
