//! Writes: read, plan, and store under the version that was read, again and again until it holds or the time is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::object::Object;
use super::objects::{InUse, News};
use super::place::Place;
use super::requests::{self, Outcome};
use super::version::Version;
use super::{Shared, reads};
use crate::backend::plan::{self, Plan};
use crate::backend::{BackendError, Freshness, Guard, Put, Written};
use crate::id::{Checksum, Location, Scope, SubKey};
use crate::jitter;
use crate::secret::SecretValue;
use crate::slots::{OnboardRequest, OnboardedItem};

/// What the API server takes (`MaxSecretSize` in its sources): decoded bytes of all slots together.
const OBJECT_BYTES_MAX: usize = 1 << 20;

/// How long to wait before a write that nobody has stored, as far as is known, is sent again; doubled each time.
const AGAIN: Duration = Duration::from_millis(100);

/// With less time left than this nothing is sent any more: an answer that is not waited for leaves a write of which
/// nobody knows whether it happened.
const LEAST: Duration = Duration::from_millis(700);

/// What a write is.
struct Change<'a> {
    scope: &'a Scope,
    /// Makes the object where it is missing, and puts on it what we put on ours.
    onboards: bool,
    /// Whether doing it twice is doing it once.
    repeatable: bool,
    /// Works out what is to change.
    work: &'a (dyn Fn(Option<&Object>) -> Result<Plan, BackendError> + Sync),
}

pub(super) async fn put(shared: &Arc<Shared>, location: &Location, put: &Put) -> Result<Written, BackendError> {
    let work = |object: Option<&Object>| {
        let object = object.ok_or(BackendError::ScopeMissing)?;
        let fingerprinter = object.fingerprinter(shared.settings.keyed);
        plan::put(shared.rules(), &fingerprinter, location, put, &|slot| object.slot(slot))
    };
    let repeatable = put.guard == Guard::None && put.keep_previous.is_none();
    let change = Change { scope: &location.scope(), onboards: false, repeatable, work: &work };
    let (object, plan) = store(shared, &change).await?;
    let fingerprinter = object.fingerprinter(shared.settings.keyed);
    let mut named = plan.named.iter().map(|(location, value)| fingerprinter.checksum(location, value));
    Ok(Written { checksum: named.next().ok_or(BackendError::Misbehaved)?, previous: named.next() })
}

pub(super) async fn put_entries(
    shared: &Arc<Shared>,
    location: &Location,
    entries: &[(SubKey, SecretValue)],
) -> Result<Vec<Checksum>, BackendError> {
    let work = |object: Option<&Object>| {
        let object = object.ok_or(BackendError::ScopeMissing)?;
        plan::put_entries(shared.rules(), location, entries, &|slot| object.slot(slot))
    };
    let change = Change { scope: &location.scope(), onboards: false, repeatable: true, work: &work };
    let (object, plan) = store(shared, &change).await?;
    let fingerprinter = object.fingerprinter(shared.settings.keyed);
    Ok(plan.named.iter().map(|(location, value)| fingerprinter.checksum(location, value)).collect())
}

pub(super) async fn delete(shared: &Arc<Shared>, location: &Location, guard: &Guard) -> Result<(), BackendError> {
    let work = |object: Option<&Object>| {
        let object = object.ok_or(BackendError::ScopeMissing)?;
        let fingerprinter = object.fingerprinter(shared.settings.keyed);
        plan::delete(shared.rules(), &fingerprinter, location, guard, &|slot| object.slot(slot))
    };
    let change = Change { scope: &location.scope(), onboards: false, repeatable: false, work: &work };
    store(shared, &change).await.map(drop)
}

pub(super) async fn onboard(
    shared: &Arc<Shared>,
    scope: &Scope,
    request: &OnboardRequest,
) -> Result<Vec<OnboardedItem>, BackendError> {
    let work = |object: Option<&Object>| {
        plan::onboard(shared.rules(), scope, request, &|slot| object.map_or(Ok(None), |object| object.slot(slot)))
    };
    let (object, plan) = store(shared, &Change { scope, onboards: true, repeatable: true, work: &work }).await?;
    Ok(OnboardedItem::list(&plan.named, &object.fingerprinter(shared.settings.keyed)))
}

/// How far a write has come.
struct Attempt<'a> {
    shared: &'a Arc<Shared>,
    object: Arc<InUse>,
    deadline: Instant,
    /// How often somebody else was faster.
    lost: u32,
    /// How often the API server has failed.
    failures: u32,
    /// The plan of which nobody knows whether it is stored, and the version that it was worked out from.
    unsure: Option<(Plan, Version)>,
}

impl<'a> Attempt<'a> {
    fn new(shared: &'a Arc<Shared>, place: &Place) -> Self {
        let object = shared.objects.at(place, shared.clock.now());
        Self { shared, object, deadline: Instant::now() + shared.settings.write, lost: 0, failures: 0, unsure: None }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// An error of a step that changed nothing, as an error of the whole.
    fn failed(&self, error: BackendError) -> BackendError {
        if self.unsure.is_some() { BackendError::OutcomeUnknown } else { error }
    }

    /// Why there is no time left.
    fn too_late(&self) -> BackendError {
        // It may have gone to others who were faster, and not to a server that does not answer.
        match self.lost {
            0 => BackendError::Unavailable { retry_after: Duration::from_secs(1) },
            _ => BackendError::Contention,
        }
    }

    /// The object as it is now.
    async fn look(&self) -> Result<Option<Arc<Object>>, BackendError> {
        let get = reads::get(self.shared, &self.object.place, Freshness::Latest);
        let found = tokio::time::timeout_at(self.deadline, get).await;
        let found = found.unwrap_or_else(|_elapsed| Err(self.too_late())).map_err(|error| self.failed(error))?;
        Ok(found.object.filter(|object| !object.is_gone(&self.shared.settings.finalizer)))
    }

    /// Waits; `error` where there is no time for it.
    async fn pause(&self, time: Duration, error: BackendError) -> Result<(), BackendError> {
        if time >= self.left() {
            return Err(self.failed(error));
        }
        tokio::time::sleep(time).await;
        Ok(())
    }

    /// Somebody else was faster.
    async fn give_way(&mut self) -> Result<(), BackendError> {
        let window = self.object.writing().pace.conflict();
        self.lost += 1;
        self.pause(jitter::up_to(window / self.lost.min(12)), BackendError::Contention).await
    }

    /// The API server failed.
    async fn rest(&mut self, error: BackendError) -> Result<(), BackendError> {
        let time = jitter::around(AGAIN * 2_u32.saturating_pow(self.failures.min(6)));
        self.failures += 1;
        self.pause(time, error).await
    }

    /// What is stored now, where an answer did not show it.
    async fn stored(&self, object: Option<Object>) -> Result<Arc<Object>, BackendError> {
        self.object.writing().pace.success();
        let Some(object) = object.map(Arc::new) else {
            return self.look().await?.ok_or(BackendError::OutcomeUnknown);
        };
        self.object.learn(&self.shared.objects, News::Is(Arc::clone(&object)), self.shared.clock.now());
        Ok(object)
    }
}

/// Reads, plans and stores until it holds.
async fn store(shared: &Arc<Shared>, change: &Change<'_>) -> Result<(Arc<Object>, Plan), BackendError> {
    let place = Place::of(change.scope);
    let mut attempt = Attempt::new(shared, &place);
    let in_use = Arc::clone(&attempt.object);
    let turn = tokio::time::timeout_at(attempt.deadline, in_use.writing().turn.lock()).await;
    let _turn = turn.map_err(|_elapsed| BackendError::Contention)?;
    let mut parents_made = false;
    attempt.pause(jitter::up_to(in_use.writing().pace.window()), BackendError::Contention).await?;
    loop {
        let base = attempt.look().await?;
        if let Some((plan, version)) = attempt.unsure.take() {
            match &base {
                Some(object) if object.is_as(&plan) => return Ok((Arc::clone(object), plan)),
                // Still what it was worked out from: it may only come now, and then one of the two is refused.
                Some(object) if object.version == version => attempt.unsure = Some((plan, version)),
                None if version.is_none() => attempt.unsure = Some((plan, version)),
                _ if change.repeatable => {}
                _ => return Err(BackendError::OutcomeUnknown),
            }
        }
        let plan = (change.work)(base.as_deref()).map_err(|error| attempt.failed(error))?;
        if attempt.left() < LEAST {
            return Err(attempt.failed(attempt.too_late()));
        }
        let outcome = match &base {
            Some(base) => {
                let repair = change.onboards && needs_repair(shared, change.scope, base);
                if plan.changes.is_empty() && !repair {
                    return Ok((Arc::clone(base), plan));
                }
                may_take(base, &plan).map_err(|error| attempt.failed(error))?;
                requests::patch(shared, &place, base, &plan, change.onboards, attempt.left()).await
            }
            None => {
                if !std::mem::replace(&mut parents_made, true) {
                    make_parents(shared, change.scope, attempt.left()).await;
                }
                create(shared, &place, &plan, attempt.left()).await
            }
        };
        match outcome.map_err(|error| attempt.failed(error))? {
            Outcome::Done(object) => return Ok((attempt.stored(object).await?, plan)),
            // Missing: deleted meanwhile; whoever onboards makes it anew.
            Outcome::Conflict | Outcome::Missing => attempt.give_way().await?,
            outcome @ (Outcome::Failed | Outcome::Unknown) => {
                let version = base.map(|base| base.version.clone()).unwrap_or_default();
                let answered = matches!(outcome, Outcome::Failed);
                attempt.unsure = (!answered || !change.repeatable).then_some((plan, version));
                attempt.rest(BackendError::Unavailable { retry_after: Duration::from_secs(1) }).await?;
            }
        }
    }
}

/// Whether the object may be changed so at all.
fn may_take(base: &Object, plan: &Plan) -> Result<(), BackendError> {
    if base.terminating {
        return Err(BackendError::Terminating { retry_after: Duration::from_secs(5) });
    }
    if base.immutable {
        return Err(BackendError::Immutable);
    }
    let replaced = |name: &str| plan.changes.iter().any(|(slot, _)| slot.as_str() == name);
    if base.data_bytes(&replaced) + bytes_of(plan) > OBJECT_BYTES_MAX { Err(BackendError::TooLarge) } else { Ok(()) }
}

fn bytes_of(plan: &Plan) -> usize {
    plan.changes.iter().filter_map(|(_, value)| value.as_ref()).map(SecretValue::len).sum()
}

/// Whether the object lacks something that ours have.
fn needs_repair(shared: &Shared, scope: &Scope, object: &Object) -> bool {
    let labels = shared.settings.labels(scope);
    !object.holds(&shared.settings.finalizer) || labels.iter().any(|(name, _)| !object.has_label(name))
}

async fn create(shared: &Shared, place: &Place, plan: &Plan, within: Duration) -> Result<Outcome, BackendError> {
    if bytes_of(plan) > OBJECT_BYTES_MAX {
        return Err(BackendError::TooLarge);
    }
    match requests::create(shared, place, plan, within).await {
        Err(BackendError::NamespaceMissing) if shared.settings.create_namespaces => {
            requests::create_namespace(shared, &place.namespace(), within).await?;
            requests::create(shared, place, plan, within).await
        }
        outcome => outcome,
    }
}

/// Scopes above a new one exist as empty ones. As far as we may make them: the new scope does not need them.
async fn make_parents(shared: &Shared, scope: &Scope, within: Duration) {
    for parent in scope.lineage().iter().filter(|parent| *parent != scope) {
        if let Err(error) = create(shared, &Place::of(parent), &Plan::default(), within).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "a parent scope was not made");
        }
    }
}

/// Takes the finalizer off, then deletes exactly what is left. Whoever stops between the two leaves a scope that is
/// whole but for the finalizer, and the next deletion goes on from there.
pub(super) async fn offboard(shared: &Arc<Shared>, scope: &Scope) -> Result<(), BackendError> {
    let place = Place::of(scope);
    let mut attempt = Attempt::new(shared, &place);
    let in_use = Arc::clone(&attempt.object);
    let turn = tokio::time::timeout_at(attempt.deadline, in_use.writing().turn.lock()).await;
    let _turn = turn.map_err(|_elapsed| BackendError::Contention)?;
    let settings = &shared.settings;
    let mut sent = false;
    loop {
        let Some(base) = attempt.look().await? else {
            // What we have sent has worked, or somebody else's deletion has.
            return if sent { Ok(()) } else { Err(BackendError::ScopeMissing) };
        };
        let held = !settings.finalizer.is_empty() && base.holds(&settings.finalizer);
        let outcome = if held {
            requests::release(shared, &place, &base, attempt.left()).await
        } else {
            requests::delete(shared, &place, &base.uid, &base.version, attempt.left()).await
        };
        match outcome.map_err(|error| attempt.failed(error))? {
            Outcome::Done(_) if held => sent = sent || base.terminating,
            Outcome::Done(_) => {
                let news = News::Gone { version: base.version.clone(), uid: Some(base.uid.clone()) };
                in_use.learn(&shared.objects, news, shared.clock.now());
                return Ok(());
            }
            Outcome::Conflict => attempt.give_way().await?,
            Outcome::Missing => {
                sent = true;
                attempt.give_way().await?;
            }
            Outcome::Failed | Outcome::Unknown => {
                sent = true;
                attempt.unsure = Some((Plan::default(), Version::default()));
                attempt.rest(BackendError::OutcomeUnknown).await?;
            }
        }
    }
}
