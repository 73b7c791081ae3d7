//! Handlers of `/onboarding`.

use http::StatusCode;

use super::{ApiError, ApiResult, Call, Route, answer, body, media};
use crate::audit::Operation;
use crate::id::{Location, Scope, SecretId};
use crate::operations::OperationError;
use crate::server::RequestBody;
use crate::slots::{OnboardEntry, OnboardedItem};

impl Call<'_> {
    pub(super) async fn onboard(self, route: Route, body: RequestBody) -> ApiResult {
        self.no_query()?;
        media::check_content(&self.parts.headers)?;
        let scope = self.scope(route)?;
        let operations = &self.api.operations;
        let permit = operations.permit_onboard(self.context, Operation::Onboard, scope.clone()).await?;
        let parsed: body::OnboardBody = body::parse_optional(&body.read().await?)?;
        let names: Vec<String> = parsed.secrets.iter().map(|body::Object(named)| named.name.clone()).collect();
        let entries = parsed
            .secrets
            .into_iter()
            .map(|body::Object(named)| OnboardEntry { name: named.name, value: named.value })
            .collect();
        let items = operations.onboard(self.context, permit, parsed.strategy, entries).await;
        let items = items.map_err(|error| refused(error, &names))?;
        let items: Vec<_> = items.iter().map(|item| line(&scope, item)).collect();
        answer::json(StatusCode::OK, &serde_json::json!({ "items": items }))
    }

    pub(super) async fn offboard(self, route: Route) -> ApiResult {
        self.no_query()?;
        let scope = self.scope(route)?;
        let operations = &self.api.operations;
        let permit = operations.permit_onboard(self.context, Operation::Offboard, scope).await?;
        operations.offboard(self.context, permit).await?;
        Ok(answer::no_content())
    }

    /// The scope that the path names; every segment that the route has must be there.
    fn scope(&self, route: Route) -> Result<Scope, ApiError> {
        let names: &[&str] = match route {
            Route::Environment => &["env"],
            Route::Team => &["env", "team"],
            _ => &["env", "team", "app"],
        };
        let mut segments = [const { String::new() }; 3];
        for (segment, name) in segments.iter_mut().zip(names) {
            *segment = self.parameters.decoded(name)?;
        }
        let [env, team, app] = &segments;
        Scope::new(env, team, app).map_err(ApiError::invalid_id)
    }
}

/// A name that is refused for its slot has passed the grammar, so that it can be repeated.
fn refused(error: OperationError, names: &[String]) -> ApiError {
    let name = match error {
        OperationError::Onboard(refusal) => names.get(refusal.position),
        _ => None,
    };
    let error = ApiError::from(error);
    match name {
        Some(name) => error.naming(name),
        None => error,
    }
}

fn line(scope: &Scope, item: &OnboardedItem) -> serde_json::Value {
    let location = Location::of(scope, &item.slot, item.sub_key.as_ref());
    let name = match &item.sub_key {
        Some(key) => format!("{}/{}", item.slot.as_str(), key.as_str()),
        None => item.slot.as_str().to_owned(),
    };
    serde_json::json!({ "name": name, "id": SecretId::new(location, item.checksum.clone()).to_string() })
}
