//! One schedule's world: a store that counts its versions, calls that are held, clients that remember what they know.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cloakroom_agent::access::{
    Access, AccessError, Action, Decision, OnboardPermit, PermissionProvider, ReadPermit, Subject, Target, WritePermit,
};
use cloakroom_agent::backend::{Backend, BackendError, BackendKind, Entries, Fetched, Freshness, Guard, Put, Written};
use cloakroom_agent::cache::{Cache, CacheMetrics, CacheSettings, Served, Source};
use cloakroom_agent::clock::Clock;
use cloakroom_agent::id::{Checksum, Location, Scope, SecretId, Slot, SubKey};
use cloakroom_agent::secret::SecretValue;
use cloakroom_agent::slots::{Catalogue, OnboardRequest, OnboardedItem, Strategy};
use tokio::sync::oneshot;

use super::executor::Executor;
use super::scenario::{Op, Scenario};

const TTL: Duration = Duration::from_secs(10);
const STALE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_secs(6);

/// One step of a schedule.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Polls a task.
    Poll(usize),
    /// A held call reads or writes the store.
    Effect(usize),
    /// A call whose effect is done answers.
    Answer(usize),
    /// A held call fails and has no effect.
    Fail(usize),
    /// A call that wrote answers that nobody knows.
    Lose(usize),
    /// Time moves.
    Tick,
    /// A client goes away.
    Leave(usize),
}

/// For each read, the version and whether there was a value.
type Seen = Result<Vec<(u64, bool)>, BackendError>;

/// What a call wants of the store.
enum Wish {
    Read(Vec<String>),
    Write { slots: Vec<String>, present: bool },
}

enum Progress {
    Held,
    /// For each read, the version and whether there was a value.
    Done(Vec<(u64, bool)>),
    Over,
}

struct Call {
    wish: Wish,
    progress: Progress,
    answer: Option<oneshot::Sender<Seen>>,
}

/// The versions of each slot that were a deletion, and the newest.
#[derive(Default)]
struct SlotHistory {
    version: u64,
    present: bool,
    absences: Vec<u64>,
    /// The newest version whose write was acknowledged.
    floor: u64,
}

#[derive(Default)]
struct Store {
    versions: u64,
    slots: BTreeMap<String, SlotHistory>,
    calls: Vec<Call>,
    /// What the last write reached, and its version; valid within the poll in which it returned.
    returned: (Vec<String>, u64),
    broken: Option<String>,
}

pub(super) struct World {
    executor: Executor,
    store: Arc<Mutex<Store>>,
    clock: Clock,
    clients: Vec<Vec<Op>>,
    failures: usize,
    ticks: usize,
    leavers: usize,
}

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut executor = Executor::default();
        let store = Arc::new(Mutex::new(Store::default()));
        for slot in ["externalSecrets", "clientSecret", "rotatedClientSecret"] {
            let history = SlotHistory { version: 1, present: true, ..SlotHistory::default() };
            store.lock().unwrap().slots.insert(format!("e:t:a:{slot}"), history);
        }
        store.lock().unwrap().versions = 1;
        let clock = Clock::manual();
        let settings = CacheSettings {
            max_bytes: 1 << 20,
            max_entries: 1000,
            ttl: TTL,
            negative_ttl: Duration::from_secs(1),
            stale_if_error: if scenario.stale_if_error { STALE } else { Duration::ZERO },
            refresh_ahead: 0.5,
        };
        let backend = Arc::new(Held { store: Arc::clone(&store) });
        let cache = Cache::new(settings, clock.clone(), backend, executor.spawner(), CacheMetrics::default());
        for ops in scenario.clients.clone() {
            let client =
                Client { cache: cache.clone(), store: Arc::clone(&store), access: Access::new(Arc::new(Allowed)) };
            executor.add(Box::pin(async move {
                for op in ops {
                    client.act(op).await;
                }
            }));
        }
        Self {
            executor,
            store,
            clock,
            clients: scenario.clients.clone(),
            failures: scenario.failures,
            ticks: scenario.ticks,
            leavers: scenario.leavers,
        }
    }

    /// Everything that could happen next. Empty when all is over, or when nothing can ever happen again.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = self.executor.runnable().into_iter().map(Step::Poll).collect();
        for (index, call) in self.store.lock().unwrap().calls.iter().enumerate() {
            match call.progress {
                Progress::Held => {
                    steps.push(Step::Effect(index));
                    if self.failures > 0 {
                        steps.push(Step::Fail(index));
                    }
                }
                Progress::Done(_) => {
                    steps.push(Step::Answer(index));
                    if self.failures > 0 && matches!(call.wish, Wish::Write { .. }) {
                        steps.push(Step::Lose(index));
                    }
                }
                Progress::Over => {}
            }
        }
        if steps.is_empty() && !self.executor.any_lives() {
            return steps;
        }
        if self.ticks > 0 {
            steps.push(Step::Tick);
        }
        let only_reads = |ops: &Vec<Op>| {
            ops.iter().all(|op| matches!(op, Op::Get | Op::GetDoubting | Op::GetBoth | Op::GetPrevious))
        };
        for (index, ops) in self.clients.iter().enumerate() {
            if self.leavers > 0 && only_reads(ops) && self.executor.lives(index) {
                steps.push(Step::Leave(index));
            }
        }
        steps
    }

    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Poll(task) => self.executor.poll(task),
            Step::Effect(call) => self.store.lock().unwrap().effect(call),
            Step::Answer(call) => self.store.lock().unwrap().answer(call, None),
            Step::Fail(call) => {
                self.failures -= 1;
                let unavailable = BackendError::Unavailable { retry_after: Duration::from_secs(1) };
                self.store.lock().unwrap().answer(call, Some(unavailable));
            }
            Step::Lose(call) => {
                self.failures -= 1;
                self.store.lock().unwrap().answer(call, Some(BackendError::OutcomeUnknown));
            }
            Step::Tick => {
                self.ticks -= 1;
                self.clock.advance(TICK);
            }
            Step::Leave(client) => {
                self.leavers -= 1;
                self.executor.drop_task(client);
            }
        }
    }

    pub(super) fn broken(&self) -> Option<String> {
        self.store.lock().unwrap().broken.clone()
    }

    /// At the end, somebody who still waits waits for ever.
    pub(super) fn unfinished(&self) -> Option<&'static str> {
        self.executor.any_lives().then_some("a task waits for what will never come")
    }
}

impl Store {
    fn effect(&mut self, call: usize) {
        let seen = match &self.calls[call].wish {
            Wish::Read(slots) => {
                slots.iter().map(|slot| self.slots.get(slot).map_or((0, false), |s| (s.version, s.present))).collect()
            }
            Wish::Write { slots, present } => {
                self.versions += 1;
                for slot in slots {
                    let history = self.slots.entry(slot.clone()).or_default();
                    history.version = self.versions;
                    history.present = *present;
                    if !present {
                        history.absences.push(self.versions);
                    }
                }
                vec![(self.versions, *present)]
            }
        };
        self.calls[call].progress = Progress::Done(seen);
    }

    fn answer(&mut self, call: usize, error: Option<BackendError>) {
        let call = &mut self.calls[call];
        let progress = std::mem::replace(&mut call.progress, Progress::Over);
        let answer = match (error, progress) {
            (Some(error), _) => Err(error),
            (None, Progress::Done(seen)) => Ok(seen),
            (None, Progress::Held | Progress::Over) => unreachable!("only a call whose effect is done answers"),
        };
        if let Some(sender) = call.answer.take() {
            // Whoever waited may be gone.
            let _gone = sender.send(answer);
        }
    }

    fn call(&mut self, wish: Wish) -> oneshot::Receiver<Seen> {
        let (sender, receiver) = oneshot::channel();
        self.calls.push(Call { wish, progress: Progress::Held, answer: Some(sender) });
        receiver
    }
}

/// A backend whose calls wait until the schedule lets them go on.
struct Held {
    store: Arc<Mutex<Store>>,
}

impl Held {
    async fn call(&self, wish: Wish) -> Seen {
        let answer = self.store.lock().unwrap().call(wish);
        answer.await.unwrap_or(Err(BackendError::Misbehaved))
    }

    async fn write(&self, slots: Vec<String>, present: bool) -> Result<u64, BackendError> {
        let seen = self.call(Wish::Write { slots: slots.clone(), present }).await?;
        self.store.lock().unwrap().returned = (slots, seen[0].0);
        Ok(seen[0].0)
    }

    fn scope_slots(&self, scope: &Scope) -> Vec<String> {
        assert_eq!(scope.as_str(), "e/t/a");
        self.store.lock().unwrap().slots.keys().cloned().collect()
    }
}

fn checksum(version: u64) -> Checksum {
    Checksum::parse(&format!("v{version}")).unwrap()
}

#[async_trait]
impl Backend for Held {
    fn kind(&self) -> BackendKind {
        BackendKind::Embedded
    }

    async fn fetch(&self, permits: &[ReadPermit], _freshness: Freshness) -> Vec<Result<Fetched, BackendError>> {
        for permit in permits {
            if *permit.subject() != subject(true) {
                self.store.lock().unwrap().broken = Some("N3: a denied subject reached the backend".to_owned());
            }
        }
        let slots = permits.iter().map(|permit| permit.location().slot_text().to_owned()).collect();
        match self.call(Wish::Read(slots)).await {
            Err(error) => permits.iter().map(|_| Err(error)).collect(),
            Ok(seen) => seen
                .into_iter()
                .map(|(version, present)| {
                    let value = SecretValue::new(version.to_string());
                    if present { Ok(Fetched::now(value, checksum(version))) } else { Err(BackendError::Absent) }
                })
                .collect(),
        }
    }

    async fn put(&self, permit: &WritePermit, put: Put) -> Result<Written, BackendError> {
        let mut slots = vec![permit.location().slot_text().to_owned()];
        slots.extend(put.keep_previous.map(|slot| permit.location().sibling(&slot).slot_text().to_owned()));
        let version = self.write(slots, true).await?;
        Ok(Written { checksum: checksum(version), previous: None })
    }

    async fn put_entries(&self, permit: &WritePermit, entries: Entries) -> Result<Vec<Checksum>, BackendError> {
        let version = self.write(vec![permit.location().slot_text().to_owned()], true).await?;
        Ok(entries.iter().map(|_| checksum(version)).collect())
    }

    async fn delete(&self, permit: &WritePermit, _guard: Guard) -> Result<(), BackendError> {
        self.write(vec![permit.location().slot_text().to_owned()], false).await.map(drop)
    }

    async fn onboard(&self, permit: &OnboardPermit, _: OnboardRequest) -> Result<Vec<OnboardedItem>, BackendError> {
        self.write(self.scope_slots(permit.scope()), true).await.map(|_| Vec::new())
    }

    async fn offboard(&self, permit: &OnboardPermit) -> Result<(), BackendError> {
        self.write(self.scope_slots(permit.scope()), false).await.map(drop)
    }

    async fn probe(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

fn subject(allowed: bool) -> Subject {
    Subject::from_uid(if allowed { 1 } else { 2 }).unwrap()
}

/// Everything to one subject, nothing to the other.
struct Allowed;

#[async_trait]
impl PermissionProvider for Allowed {
    fn name(&self) -> &'static str {
        "explorer"
    }

    fn known(&self, asking: &Subject, _action: Action, _target: Target<'_>) -> Option<Decision> {
        Some(if *asking == subject(true) { Decision::Allow } else { Decision::Deny })
    }

    async fn ask(&self, _: &Subject, _: Action, _: &Scope) -> Result<Decision, AccessError> {
        Err(AccessError::Unavailable)
    }
}

/// One client: what it does, and what it may expect from what was acknowledged before it began.
struct Client {
    cache: Cache,
    store: Arc<Mutex<Store>>,
    access: Access,
}

const ENTRY: &str = "e:t:a:externalSecrets/x:";
const BESIDE: &str = "e:t:a:externalSecrets/y:";
const WHOLE: &str = "e:t:a:externalSecrets:";
const SCALAR: &str = "e:t:a:clientSecret:";
const PREVIOUS: &str = "e:t:a:rotatedClientSecret:";

fn location(id: &str) -> Location {
    SecretId::parse(id).unwrap().into_parts().0
}

impl Client {
    async fn act(&self, op: Op) {
        match op {
            Op::Get => self.get(&[ENTRY], true, "").await,
            Op::GetDoubting => self.get(&[ENTRY], true, "never").await,
            Op::GetWhole => self.get(&[WHOLE], true, "").await,
            Op::GetPrevious => self.get(&[PREVIOUS], true, "").await,
            Op::GetBoth => self.get(&[SCALAR, PREVIOUS], true, "").await,
            Op::GetDenied => self.get(&[ENTRY], false, "").await,
            Op::Put => self.put(ENTRY, None).await,
            Op::PutBeside => self.put(BESIDE, None).await,
            Op::PutTogether => {
                let permit = self.access.write(&subject(true), location(WHOLE)).await.unwrap();
                let entry = |id: &str| {
                    let key = SubKey::parse(location(id).sub_key().unwrap()).unwrap();
                    (key, SecretValue::new("new".to_owned()))
                };
                if self.cache.put_entries(&permit, vec![entry(ENTRY), entry(BESIDE)]).await.is_ok() {
                    self.acknowledge();
                }
            }
            Op::Rotate => self.put(SCALAR, Some("rotatedClientSecret")).await,
            Op::Delete => {
                let permit = self.access.write(&subject(true), location(ENTRY)).await.unwrap();
                if self.cache.delete(&permit, Guard::None).await.is_ok() {
                    self.acknowledge();
                }
            }
            Op::Onboard => {
                let permit = self.access.onboard(&subject(true), Scope::parse("e/t/a").unwrap()).await.unwrap();
                let catalogue = Catalogue::default();
                let request =
                    OnboardRequest::new(Strategy::Merge, Vec::new(), &catalogue, permit.scope().kind()).unwrap();
                if self.cache.onboard(&permit, request).await.is_ok() {
                    self.acknowledge();
                }
            }
            Op::Offboard => {
                let permit = self.access.onboard(&subject(true), Scope::parse("e/t/a").unwrap()).await.unwrap();
                if self.cache.offboard(&permit).await.is_ok() {
                    self.acknowledge();
                }
            }
        }
    }

    async fn put(&self, id: &str, keep: Option<&str>) {
        let permit = self.access.write(&subject(true), location(id)).await.unwrap();
        let keep_previous = keep.map(|slot| Slot::parse(slot).unwrap());
        let put = Put { value: SecretValue::new("new".to_owned()), guard: Guard::None, keep_previous };
        if self.cache.put(&permit, put).await.is_ok() {
            self.acknowledge();
        }
    }

    /// The write that just returned in this poll was acknowledged, for all slots that it reached.
    fn acknowledge(&self) {
        let mut store = self.store.lock().unwrap();
        let (slots, version) = store.returned.clone();
        for slot in slots {
            let history = store.slots.get_mut(&slot).unwrap();
            history.floor = history.floor.max(version);
        }
    }

    async fn get(&self, ids: &[&str], allowed: bool, asked: &str) {
        let asked = Checksum::parse(asked).unwrap();
        let floors: Vec<u64> = {
            let store = self.store.lock().unwrap();
            ids.iter().map(|id| store.slots[location(id).slot_text()].floor).collect()
        };
        let mut wanted = Vec::new();
        for id in ids {
            match self.access.read(&subject(allowed), location(id)).await {
                Ok(permit) => wanted.push((permit, asked.clone())),
                Err(_refused) => return,
            }
        }
        let known: Option<Vec<_>> = wanted.iter().map(|(permit, asked)| self.cache.peek(permit, asked)).collect();
        let answers = match known {
            Some(answers) => answers,
            None => self.cache.get_many(wanted).await,
        };
        for ((answer, floor), id) in answers.into_iter().zip(floors).zip(ids) {
            self.judge(answer, floor, id, allowed);
        }
    }

    fn judge(&self, answer: Result<Served, BackendError>, floor: u64, id: &str, allowed: bool) {
        let mut store = self.store.lock().unwrap();
        let broken = match answer {
            _ if !allowed => Some("N3: a denied subject got an answer".to_owned()),
            Ok(served) => {
                let version: u64 = served.entry.value().expose().parse().unwrap();
                let within = match served.source {
                    Source::Cache => served.age < TTL,
                    Source::Backend => true,
                    Source::Stale => served.age < TTL + STALE,
                };
                if version < floor {
                    Some(format!("N7: version {version} was answered after {floor} was acknowledged"))
                } else if !within {
                    Some(format!("a value {:?} old was answered from {:?}", served.age, served.source))
                } else {
                    None
                }
            }
            Err(BackendError::Absent) => {
                let absences = &store.slots[location(id).slot_text()].absences;
                let explained = absences.iter().any(|version| *version >= floor);
                (!explained).then(|| format!("N7: absent although {floor} was acknowledged"))
            }
            Err(_) => None,
        };
        if broken.is_some() {
            store.broken = broken;
        }
    }
}
