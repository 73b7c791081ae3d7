//! Which versions of the API server are supported, and the refusal of an older one.

use std::time::Duration;

use super::{ApiServer, CallError};
use crate::jitter;

/// The oldest API server that is supported: native sidecars, validating policies and comparable behaviour of watches.
pub const MINOR_MIN: u32 = 30;

/// How long one question may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Between two questions of which the first was not answered.
const PAUSE: Duration = Duration::from_secs(3);

/// The API server is too old for what we rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the API server is Kubernetes 1.{minor}, and the oldest that is supported is 1.{MINOR_MIN}: upgrade the cluster, or use an older Cloakroom"
)]
pub struct TooOld {
    /// The minor version that it says it has.
    pub minor: u32,
}

impl ApiServer {
    /// The minor version of the server.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn minor_version(&self, within: Duration) -> Result<u32, CallError> {
        #[derive(serde::Deserialize)]
        struct Version {
            minor: String,
        }
        let request = http::Request::get("/version").body(Vec::new()).map_err(|_| CallError::Misbehaved)?;
        let answer = self.call(request, within).await?;
        let version: Version = answer.json()?;
        // Some distributions write `30+`.
        let digits = version.minor.bytes().take_while(u8::is_ascii_digit).count();
        version.minor.get(..digits).and_then(|minor| minor.parse().ok()).ok_or(CallError::Misbehaved)
    }

    /// Asks until there is an answer: a server that cannot be reached now may be any.
    ///
    /// # Errors
    /// [`TooOld`].
    pub async fn is_supported(&self) -> Result<(), TooOld> {
        loop {
            match self.minor_version(WITHIN).await {
                Ok(minor) if minor < MINOR_MIN => return Err(TooOld { minor }),
                Ok(_) => return Ok(()),
                Err(_) => tokio::time::sleep(jitter::around(PAUSE)).await,
            }
        }
    }
}
