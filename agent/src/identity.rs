//! Who is at the other end of a connection: a fact from the kernel or the API server, never configuration text (N13).

pub mod pod;

use std::sync::{Arc, Mutex, PoisonError};

use crate::access::{AccessError, Subject};
use crate::audit::AuditCaller;
use crate::peer::Peer;
use pod::PodIdentity;

/// Who asks, as permissions are decided for it and as the record says it.
pub struct Caller {
    subject: Result<Subject, AccessError>,
    /// The pod's name.
    pub pod: Option<Box<str>>,
    /// Subject, pod and socket peer, for the record.
    pub audit: AuditCaller,
}

impl Caller {
    /// `subject` at the other end of a connection, in `pod`, as process `peer`.
    #[must_use]
    pub fn new(subject: Result<Subject, AccessError>, pod: Option<&str>, peer: Peer) -> Self {
        Self { audit: AuditCaller::new(subject.as_ref().ok(), pod, peer), subject, pod: pod.map(Into::into) }
    }

    /// The subject, or why there is none.
    ///
    /// # Errors
    /// [`AccessError`]: nothing can be allowed to this caller.
    pub fn subject(&self) -> Result<&Subject, AccessError> {
        self.subject.as_ref().map_err(|error| *error)
    }
}

/// How callers are told apart.
pub enum Identity {
    /// By the uid of the socket's peer; only these may connect.
    Uid(Vec<u32>),
    /// All are the pod that the agent runs in; only these uids may connect, or every one if there are none.
    Pod(Arc<PodIdentity>, Vec<u32>),
}

/// One connection, and who it was when it was last asked.
pub struct Connected {
    peer: Peer,
    last: Mutex<(u64, Arc<Caller>)>,
}

impl Identity {
    /// A connection of `peer`, if it may connect at all.
    #[must_use]
    pub fn admit(&self, peer: Peer) -> Option<Connected> {
        let admitted = match self {
            Self::Uid(allowed) => allowed.contains(&peer.uid) && Subject::from_uid(peer.uid).is_some(),
            Self::Pod(_, allowed) => allowed.is_empty() || allowed.contains(&peer.uid),
        };
        admitted.then(|| {
            let generation = self.generation();
            Connected { peer, last: Mutex::new((generation, Arc::new(self.identify(peer)))) }
        })
    }

    /// Who is on the connection now.
    #[must_use]
    pub fn caller(&self, connected: &Connected) -> Arc<Caller> {
        let generation = self.generation();
        // One assignment under the lock: nobody can have left it half-done.
        let mut last = connected.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != generation {
            *last = (generation, Arc::new(self.identify(connected.peer)));
        }
        Arc::clone(&last.1)
    }

    /// Something that an operator must know, for `/status`.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        match self {
            Self::Uid(_) => None,
            Self::Pod(pod, _) => pod.warning(),
        }
    }

    fn generation(&self) -> u64 {
        match self {
            Self::Uid(_) => 0,
            Self::Pod(pod, _) => pod.generation(),
        }
    }

    fn identify(&self, peer: Peer) -> Caller {
        match self {
            Self::Uid(_) => Caller::new(Subject::from_uid(peer.uid).ok_or(AccessError::NotAuthenticated), None, peer),
            Self::Pod(pod, _) => {
                let (subject, name) = pod.now();
                Caller::new(subject, name.as_deref(), peer)
            }
        }
    }
}
