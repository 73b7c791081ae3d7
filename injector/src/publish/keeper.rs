//! One replica's look at the shared objects, and the write that is due.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_agent::clock::Clock;
use cloakroom_agent::jitter;
use cloakroom_agent::kubernetes::{Answer, ApiServer, CallError};
use http::{Request, StatusCode, header};
use jiff::Timestamp;
use rustls::crypto::CryptoProvider;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::entries::{self, Entries, Mark};
use super::sightings::Sightings;
use super::{Names, Publication, PublishError};
use crate::certificate::plan::{Outline, Published, Step, plan};
use crate::certificate::serving::Serving;
use crate::certificate::state::{Checked, Fault, State};
use crate::certificate::{Lifetimes, issue};

/// Between two looks. Polled and not slept until: a wall clock may be set, and a machine may sleep through a due time.
const POLL: Duration = Duration::from_secs(10);

/// Between two looks while the API server does not answer as it should.
const RETRY: Duration = Duration::from_secs(3);

/// Between a write, done or overtaken, and the next look.
const AGAIN: Duration = Duration::from_millis(500);

/// How long one call may take.
const CALL: Duration = Duration::from_secs(5);

/// Where the state is in the Secret.
const KEY: &str = "state.json";

const MANAGER: &str = "fieldManager=cloakroom-injector";

/// Why the next look may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing was due.
    Rest,
    /// Something was written.
    Written,
    /// Somebody else wrote first.
    Overtaken,
}

/// The replica.
pub struct Keeper {
    api: ApiServer,
    names: Names,
    lifetimes: Lifetimes,
    provider: Arc<CryptoProvider>,
    serving: Arc<Serving>,
    publication: Arc<Publication>,
    sightings: Sightings,
    wall: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// The last state that was good, for when the shared one is taken away.
    last: Option<State>,
}

/// The Secret as it was read.
struct Found {
    /// None where there is no such Secret.
    object: Option<Value>,
    state: Result<Checked, Fault>,
}

impl Keeper {
    /// One that serves by `serving` and tells `publication` what it sees.
    #[must_use]
    pub fn new(
        api: ApiServer,
        names: Names,
        lifetimes: Lifetimes,
        provider: Arc<CryptoProvider>,
        serving: Arc<Serving>,
        publication: Arc<Publication>,
    ) -> Self {
        let (sightings, wall) = (Sightings::new(Clock::Boot), Box::new(Timestamp::now));
        Self { api, names, lifetimes, provider, serving, publication, sightings, wall, last: None }
    }

    /// With other clocks.
    #[must_use]
    pub fn with_clocks(mut self, clock: Clock, wall: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        (self.sightings, self.wall) = (Sightings::new(clock), Box::new(wall));
        self
    }

    /// Looks and writes until `stop`.
    pub async fn keep(mut self, stop: CancellationToken) {
        loop {
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = self.look() => looked,
            };
            let error = looked.as_ref().err().map(|error| {
                let source = std::error::Error::source(error).map(|source| format!(": {source}"));
                format!("{error}{}", source.unwrap_or_default())
            });
            // Told when it is news: this runs for as long as the trouble lasts.
            if let (true, Some(error)) = (self.publication.tell(error.clone()), &error) {
                tracing::warn!(error, "the certificates cannot be looked after; what is served goes on being served");
            }
            let pause = match looked {
                Ok(Progress::Written | Progress::Overtaken) => jitter::up_to(AGAIN),
                Ok(Progress::Rest) => jitter::around(POLL),
                Err(_) => jitter::around(RETRY),
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks once, and writes at most once.
    ///
    /// # Errors
    /// [`PublishError`]. What was served before is served after it.
    pub async fn look(&mut self) -> Result<Progress, PublishError> {
        // The configuration before the state, and never the other way round: what is planned is then at least as new as
        // the version that the patch names, so that nobody puts an older bundle in the place of a newer one.
        let entries = self.entries().await?;
        let found = self.found().await?;
        let wall = (self.wall)();
        let now = wall.as_second();
        if let Ok(checked) = &found.state
            && checked.leaf.validity.lasts(now)
        {
            self.last = Some(checked.state.clone());
            if self.serving.serve(Arc::clone(&checked.leaf.key), checked.leaf.validity) {
                tracing::info!("serving a new certificate");
            }
        }
        let (published, confirmed) = self.sight(&entries, &found, wall);
        let outline = found.state.as_ref().map(Outline::of).map_err(|fault| *fault);
        let step = plan(outline, now, published, confirmed, self.lifetimes);
        match self.step(step, found, &entries, now, wall).await? {
            // A configuration without entries is no error before there is a certificate, and one afterwards.
            Progress::Rest if entries.is_empty() => Err(PublishError::NoEntries),
            progress => Ok(progress),
        }
    }

    fn sight(&mut self, entries: &Entries, found: &Found, wall: Timestamp) -> (Published, bool) {
        let Ok(checked) = &found.state else { return (Published::DiffersForNow, false) };
        let bundle = checked.state.bundle();
        let digest = entries::digest(&bundle);
        let next = checked.next.as_ref().map(|next| next.authority);
        let everywhere = |authority| !entries.is_empty() && entries.trust(&authority);
        let confirmed = self.sightings.confirm(next, next.is_some_and(everywhere));
        self.publication.saw(everywhere(checked.leaf.authority));
        let published = if entries.have(&bundle) {
            self.sightings.complete(&digest);
            Published::Complete
        } else if self.sightings.is_repair(&digest, entries.mark()) && !self.sightings.may_repair(entries.mark(), wall)
        {
            Published::DiffersForNow
        } else {
            Published::Differs
        };
        (published, confirmed)
    }

    async fn step(
        &mut self,
        step: Step,
        found: Found,
        entries: &Entries,
        now: i64,
        wall: Timestamp,
    ) -> Result<Progress, PublishError> {
        let hosts = &self.names.hosts;
        let Found { object, state } = found;
        let state = match (step, state) {
            (Step::Publish, Ok(checked)) => return self.publish(entries, &checked.state, wall).await,
            (Step::Begin(fault), _) => {
                match fault {
                    Fault::Absent => tracing::info!("there are no shared certificates: making them"),
                    _ => tracing::warn!(%fault, "the shared certificates cannot be used: writing others"),
                }
                self.begin(now)?
            }
            // Where there is no state, the plan is `Begin`.
            (Step::Rest, _) | (_, Err(_)) => return Ok(Progress::Rest),
            (Step::Promote, Ok(checked)) => {
                let mut state = checked.state;
                if let Some(next) = state.next.take() {
                    state.leaf = next;
                }
                state
            }
            (Step::MakeAuthority, Ok(checked)) => issue::next_authority(checked.state, hosts, now, self.lifetimes)?,
            (Step::MakeLeaf, Ok(checked)) => issue::next_leaf(checked.state, hosts, now, self.lifetimes)?,
            (Step::Forget, Ok(checked)) => forget(checked.state, now),
        };
        tracing::info!(?step, "writing the shared certificates");
        self.write(object, &state).await
    }

    /// What to write where nothing can be used: what we serve ourselves if that is good, so that nobody notices; its
    /// authority is then replaced in the ordinary way.
    fn begin(&self, now: i64) -> Result<State, PublishError> {
        let last = self.last.clone().map(|last| last.check(&self.names.hosts, &self.provider));
        match last {
            Some(Ok(checked)) if checked.leaf.validity.lasts(now) => Ok(checked.state.retired()),
            _ => Ok(issue::everything(&self.names.hosts, now, self.lifetimes)?),
        }
    }

    async fn entries(&self) -> Result<Entries, PublishError> {
        let doing = "reading the webhook configuration";
        let answer = self.call(doing, Request::get(self.configuration_path()), None).await?;
        match answer.status {
            StatusCode::OK => {
                Entries::parse(&answer).ok_or(PublishError::Call { doing, source: CallError::Misbehaved })
            }
            status => Err(PublishError::Status { doing, status: status.as_u16() }),
        }
    }

    async fn publish(&mut self, entries: &Entries, state: &State, wall: Timestamp) -> Result<Progress, PublishError> {
        let doing = "publishing the authorities in the webhook configuration";
        let bundle = state.bundle();
        let digest = entries::digest(&bundle);
        let repair = self.sightings.is_repair(&digest, entries.mark());
        let mark = Mark { digest, repaired: repair.then_some(wall) };
        let patch = entries.patch(&bundle, &mark).to_string().into_bytes();
        let request = Request::patch(format!("{}?{MANAGER}", self.configuration_path()))
            .header(header::CONTENT_TYPE, "application/strategic-merge-patch+json");
        let answer = self.call(doing, request, Some(patch)).await?;
        match answer.status {
            StatusCode::OK => {
                tracing::info!(repair, "published the authorities");
                if repair {
                    self.sightings.repaired();
                }
                Ok(Progress::Written)
            }
            StatusCode::CONFLICT => Ok(Progress::Overtaken),
            status => Err(PublishError::Status { doing, status: status.as_u16() }),
        }
    }

    async fn found(&self) -> Result<Found, PublishError> {
        let doing = "reading the Secret";
        let answer = self.call(doing, Request::get(self.secret_path()), None).await?;
        match answer.status {
            StatusCode::OK => {
                let object: Value = answer.json().map_err(|source| PublishError::Call { doing, source })?;
                let text = object.get("data").and_then(|data| data.get(KEY)).and_then(Value::as_str);
                let text = text.and_then(|text| STANDARD.decode(text).ok()).map(Zeroizing::new);
                let state = text.ok_or(Fault::Unreadable).and_then(|text| State::parse(&text));
                let state = state.and_then(|state| state.check(&self.names.hosts, &self.provider));
                Ok(Found { object: Some(object), state })
            }
            StatusCode::NOT_FOUND => Ok(Found { object: None, state: Err(Fault::Absent) }),
            status => Err(PublishError::Status { doing, status: status.as_u16() }),
        }
    }

    /// Writes the state: over the object that was read and no later one, or as a new one.
    async fn write(&self, object: Option<Value>, state: &State) -> Result<Progress, PublishError> {
        let doing = "writing the Secret";
        let data = json!({KEY: STANDARD.encode(&*state.text())});
        let (request, body) = match object {
            Some(mut object) => {
                if let Some(members) = object.as_object_mut() {
                    members.insert("data".to_owned(), data);
                }
                if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.remove("managedFields");
                }
                (Request::put(format!("{}?{MANAGER}", self.secret_path())), object)
            }
            None => {
                let labels = json!({"app.kubernetes.io/managed-by": "cloakroom-injector"});
                let metadata = json!({"name": self.names.secret, "namespace": self.names.namespace, "labels": labels});
                let body =
                    json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data});
                let path = format!("/api/v1/namespaces/{}/secrets?{MANAGER}", self.names.namespace);
                (Request::post(path), body)
            }
        };
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let answer = self.call(doing, request, Some(body.to_string().into_bytes())).await?;
        match answer.status {
            StatusCode::OK | StatusCode::CREATED => Ok(Progress::Written),
            // 404: it was there when we looked.
            StatusCode::CONFLICT | StatusCode::NOT_FOUND => Ok(Progress::Overtaken),
            status => Err(PublishError::Status { doing, status: status.as_u16() }),
        }
    }

    async fn call(
        &self,
        doing: &'static str,
        request: http::request::Builder,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, PublishError> {
        let failed = |source| PublishError::Call { doing, source };
        let request = request.body(body.unwrap_or_default()).map_err(|_| failed(CallError::Misbehaved))?;
        self.api.call(request, CALL).await.map_err(failed)
    }

    fn configuration_path(&self) -> String {
        let name = &self.names.configuration;
        format!("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{name}")
    }

    fn secret_path(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets/{}", self.names.namespace, self.names.secret)
    }
}

/// Without the authorities that have no leaf left; the newest stays.
fn forget(mut state: State, now: i64) -> State {
    let newest = state.authorities.pop();
    state.authorities.retain(|authority| authority.leaves_until > now);
    state.authorities.extend(newest);
    state
}
