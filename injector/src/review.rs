//! One `AdmissionReview`: read, decided by the core, and answered with the uid that it came with.
//!
//! Nothing of a review is logged, and nothing goes into the answer but its uid, the patch and a sentence of the core.

mod kept;
mod parse;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;

use crate::inject::{Decision, Entry, Operation, Reason, Request, inject};
use crate::profile::Settings;
use parse::{Review, Unfit};

/// What became of a review, with its labels for the metric.
#[derive(Debug)]
pub struct Verdict {
    /// `allowed`, `patched`, `denied` or `refused`.
    pub decision: &'static str,
    /// Out of a closed set.
    pub reason: &'static str,
    /// What is sent back.
    pub outcome: Outcome,
}

/// What is sent back.
#[derive(Debug)]
pub enum Outcome {
    /// A review.
    Answer(Bytes),
    /// 400 and this sentence: what came is no review that could be answered.
    Malformed(&'static str),
    /// 500: a defect of ours.
    Broken,
}

/// Answers the review in `body`, which came through `entry`.
#[must_use]
pub fn answer(body: &[u8], entry: Entry, settings: &Settings) -> Verdict {
    let review = match Review::parse(body) {
        Ok(review) => review,
        Err(unfit) => return refused(unfit),
    };
    let uid = review.uid.as_ref();
    // What goes, or is only connected to, may have no object at all.
    if matches!(review.operation, Operation::Delete | Operation::Connect) {
        return verdict("allowed", Reason::NotCreate.name(), uid, Response::allowed());
    }
    let pod = match review.pod() {
        Ok(Some(pod)) => pod,
        Ok(None) => return verdict("allowed", "subresource", uid, Response::allowed()),
        Err(unfit) => return refused_with(uid, unfit),
    };
    let request = Request { namespace: &review.namespace, user: &review.user, entry, operation: review.operation };
    // A panic is a defect of one pod's review; every other pod's goes on.
    let decided = catch_unwind(AssertUnwindSafe(|| inject(pod, &request, settings)));
    match decided {
        Ok(Decision::Untouched(reason)) => verdict("allowed", reason.name(), uid, Response::allowed()),
        Ok(Decision::Denied(denial)) => {
            verdict("denied", denial.name(), uid, Response::denied(403, denial.to_string()))
        }
        Ok(Decision::Patched { patch, reason }) => match serde_json::to_vec(&patch) {
            Ok(patch) => verdict("patched", reason.name(), uid, Response::patched(&patch)),
            Err(_) => broken(),
        },
        Err(_panic) => broken(),
    }
}

fn broken() -> Verdict {
    Verdict { decision: "refused", reason: "defect", outcome: Outcome::Broken }
}

fn refused(unfit: Unfit) -> Verdict {
    Verdict { decision: "refused", reason: unfit.as_str(), outcome: Outcome::Malformed(unfit.sentence()) }
}

fn refused_with(uid: &str, unfit: Unfit) -> Verdict {
    verdict("denied", unfit.as_str(), uid, Response::denied(400, unfit.sentence().to_owned()))
}

fn verdict(decision: &'static str, reason: &'static str, uid: &str, response: Response) -> Verdict {
    let answer =
        Answer { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response: WithUid { uid, response } };
    match serde_json::to_vec(&answer) {
        Ok(body) => Verdict { decision, reason, outcome: Outcome::Answer(body.into()) },
        Err(_) => broken(),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: WithUid<'a>,
}

#[derive(Serialize)]
struct WithUid<'a> {
    uid: &'a str,
    #[serde(flatten)]
    response: Response,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    message: String,
}

impl Response {
    fn allowed() -> Self {
        Self { allowed: true, ..Self::default() }
    }

    fn patched(patch: &[u8]) -> Self {
        Self { patch_type: Some("JSONPatch"), patch: Some(STANDARD.encode(patch)), ..Self::allowed() }
    }

    fn denied(code: u16, message: String) -> Self {
        Self { status: Some(Status { code, message }), ..Self::default() }
    }
}
