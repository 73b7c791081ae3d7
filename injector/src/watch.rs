//! Counts pods that asked for the agent, or had to have it, and do not have it.
//!
//! They were made while the webhook was away, or before their namespace was enabled. By metadata alone, and for people:
//! nothing is decided by it.
//!
//! A webhook sees a pod only when it is made. What is found here is mended by making the pod anew, which is its owner's
//! business: `kubectl -n NAMESPACE rollout restart KIND/NAME`.

mod judge;
mod lists;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloakroom_agent::jitter;
use cloakroom_agent::kubernetes::{ApiServer, CallError, Lines};
use tokio_util::sync::CancellationToken;

use judge::{Metadata, Rule, is_missing, rule};
use lists::{Event, NAMESPACES, PODS};

/// Pods that are remembered. Where more are missing the count is too low, and still says what is to be done.
const PODS_MAX: usize = 50_000;

/// Pauses after something broke.
const PAUSE_MIN: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// Pause after we were told that we may not look.
const PAUSE_DENIED: Duration = Duration::from_mins(5);

/// Before everything is listed again because a namespace was enabled: several are often changed together.
const PAUSE_CHANGED: Duration = Duration::from_secs(2);

/// The pods that are missing the agent, by namespace.
#[derive(Default)]
pub struct Tally(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    known: bool,
    /// By uid.
    pods: HashMap<String, String>,
}

impl Tally {
    /// How many there are in each namespace that has any.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let counted = self.lock();
        let mut counts = BTreeMap::new();
        for namespace in counted.pods.values() {
            *counts.entry(namespace.clone()).or_default() += 1;
        }
        counts
    }

    /// Whether anything is known at all.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.lock().known
    }

    fn replace(&self, pods: HashMap<String, String>) {
        *self.lock() = Counted { known: true, pods };
    }

    fn forget(&self) {
        *self.lock() = Counted::default();
    }

    fn set(&self, pod: &Metadata, missing: bool) {
        let mut counted = self.lock();
        if !missing {
            counted.pods.remove(&pod.uid);
        } else if counted.pods.len() < PODS_MAX {
            counted.pods.insert(pod.uid.clone(), pod.namespace.clone());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why everything is listed again.
#[derive(Debug)]
enum End {
    /// A namespace's label has changed.
    Changed,
    /// We may not look.
    Denied,
    /// A watch broke, or its version is too old.
    Broken,
}

impl From<CallError> for End {
    fn from(_: CallError) -> Self {
        Self::Broken
    }
}

/// Keeps `tally` until `stop`. `own` is the injector's namespace, which is never injected.
pub async fn keep(api: ApiServer, tally: Arc<Tally>, own: String, stop: CancellationToken) {
    let mut pause = PAUSE_MIN;
    let mut told = false;
    loop {
        let end = tokio::select! {
            () = stop.cancelled() => return,
            end = follow(&api, &tally, &own, &mut pause) => end,
        };
        let wait = match end {
            End::Changed => PAUSE_CHANGED,
            End::Broken => {
                pause = (pause * 2).min(PAUSE_MAX);
                pause
            }
            End::Denied => {
                tally.forget();
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(
                        "pods without an agent are not counted: the injector's role does not allow to list and watch \
                         pods and namespaces"
                    );
                }
                PAUSE_DENIED
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(jitter::around(wait)) => {}
        }
    }
}

/// Lists everything, and follows it for as long as nothing breaks.
async fn follow(api: &ApiServer, tally: &Tally, own: &str, pause: &mut Duration) -> End {
    match Box::pin(follow_to_its_end(api, tally, own, pause)).await {
        Ok(never) => match never {},
        Err(end) => end,
    }
}

async fn follow_to_its_end(
    api: &ApiServer,
    tally: &Tally,
    own: &str,
    pause: &mut Duration,
) -> Result<std::convert::Infallible, End> {
    let mut rules: HashMap<String, Rule> = HashMap::new();
    let mut namespaces_at = lists::all(api, NAMESPACES, |namespace| {
        if let Some(rule) = rule(&namespace) {
            rules.insert(namespace.name, rule);
        }
    })
    .await?;
    let mut missing = HashMap::new();
    let mut pods_at = lists::all(api, PODS, |pod| {
        if missing.len() < PODS_MAX && is_missing(&pod, rules.get(&pod.namespace).copied(), own) {
            missing.insert(pod.uid, pod.namespace);
        }
    })
    .await?;
    tally.replace(missing);
    let mut namespaces = lists::watch(api, NAMESPACES, &namespaces_at).await?;
    let mut pods = lists::watch(api, PODS, &pods_at).await?;
    *pause = PAUSE_MIN;
    loop {
        tokio::select! {
            event = next(&mut namespaces) => match event? {
                Some(Event { metadata, gone }) => {
                    let now = if gone { None } else { rule(&metadata) };
                    if !metadata.name.is_empty() && now != rules.get(&metadata.name).copied() {
                        return Err(End::Changed);
                    }
                    namespaces_at = metadata.resource_version;
                }
                None => namespaces = lists::watch(api, NAMESPACES, &namespaces_at).await?,
            },
            event = next(&mut pods) => match event? {
                Some(Event { metadata, gone }) => {
                    if !metadata.uid.is_empty() {
                        let rule = rules.get(&metadata.namespace).copied();
                        tally.set(&metadata, !gone && is_missing(&metadata, rule, own));
                    }
                    pods_at = metadata.resource_version;
                }
                None => pods = lists::watch(api, PODS, &pods_at).await?,
            },
        }
    }
}

/// The next event; none where the watch has ended as asked.
async fn next(lines: &mut Lines) -> Result<Option<Event>, End> {
    match lines.next().await? {
        Some(line) => Event::parse(&line).map(Some).ok_or(End::Broken),
        None => Ok(None),
    }
}
