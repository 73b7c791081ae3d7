//! Questions to the API server about rights and identity: reviews are made, answered and forgotten by it.

use std::time::Duration;

use http::{Request, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, ApiServer, CallError};

/// What is asked about: one verb on one object of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// The API group.
    pub group: &'a str,
    /// Its resource, in the plural.
    pub resource: &'a str,
    /// The verb.
    pub verb: &'a str,
    /// The object's namespace.
    pub namespace: &'a str,
    /// The object's name.
    pub name: &'a str,
}

impl Attributes<'_> {
    pub(crate) fn to_json(self) -> Value {
        json!({
            "group": self.group, "resource": self.resource, "verb": self.verb,
            "namespace": self.namespace, "name": self.name,
        })
    }
}

/// Who the API server says that we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// The user name.
    pub user: String,
    /// The pod that the token is bound to.
    pub pod: Option<String>,
    /// That pod's uid.
    pub pod_uid: Option<String>,
}

impl ApiServer {
    /// Who are we? (`SelfSubjectReview`, authentication.k8s.io/v1)
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn who_am_i(&self, within: Duration) -> Result<Identified, CallError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Review {
            status: Status,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Status {
            user_info: UserInfo,
        }
        #[derive(Deserialize)]
        struct UserInfo {
            username: String,
            #[serde(default)]
            extra: std::collections::BTreeMap<String, Vec<String>>,
        }
        let answer = self.review(&Question::who_we_are(), within).await?;
        let review: Review = answer.json()?;
        let mut user = review.status.user_info;
        let mut first = |key: &str| user.extra.remove(key).and_then(|values| values.into_iter().next());
        let (pod, pod_uid) =
            (first("authentication.kubernetes.io/pod-name"), first("authentication.kubernetes.io/pod-uid"));
        Ok(Identified { user: user.username, pod, pod_uid })
    }

    /// May we? (`SelfSubjectAccessReview`, authorization.k8s.io/v1)
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn may_i(&self, what: Attributes<'_>, within: Duration) -> Result<bool, CallError> {
        allowed(self.review(&Question::about_us(what), within).await?.body())
    }

    /// Asks `question`, and gives the answer as it came.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn answer(&self, question: &Question, within: Duration) -> Result<Answer, CallError> {
        let request = Request::post(question.path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(question.body.to_string().into_bytes())
            .map_err(|_| CallError::Misbehaved)?;
        self.call(request, within).await
    }

    async fn review(&self, question: &Question, within: Duration) -> Result<Answer, CallError> {
        let answer = self.answer(question, within).await?;
        match answer.status {
            StatusCode::CREATED | StatusCode::OK => Ok(answer),
            // Every authenticated user may ask about itself (`system:basic-user`); without that there is no answer.
            _ => Err(CallError::Misbehaved),
        }
    }
}

/// A review that has not been asked for yet.
pub(crate) struct Question {
    pub(crate) path: &'static str,
    pub(crate) body: Value,
}

impl Question {
    /// Who are we? (`SelfSubjectReview`, authentication.k8s.io/v1)
    fn who_we_are() -> Self {
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}});
        Self { path: "/apis/authentication.k8s.io/v1/selfsubjectreviews", body }
    }

    /// May we? (`SelfSubjectAccessReview`, authorization.k8s.io/v1)
    pub(crate) fn about_us(what: Attributes<'_>) -> Self {
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": what.to_json()},
        });
        Self { path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body }
    }

    /// May `user`, who is in `groups`? (`SubjectAccessReview`, authorization.k8s.io/v1)
    pub(crate) fn about(user: &str, groups: &[String], what: Attributes<'_>) -> Self {
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": groups, "resourceAttributes": what.to_json()},
        });
        Self { path: "/apis/authorization.k8s.io/v1/subjectaccessreviews", body }
    }
}

/// What the server said.
pub(crate) fn allowed(review: &[u8]) -> Result<bool, CallError> {
    #[derive(Deserialize)]
    struct Review {
        status: Status,
    }
    #[derive(Deserialize)]
    struct Status {
        allowed: bool,
        #[serde(default)]
        denied: bool,
    }
    let review: Review = serde_json::from_slice(review).map_err(|_| CallError::Misbehaved)?;
    Ok(review.status.allowed && !review.status.denied)
}
