//! Handlers of `/whoami` and `/status`: facts about the caller and the agent, never a value.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;

use super::{ApiError, ApiResult, Call, answer, request};
use crate::access::{Right, Target};
use crate::backend::BackendKind;
use crate::id::Scope;
use crate::operations::OperationError;
use crate::render::Board;

/// What `/status` says besides counters.
pub struct About {
    /// Where values live.
    pub backend: BackendKind,
    /// Whether the last call to the backend was answered; kept by whoever calls it.
    pub backend_up: Arc<AtomicBool>,
    /// What an operator must know, in sentences.
    pub warnings: Vec<&'static str>,
    /// Rendered files.
    pub files: Board,
}

impl Call<'_> {
    pub(super) async fn whoami(self) -> ApiResult {
        let access = &self.api.operations.access;
        let caller = &self.context.caller;
        let subject = caller.subject().map_err(OperationError::Access)?;
        let mut answer = serde_json::json!({
            "subject": subject.as_str(),
            "pod": caller.pod,
            "provider": access.provider().name(),
        });
        let members = answer.as_object_mut().ok_or_else(ApiError::internal)?;
        match request::query(self.parts)?.as_slice() {
            [] => {
                if let Some(grants) = access.provider().grants(subject) {
                    members.insert("grants".to_owned(), serde_json::json!(grants));
                }
            }
            [(name, value)] if name == "scope" => {
                let scope = Scope::parse(value).map_err(ApiError::invalid_id)?;
                members.insert("scope".to_owned(), scope.as_str().into());
                members.insert("rights".to_owned(), self.rights(&scope).await?);
            }
            _ => return Err(ApiError::unknown_parameter()),
        }
        answer::json(StatusCode::OK, &answer)
    }

    async fn rights(&self, scope: &Scope) -> Result<serde_json::Value, ApiError> {
        let mut rights = serde_json::Map::new();
        for right in Right::ALL {
            let subject = self.context.caller.subject().map_err(OperationError::Access)?;
            let held = self.api.operations.access.holds(subject, right, Target::from(scope)).await;
            let allowed = held.map_err(OperationError::Access)?;
            rights.insert(right.as_str().to_owned(), allowed.into());
        }
        Ok(rights.into())
    }

    pub(super) fn status(self) -> ApiResult {
        self.no_query()?;
        let about = &self.api.about;
        let operations = &self.api.operations;
        let counters = operations.cache.counters();
        let mut warnings = about.warnings.clone();
        warnings.extend(operations.access.provider().warning());
        warnings.extend(self.api.identity.warning());
        answer::json(
            StatusCode::OK,
            &serde_json::json!({
                "version": env!("CARGO_PKG_VERSION"),
                "backend": {
                    "kind": about.backend.as_str(),
                    "state": if about.backend_up.load(Ordering::Relaxed) { "up" } else { "down" },
                },
                "cache": counters,
                "files": about.files.status(),
                "warnings": warnings,
            }),
        )
    }
}
