//! Wires the parts into a running agent, and takes them down again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::rate::{RateLimiter, RateSettings};
use crate::access::{Access, AccessMetrics};
use crate::admin::{AdminListener, AdminState};
use crate::api::{About, Api};
use crate::audit::{Audit, AuditMetrics};
use crate::cache::{Cache, CacheMetrics};
use crate::clock::Clock;
use crate::config::Config;
use crate::kubernetes::{Address, TokenExpiry};
use crate::listener::{self, ListenSettings};
use crate::metrics::{Metrics, ProcessCollector};
use crate::operations::Operations;
use crate::request_id::RequestIds;
use crate::server::{self, InFlight, ServerMetrics};
use crate::shutdown::Signals;

mod settings;
mod sources;

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
    let api_server = sources::api_server(&config, &address)?;
    if let Some(api_server) = &api_server {
        registry.register_collector(Box::new(TokenExpiry(api_server.clone())));
    }
    let families = registry.sub_registry_with_prefix("cloakroom");

    let audit_metrics = AuditMetrics::default();
    audit_metrics.register(families);
    let audit = Audit::open(settings::audit(&config)?, audit_metrics)?;

    let (provider, grants) = sources::permissions(&config, api_server.as_ref())?;
    let access_metrics = AccessMetrics::default();
    access_metrics.register(families);
    let access = Access::counted(provider, &access_metrics);

    let metrics = Metrics::default();
    metrics.register(families);
    let up = Arc::new(AtomicBool::new(true));
    let backend = sources::backend(&config, api_server.as_ref(), &metrics, &up, &tasks, &stop)?;
    let kind = backend.kind();
    if api_server.is_none() {
        // One that is reached over the network may come up later than we do: it is told by `/status` and by each call.
        backend.probe().await.context("the backend does not answer")?;
    }

    let cache_metrics = CacheMetrics::default();
    cache_metrics.register(families);
    let spawner = {
        let tasks = tasks.clone();
        Arc::new(move |work| drop(tasks.spawn(work)))
    };
    let cache = Cache::new(settings::cache(&config), Clock::Boot, Arc::clone(&backend), spawner, cache_metrics);
    backend.on_change({
        let cache = cache.clone();
        Arc::new(move |scope| cache.scope_changed(scope))
    });

    let operations = Arc::new(Operations {
        access,
        cache,
        audit: audit.clone(),
        rate: RateLimiter::new(rate(&config), Clock::Boot),
        catalogue: Arc::new(config.secrets.catalogue.clone()),
        generator: config.secrets.generator.clone(),
        metrics,
        tasks: tasks.clone(),
        value_bytes: settings::usize_of(config.limits.value_bytes),
        request_timeout: config.limits.request_timeout,
    });

    let listen = ListenSettings { socket: config.listen.socket.clone(), group: config.listen.group };
    let socket = listener::bind(&listen)?;
    let server_metrics = ServerMetrics::default();
    server_metrics.register(families);

    let (identity, mut identified) = sources::identify(&config, api_server.as_ref(), &tasks, &stop);
    let in_flight = InFlight::new(settings::usize_of(config.limits.in_flight_bytes));
    let api = Api::new(
        operations,
        identity,
        About { backend: kind, backend_up: up, warnings: warnings(&config) },
        settings::api(&config),
        in_flight.clone(),
        RequestIds::new().map_err(|_| anyhow::anyhow!("the system's random source failed"))?,
    );
    for warning in warnings(&config) {
        tracing::warn!("{warning}");
    }

    let serving = Arc::new(AtomicBool::new(false));
    let admin = Admin::start(&config, registry, &stop, &serving).await?;
    let on_hangup = {
        let audit = audit.clone();
        move || {
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
    ) -> anyhow::Result<Self> {
        let admin = Self { tasks: TaskTracker::new(), stop: CancellationToken::new() };
        let Some(address) = &config.listen.admin else { return Ok(admin) };
        let serving = Arc::clone(serving);
        let state = AdminState {
            registry,
            draining: draining.clone(),
            ready: Box::new(move || serving.load(Ordering::Relaxed)),
        };
        let listener = AdminListener::bind(address).await?;
        admin.tasks.spawn(listener.serve(Arc::new(state), admin.tasks.clone(), admin.stop.clone()));
        Ok(admin)
    }

    fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
    }
}

fn rate(config: &Config) -> RateSettings {
    RateSettings { per_second: config.limits.caller_rate, burst: config.limits.caller_burst, subjects_max: 1024 }
}

fn warnings(config: &Config) -> Vec<&'static str> {
    if config.is_dev() {
        vec!["development mode: the own uid may do everything, and the store is only as safe as its directory"]
    } else {
        Vec::new()
    }
}
