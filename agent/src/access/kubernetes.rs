//! Permissions from Kubernetes RBAC: the API server is asked, and believed for a stated time and no longer.
//!
//! An allow is believed for 30 seconds and a denial for 5. While the API server cannot be asked, an allow lives out its
//! time, and then nothing is allowed.

mod questions;

use std::time::Duration;

use async_trait::async_trait;

use self::questions::{Question, Questions};
use super::{AccessError, Action, Decision, PermissionProvider, Subject, Target};
use crate::clock::Clock;
use crate::id::Scope;
use crate::kubernetes::review::Attributes;
use crate::kubernetes::{ApiServer, CallError};

/// The API group of Cloakroom's own rights. No server serves it; RBAC knows it all the same.
pub const GROUP: &str = "cloakroom.dev";

/// How long an allow is believed: the time in which a revocation takes effect.
const ALLOW: Duration = Duration::from_secs(30);

/// How long a denial is.
const DENY: Duration = Duration::from_secs(5);

/// How long nobody asks again after the API server did not answer, so that waiting requests do not wait in turn.
const UNANSWERED: Duration = Duration::from_millis(500);

/// Asks the API server about the token that it knows us by.
pub struct KubernetesRbac {
    api: ApiServer,
    clock: Clock,
    within: Duration,
    questions: Questions,
}

impl KubernetesRbac {
    /// Asks `api`, and waits at most `within` for an answer.
    #[must_use]
    pub fn new(api: ApiServer, clock: Clock, within: Duration) -> Self {
        Self { api, clock, within, questions: Questions::default() }
    }

    async fn review(&self, action: Action, target: Target<'_>) -> Result<Decision, AccessError> {
        let namespace = target.namespace();
        let what = attributes(action, &namespace, target);
        match self.api.may_i(what, self.within).await {
            Ok(true) => Ok(Decision::Allow),
            Ok(false) => Ok(Decision::Deny),
            Err(CallError::NotAuthenticated) => Err(AccessError::NotAuthenticated),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the API server cannot be asked for permission"
                );
                Err(AccessError::Unavailable)
            }
        }
    }
}

/// The question in the words of RBAC.
#[must_use]
pub fn attributes<'a>(action: Action, namespace: &'a str, target: Target<'a>) -> Attributes<'a> {
    let (resource, verb) = match action {
        Action::Read => ("secrets", "get"),
        Action::Write => ("secrets", "update"),
        Action::Delete => ("secrets", "delete"),
        Action::Onboard => ("onboardings", "update"),
        Action::Offboard => ("onboardings", "delete"),
    };
    Attributes { group: GROUP, resource, verb, namespace, name: target.object_name() }
}

#[async_trait]
impl PermissionProvider for KubernetesRbac {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn known(&self, subject: &Subject, action: Action, target: Target<'_>) -> Option<Decision> {
        self.questions.answer(Question { subject, action, target }, self.clock.now())?.ok()
    }

    async fn ask(&self, subject: &Subject, action: Action, scope: &Scope) -> Result<Decision, AccessError> {
        let turn = self.questions.turn(subject, action, scope, self.clock.now());
        let _asking = turn.come().await;
        if let Some(answer) = self.questions.answer(turn.question, self.clock.now()) {
            return answer;
        }
        // Counted from before the question: what the answer was made from may be that old.
        let began = self.clock.now();
        let answer = self.review(action, turn.question.target).await;
        let until = match answer {
            Ok(Decision::Allow) => began + ALLOW,
            Ok(Decision::Deny) => began + DENY,
            Err(_) => self.clock.now() + UNANSWERED,
        };
        turn.note(answer, until);
        answer
    }
}
