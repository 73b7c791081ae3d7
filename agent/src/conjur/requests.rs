//! The requests that we make of Conjur, and what the statuses of their answers mean.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use super::call::{ConjurError, Outgoing};
use super::metadata::Metadata;
use super::policy::PolicyLoad;
use super::{Conjur, Side, batch, list};

/// Everything but what RFC 3986 §2.3 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The longest answer about one resource: a variable of our layout takes less than 2 KiB.
const METADATA_BYTES_MAX: usize = 1 << 20;

/// The longest answer to a batch. Longer values are read one by one.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Resources in one answer, which is Conjur's own bound; pages; and the longest answer, with policies in it.
const PAGE: usize = 1000;
const PAGES_MAX: usize = 20;
const LIST_BYTES_MAX: usize = 8 << 20;

/// Percent-encodes one segment of a path or one value of a query.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// What became of a value that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOutcome {
    /// It is the latest version, or equal to it.
    Stored,
    /// There is no such variable that we see.
    Missing,
    /// Conjur does not take the value.
    Refused,
}

/// What became of a policy that was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It holds.
    Done,
    /// Somebody else loads into the same branch.
    Conflict(Duration),
    /// There is no such branch that we see.
    BranchMissing,
    /// It names something that does not exist.
    Refused,
}

impl Conjur {
    fn secret(&self, id: &str) -> String {
        format!("/secrets/{}/variable/{}", encode(self.account()), encode(id))
    }

    /// A value, or one of its versions; none where there is none, or none that we see.
    ///
    /// # Errors
    /// [`ConjurError`].
    pub async fn value(
        &self,
        side: Side,
        id: &str,
        version: Option<u64>,
        limit: usize,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, ConjurError> {
        let query = version.map(|version| format!("?version={version}")).unwrap_or_default();
        let target = format!("{}{query}", self.secret(id));
        let answer = self.call(Outgoing::get(side, target, limit), self.inner.settings.call).await?;
        match answer.status {
            // The type is the variable's own, if a policy gave it one. A page is no secret.
            StatusCode::OK if answer.media_type() != "text/html" && answer.encoding().is_empty() => {
                Ok(Some(answer.body))
            }
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(ConjurError::Misbehaved),
        }
    }

    /// Several values, all or none of them: `None` where they cannot be had together, for whatever reason one of them
    /// has. `ids` and `query` are one chunk of [`batch::chunks`].
    ///
    /// # Errors
    /// [`ConjurError`].
    pub async fn values(
        &self,
        side: Side,
        ids: &[&str],
        query: &str,
    ) -> Result<Option<Vec<Zeroizing<Vec<u8>>>>, ConjurError> {
        let outgoing = Outgoing { base64: true, ..Outgoing::get(side, format!("/secrets?{query}"), BATCH_BYTES_MAX) };
        let answer = match self.call(outgoing, self.inner.settings.call).await {
            Err(ConjurError::Denied | ConjurError::TooLarge) => return Ok(None),
            answer => answer?,
        };
        match answer.status {
            StatusCode::OK if answer.encoding() == "base64" && answer.media_type() == "application/json" => {
                batch::parse(self.account(), ids, &answer.body).map(Some)
            }
            StatusCode::NOT_FOUND
            | StatusCode::NOT_ACCEPTABLE
            | StatusCode::URI_TOO_LONG
            | StatusCode::BAD_REQUEST
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY => Ok(None),
            _ => Err(ConjurError::Misbehaved),
        }
    }

    /// Stores a value.
    ///
    /// # Errors
    /// [`ConjurError`]; see [`ConjurError::may_have_arrived`].
    pub async fn set(&self, id: &str, value: Bytes, within: Duration) -> Result<SetOutcome, ConjurError> {
        let outgoing = Outgoing::send(Method::POST, self.secret(id), value, "application/octet-stream");
        match self.call(outgoing, within).await?.status {
            StatusCode::CREATED => Ok(SetOutcome::Stored),
            StatusCode::NOT_FOUND => Ok(SetOutcome::Missing),
            StatusCode::UNPROCESSABLE_ENTITY => Ok(SetOutcome::Refused),
            StatusCode::METHOD_NOT_ALLOWED => {
                tracing::warn!(
                    "backend.conjur.url is a replica, which takes no writes; set it to the leader's address"
                );
                Err(ConjurError::Unexpected)
            }
            status if status.is_client_error() => Err(ConjurError::Unexpected),
            _ => Err(ConjurError::Misbehaved),
        }
    }

    /// What Conjur tells of a variable; none where there is none that we see.
    ///
    /// # Errors
    /// [`ConjurError`].
    pub async fn metadata(&self, side: Side, id: &str) -> Result<Option<Metadata>, ConjurError> {
        let target = format!("/resources/{}/variable/{}", encode(self.account()), encode(id));
        let outgoing = Outgoing::get(side, target, METADATA_BYTES_MAX);
        let answer = self.call(outgoing, self.inner.settings.call).await?;
        match answer.status {
            StatusCode::OK => Metadata::parse(answer.json_text()?).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(ConjurError::Misbehaved),
        }
    }

    /// The name of the role that we are: `host/…`, or a user's name.
    ///
    /// # Errors
    /// [`ConjurError`].
    pub async fn whoami(&self, side: Side) -> Result<String, ConjurError> {
        #[derive(serde::Deserialize)]
        struct Whoami {
            username: String,
        }
        let outgoing = Outgoing::get(side, "/whoami".to_owned(), METADATA_BYTES_MAX);
        let answer = self.call(outgoing, self.inner.settings.call).await?;
        match answer.status {
            StatusCode::OK => answer.json::<Whoami>().map(|whoami| whoami.username),
            _ => Err(ConjurError::Misbehaved),
        }
    }

    /// The names of everything that we see inside a branch, without the branch.
    ///
    /// # Errors
    /// [`ConjurError`].
    pub async fn names_inside(&self, branch: &str) -> Result<Vec<String>, ConjurError> {
        let mut names = Vec::new();
        for page in 0..PAGES_MAX {
            let query = format!("search={}&limit={PAGE}&offset={}", encode(branch), page * PAGE);
            let target = format!("/resources/{}?{query}", encode(self.account()));
            let outgoing = Outgoing::get(Side::Leader, target, LIST_BYTES_MAX);
            let answer = self.call(outgoing, self.inner.settings.call).await?;
            if answer.status != StatusCode::OK {
                return Err(ConjurError::Misbehaved);
            }
            let page = list::parse(branch, answer.json_text()?)?;
            names.extend(page.names);
            if page.found < PAGE {
                return Ok(names);
            }
        }
        Err(ConjurError::TooLarge)
    }

    /// Whether we own a branch: an owner holds every privilege on what it owns, also one that nobody grants.
    ///
    /// # Errors
    /// [`ConjurError`].
    pub async fn owns(&self, branch: &str) -> Result<bool, ConjurError> {
        let query = "check=true&privilege=cloakroom-owns";
        let target = format!("/resources/{}/policy/{}?{query}", encode(self.account()), encode(branch));
        let outgoing = Outgoing::get(Side::Leader, target, METADATA_BYTES_MAX);
        match self.call(outgoing, self.inner.settings.call).await?.status {
            StatusCode::NO_CONTENT => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_client_error() => Err(ConjurError::Unexpected),
            _ => Err(ConjurError::Misbehaved),
        }
    }

    /// Loads a policy: adds to a branch, or also changes and removes what is in it.
    ///
    /// # Errors
    /// [`ConjurError`]; see [`ConjurError::may_have_arrived`].
    pub async fn load(&self, load: &PolicyLoad, removes: bool) -> Result<Loaded, ConjurError> {
        let method = if removes { Method::PATCH } else { Method::POST };
        let target = format!("/policies/{}/policy/{}", encode(self.account()), encode(&load.branch));
        let outgoing = Outgoing::send(method, target, Bytes::from(load.body.clone()), "application/x-yaml");
        let answer = self.call_load(outgoing).await?;
        match answer.status {
            // A 200 is what a page in front of Conjur has.
            StatusCode::CREATED => Ok(Loaded::Done),
            StatusCode::CONFLICT => Ok(Loaded::Conflict(answer.retry_after.unwrap_or(Duration::from_secs(1)))),
            StatusCode::NOT_FOUND => Ok(Loaded::BranchMissing),
            StatusCode::UNPROCESSABLE_ENTITY => Ok(Loaded::Refused),
            status if status.is_client_error() => Err(ConjurError::Unexpected),
            _ => Err(ConjurError::Misbehaved),
        }
    }
}
