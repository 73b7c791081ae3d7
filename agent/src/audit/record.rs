//! What one record says, in closed sets of words.

use std::time::Duration;

use super::AuditFingerprint;
use crate::access::{AccessError, Subject};
use crate::id::{Location, Scope};
use crate::peer::Peer;
use crate::request_id::RequestId;

/// One record, borrowed from the request it is about.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// Joins the two records of a pair.
    pub request: RequestId,
    /// Where in the pair this one stands.
    pub phase: Phase,
    /// What was asked.
    pub operation: Operation,
    /// Who asked.
    pub caller: &'a AuditCaller,
    /// The secrets it is about, written without checksum.
    pub secrets: &'a [&'a Location],
    /// The scope, of an operation on a scope; the key is absent otherwise.
    pub scope: Option<&'a Scope>,
    /// Allowed or not.
    pub decision: AuditDecision,
    /// Why.
    pub reason: Reason,
    /// What came of it; none in an attempt.
    pub result: Option<AuditResult>,
    /// Where the value came from.
    pub source: Option<AuditSource>,
    /// Which value it was.
    pub fingerprint: Option<AuditFingerprint>,
    /// From the request's head to this record.
    pub duration: Option<Duration>,
}

/// Who asks, as every record of a connection says it; formatted once.
pub struct AuditCaller {
    pub(super) json: Box<[u8]>,
}

impl AuditCaller {
    /// `subject` is none where the identity is not known; `pod` is the pod's name, from the API server; `peer` is the
    /// process at the socket's other end.
    #[must_use]
    pub fn new(subject: Option<&Subject>, pod: Option<&str>, peer: Peer) -> Self {
        Self { json: super::line::caller(subject.map(Subject::as_str), pod, peer).into() }
    }
}

/// Declares a closed set with its written names, under its key in a record.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident in $key:literal { $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// All of them, in the order of the documents.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            /// The written name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The member of a record: `"key":"name"`.
            pub(super) fn member(self) -> &'static [u8] {
                match self { $(Self::$variant => concat!("\"", $key, "\":\"", $text, "\"").as_bytes(),)+ }
            }
        }
    };
}

words! {
    /// Which record of a pair.
    Phase in "phase" {
        /// Before the effect.
        Attempt = "attempt",
        /// After it, before the answer.
        Outcome = "outcome",
        /// A read answered from memory, or a denial: one record, no pair.
        Served = "served",
    }
}

words! {
    /// What was asked.
    Operation in "operation" {
        /// One secret was read.
        Get = "get",
        /// Several were read.
        Batch = "batch",
        /// A secret was written.
        Put = "put",
        /// A new value was generated.
        Rotate = "rotate",
        /// A secret was deleted.
        Delete = "delete",
        /// A scope was created or updated.
        Onboard = "onboard",
        /// A scope was deleted.
        Offboard = "offboard",
        /// Placeholders in a document were replaced.
        Resolve = "resolve",
        /// Strings of a document were stored.
        Obfuscate = "obfuscate",
        /// Changes were followed.
        Watch = "watch",
        /// A file was rendered.
        Render = "render",
    }
}

words! {
    /// What authorisation said.
    AuditDecision in "decision" {
        /// A permit was given.
        Allow = "allow",
        /// None was.
        Deny = "deny",
    }
}

words! {
    /// Why a record's decision, and its result, are what they are.
    Reason in "reason" {
        /// A grant covers it.
        Granted = "granted",
        /// No grant covers it.
        NotGranted = "not_granted",
        /// The caller is not who it claims to be, or has no identity.
        NotAuthenticated = "not_authenticated",
        /// The permission provider could not be asked.
        PermissionsUnavailable = "permissions_unavailable",
        /// The slot is not in the catalogue of its scope.
        SlotNotAllowed = "slot_not_allowed",
        /// The caller asked too often.
        RateLimited = "rate_limited",
    }
}

words! {
    /// What came of it.
    AuditResult in "result" {
        /// Done.
        Ok = "ok",
        /// There is no such secret or scope.
        NotFound = "not_found",
        /// Someone else's write stands in the way.
        Conflict = "conflict",
        /// We or the backend refused.
        Refused = "refused",
        /// It could not be done now.
        Unavailable = "unavailable",
        /// Nobody knows.
        Unknown = "unknown",
    }
}

words! {
    /// Where a value came from, in the order of what it cost.
    AuditSource in "source" {
        /// Memory.
        Cache = "cache",
        /// The backend.
        Backend = "backend",
        /// Memory, past its time, because the backend does not answer.
        Stale = "stale",
    }
}

impl From<AccessError> for Reason {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Denied => Self::NotGranted,
            AccessError::NotAuthenticated => Self::NotAuthenticated,
            AccessError::Unavailable => Self::PermissionsUnavailable,
        }
    }
}
