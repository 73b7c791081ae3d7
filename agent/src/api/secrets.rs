//! Handlers of `/secrets`.

use http::StatusCode;

use super::{ApiError, ApiResult, Call, answer, body, media, request};
use crate::access::WritePermit;
use crate::audit::Operation;
use crate::id::{Location, SecretId, Slot};
use crate::operations::{PutValue, guard};
use crate::server::RequestBody;

impl Call<'_> {
    pub(super) async fn get_secret(self) -> ApiResult {
        let strict = self.strict()?;
        let id = self.id()?;
        let location = id.location().clone();
        let served = self.api.operations.get(self.context, id, strict).await?;
        self.api.secret(&location, &served, &self.parts.headers)
    }

    pub(super) async fn get_secrets(self) -> ApiResult {
        let pairs = request::query(self.parts)?;
        if pairs.iter().any(|(name, _)| name != "secretId") {
            return Err(ApiError::unknown_parameter());
        }
        if pairs.is_empty() {
            return Err(ApiError::missing_parameter());
        }
        if pairs.len() > self.api.limits.batch_ids {
            return Err(ApiError::batch_too_large());
        }
        let ids = pairs
            .iter()
            .enumerate()
            .map(|(position, (_, text))| {
                SecretId::parse_reference(text).map_err(|error| ApiError::invalid_id(error).at(position))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let locations: Vec<Location> = ids.iter().map(|id| id.location().clone()).collect();
        let all = self.api.operations.get_many(self.context, ids).await?;
        self.api.secrets(&locations, &all, &self.parts.headers)
    }

    pub(super) async fn put_secret(self, body: RequestBody) -> ApiResult {
        let strict = self.strict()?;
        media::check_content(&self.parts.headers)?;
        let (location, checksum) = self.id()?.into_parts();
        let operations = &self.api.operations;
        let permit = self.permit_write(Operation::Put, location).await?;
        let bytes = body.read().await?;
        let parsed: body::PutBody = body::parse(&bytes)?;
        drop(bytes);
        let value = PutValue::from_request(parsed.value, parsed.literal);
        let id = operations.put(self.context, permit, value, guard(strict, &checksum)).await?;
        answer::id(&id)
    }

    pub(super) async fn rotate_secret(self, body: RequestBody) -> ApiResult {
        let strict = self.strict()?;
        media::check_content(&self.parts.headers)?;
        let (location, checksum) = self.id()?.into_parts();
        let operations = &self.api.operations;
        let permit = self.permit_write(Operation::Rotate, location).await?;
        let parsed: body::RotateBody = body::parse_optional(&body.read().await?)?;
        let keep = parsed.keep_previous.map(|name| Slot::parse(&name)).transpose().map_err(ApiError::invalid_id)?;
        let rotated = operations.rotate(self.context, permit, keep.clone(), guard(strict, &checksum)).await;
        let rotated = rotated.map_err(|error| match &keep {
            Some(slot) => ApiError::from(error).naming(slot.as_str()),
            None => error.into(),
        })?;
        let mut answer = serde_json::json!({ "id": rotated.id.to_string() });
        if let (Some(previous), Some(members)) = (rotated.previous, answer.as_object_mut()) {
            members.insert("previousId".to_owned(), previous.to_string().into());
        }
        answer::json(StatusCode::OK, &answer)
    }

    pub(super) async fn delete_secret(self) -> ApiResult {
        let strict = self.strict()?;
        let (location, checksum) = self.id()?.into_parts();
        let operations = &self.api.operations;
        let permit = operations.permit_write(self.context, Operation::Delete, location).await?;
        operations.delete(self.context, permit, guard(strict, &checksum)).await?;
        Ok(answer::no_content())
    }

    async fn permit_write(&self, operation: Operation, location: Location) -> Result<WritePermit, ApiError> {
        let slot = location.slot().to_owned();
        let permit = self.api.operations.permit_write(self.context, operation, location).await;
        permit.map_err(|error| ApiError::from(error).naming(&slot))
    }
}
