//! Wires the parts into a running agent, and takes them down again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{AdminListener, AdminState};
use crate::api::{About, Api};
use crate::backend::{Backend, BackendKind};
use crate::config::{BackendConfig, Config};
use crate::kubernetes::Address;
use crate::listener::{self, ListenSettings};
use crate::metrics::ProcessCollector;
use crate::render::{Board, Renderer};
use crate::request_id::RequestIds;
use crate::server::{self, InFlight, ServerMetrics};
use crate::shutdown::Signals;

mod check;
mod parts;
mod render;
mod settings;
mod sources;

use parts::Parts;

pub use check::check;
pub use render::render;

/// What a start has to say for itself.
pub struct Started {
    /// Where the API is.
    pub socket: PathBuf,
}

/// Runs an agent until a signal ends it. `address` is the API server's, should it be needed; `started` is called once the
/// socket answers.
///
/// # Errors
/// Whatever kept it from starting, with the key to change and the way out.
pub async fn agent(config: Config, address: Address, started: impl FnOnce(&Started)) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();
    let signals = Signals::install(stop.clone()).context("cannot listen for signals")?;
    let mut registry = Registry::default();
    // Without a prefix of ours: every Prometheus client names the figures of its process so.
    registry.register_collector(Box::new(ProcessCollector));
    let families = registry.sub_registry_with_prefix("cloakroom");
    let board = Board::default();
    board.register(families);
    // Before anything else is opened: a directory that cannot be used is a mistake to be told at once.
    let renderer = Renderer::open(config.render.clone(), config.listen.group, board.clone())?;
    let mut warnings = warnings(&config);
    warnings.extend(renderer.is_on_disk().then_some(
        "rendered files are on a disk, where a value can be found after it was replaced: use tmpfs, as an emptyDir in memory",
    ));
    let mut parts = Parts::open(&config, &address, families, &tasks, &stop)?;
    begin(&parts.backend, &parts.backend_up, &tasks, &stop).await?;

    let listen = ListenSettings { socket: config.listen.socket.clone(), group: config.listen.group };
    let socket = listener::bind(&listen).context("listen.socket")?;
    let server_metrics = ServerMetrics::default();
    server_metrics.register(registry.sub_registry_with_prefix("cloakroom"));
    registry.register_collector(Box::new(std::mem::take(&mut parts.tokens)));
    registry.register_collector(Box::new(board.clone()));

    let (identity, mut identified) = sources::identify(&config, parts.api_server.as_ref(), &tasks, &stop);
    if !config.render.is_empty() {
        render::start(renderer, &parts, &identity, &tasks, &stop)?;
    }
    let in_flight = InFlight::new(settings::usize_of(config.limits.in_flight_bytes));
    let api = Api::new(
        Arc::clone(&parts.operations),
        identity,
        About {
            backend: parts.backend.kind(),
            backend_up: Arc::clone(&parts.backend_up),
            warnings: warnings.clone(),
            files: board,
        },
        settings::api(&config),
        in_flight.clone(),
        RequestIds::new().map_err(|_| anyhow::anyhow!("the system's random source failed"))?,
    );
    for warning in warnings {
        tracing::warn!("{warning}");
    }

    let serving = Arc::new(AtomicBool::new(false));
    let admin = Admin::start(&config, registry, &stop, &serving, &parts.backend).await?;
    let on_hangup = {
        let (audit, grants) = (parts.audit.clone(), parts.grants.clone());
        move || {
            tracing::info!("SIGHUP: reading again what may change at run time");
            audit.reopen();
            if let Some(grants) = &grants {
                grants.reload();
            }
        }
    };
    tracing::info!(socket = %listen.socket.display(), version = env!("CARGO_PKG_VERSION"), "agent is listening");
    serving.store(true, Ordering::Relaxed);
    started(&Started { socket: listen.socket });

    let serve =
        server::serve(socket, settings::server(&config), Arc::new(api), in_flight, tasks.clone(), stop, server_metrics);
    let served = tokio::select! {
        served = serve => served.map_err(anyhow::Error::from),
        refused = &mut identified => Err(refused),
        aborted = signals.run(on_hangup) => Err(anyhow::Error::from(aborted)),
    };
    tasks.close();
    admin.stop();
    if served.is_ok() {
        // Requests whose callers hung up still end with their outcome on record; the drain's deadline has bounded them.
        let rest = tokio::time::timeout(config.limits.request_timeout, tasks.wait());
        if rest.await.is_err() {
            tracing::warn!("some requests did not end within their deadline");
        }
    }
    tracing::info!("agent has stopped");
    served
}

/// One that is reached over the network may come up later than we do: it is told by `/status` and by each call.
async fn begin(
    backend: &Arc<dyn Backend>,
    up: &AtomicBool,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    if backend.kind() == BackendKind::Embedded {
        backend.probe().await.context("the backend does not answer")?;
    }
    if !backend.is_ready() {
        up.store(false, Ordering::Relaxed);
        tasks.spawn(reach(Arc::clone(backend), stop.clone()));
    }
    Ok(())
}

/// Asks the backend until it answers, so that readiness and `/status` do not wait for a first request.
async fn reach(backend: Arc<dyn Backend>, stop: CancellationToken) {
    let mut pause = Duration::from_millis(500);
    while backend.probe().await.is_err() {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(crate::jitter::around(pause)) => {}
        }
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

/// The admin listener while it runs.
struct Admin {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Admin {
    async fn start(
        config: &Config,
        registry: Registry,
        draining: &CancellationToken,
        serving: &Arc<AtomicBool>,
        backend: &Arc<dyn Backend>,
    ) -> anyhow::Result<Self> {
        let admin = Self { tasks: TaskTracker::new(), stop: CancellationToken::new() };
        let Some(address) = &config.listen.admin else { return Ok(admin) };
        let (serving, backend) = (Arc::clone(serving), Arc::clone(backend));
        let state = AdminState {
            registry,
            draining: draining.clone(),
            ready: Box::new(move || serving.load(Ordering::Relaxed) && backend.is_ready()),
            status: None,
        };
        let listener = AdminListener::bind(address).await.context("listen.admin")?;
        admin.tasks.spawn(listener.serve(Arc::new(state), admin.tasks.clone(), admin.stop.clone()));
        Ok(admin)
    }

    fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
    }
}

fn warnings(config: &Config) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    if config.is_dev() {
        warnings
            .push("development mode: the own uid may do everything, and the store is only as safe as its directory");
    }
    if let BackendConfig::Conjur(conjur) = &config.backend
        && [Some(&conjur.url), conjur.follower_url.as_ref()].into_iter().flatten().any(|url| url.starts_with("http://"))
    {
        warnings.push("backend.conjur is reached without TLS: whoever is on the way reads every secret and the login");
    }
    warnings
}
