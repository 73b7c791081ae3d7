//! The decision about one pod: a pure function of the pod, the review and the operator's settings (N11).

mod arrange;
mod ask;
mod denial;
mod draft;
mod files;
pub mod key;
mod mode;
mod mounts;
mod pod;
mod settled;
mod sidecar;
mod volumes;
mod wish;
mod wrap;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use denial::{Denial, Plain};
pub use draft::Edit;

use crate::profile::Settings;
use pod::Pod;
use wish::Wish;

/// What a review asks, but for the pod: parsed and bounded by the server.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where the pod is made.
    pub namespace: &'a str,
    /// Who makes it.
    pub user: &'a str,
    /// Which entry of the webhook configuration called.
    pub entry: Entry,
    /// What is done to the pod.
    pub operation: Operation,
}

/// An entry of `webhooks[]`.
///
/// The selectors of the API server have decided which one calls, so nothing is looked up. A namespace that is `disabled`
/// has no entry, which is why nothing that a pod says can win against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The namespace is labelled `cloakroom.dev/injection: enabled`.
    Enabled,
    /// The namespace is labelled `cloakroom.dev/injection: required`.
    Required,
    /// The namespace says nothing, and the pod asks.
    Asked,
}

/// What is done to the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
    /// Somebody attaches to it or the like.
    Connect,
}

/// What becomes of the pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It is admitted as it is.
    Untouched(Reason),
    /// It is admitted with these edits, an RFC 6902 patch; there is at least one.
    Patched {
        /// In the order in which they apply.
        patch: Vec<Edit>,
        /// Why it is injected.
        reason: Reason,
    },
    /// It is refused.
    Denied(Denial),
}

/// Why a pod is injected, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The pod asks.
    Pod,
    /// The namespace is enabled, and the pod says nothing.
    Namespace,
    /// The namespace is required.
    Required,
    /// The pod is already what it would become.
    AlreadyInjected,
    /// Neither pod nor namespace asks.
    NotAsked,
    /// The pod says no, and may.
    Declined,
    /// A kubelet shows a static pod, which the API server cannot change.
    Mirror,
    /// The agent does not run on Windows.
    Windows,
    /// Containers and volumes of a pod that exists cannot be changed; a patch would keep it from being deleted.
    NotCreate,
}

impl Reason {
    /// The reason as metrics and logs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Namespace => "namespace",
            Self::Required => "required",
            Self::AlreadyInjected => "already_injected",
            Self::NotAsked => "not_asked",
            Self::Declined => "declined",
            Self::Mirror => "mirror",
            Self::Windows => "windows",
            Self::NotCreate => "not_create",
        }
    }
}

/// Decides about one pod. Never panics, whatever the pod is.
pub fn inject(pod: &Value, request: &Request<'_>, settings: &Settings) -> Decision {
    decide(pod, request, settings).unwrap_or_else(Decision::Denied)
}

fn decide(pod: &Value, request: &Request<'_>, settings: &Settings) -> Result<Decision, Denial> {
    if request.operation != Operation::Create {
        return Ok(Decision::Untouched(Reason::NotCreate));
    }
    let view = Pod::read(pod)?;
    // Everybody may write the annotation; only a kubelet, which the API server has authenticated, is believed.
    if view.is_mirror() && request.user.starts_with("system:node:") {
        return Ok(Decision::Untouched(Reason::Mirror));
    }
    let ask = ask::asked(&view)?;
    let reason = match (request.entry, ask) {
        (Entry::Required, _) => Reason::Required,
        (Entry::Enabled | Entry::Asked, Some(true)) => Reason::Pod,
        (Entry::Enabled | Entry::Asked, Some(false)) => return Ok(Decision::Untouched(Reason::Declined)),
        (Entry::Enabled, None) => Reason::Namespace,
        (Entry::Asked, None) => return Ok(Decision::Untouched(Reason::NotAsked)),
    };
    if view.is_windows() {
        return match ask {
            Some(true) => Err(Denial::Windows),
            _ => Ok(Decision::Untouched(Reason::Windows)),
        };
    }
    let wish = Wish::read(&view, request.namespace, settings)?;
    if let Some(field) = view.shares_processes().filter(|_| !wish.shares_processes) {
        return Err(Denial::SharedProcesses(field));
    }
    let patch = arrange::arrange(pod, &view, &wish, settings)?;
    if patch.is_empty() {
        return Ok(Decision::Untouched(Reason::AlreadyInjected));
    }
    Ok(Decision::Patched { patch, reason })
}
