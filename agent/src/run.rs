//! Wires the parts into a running agent, and takes them down again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::file::{DevGrants, FileGrants};
use crate::access::rate::{RateLimiter, RateSettings};
use crate::access::{Access, AccessMetrics, PermissionProvider, Subject};
use crate::admin::{AdminListener, AdminState};
use crate::api::{About, Api, Identify};
use crate::audit::{Audit, AuditMetrics};
use crate::backend::deadline::Deadlines;
use crate::backend::embedded::{Embedded, EmbeddedSettings};
use crate::backend::observed::Observed;
use crate::backend::{Backend, BackendKind};
use crate::cache::{Cache, CacheMetrics};
use crate::clock::Clock;
use crate::config::Config;
use crate::listener::{self, ListenSettings};
use crate::metrics::{Metrics, ProcessCollector};
use crate::operations::Operations;
use crate::request_id::RequestIds;
use crate::server::{self, InFlight, ServerMetrics};
use crate::shutdown::Signals;

mod settings;

/// What a start has to say for itself.
pub struct Started {
    /// Where the API is.
    pub socket: PathBuf,
}

/// Runs an agent until a signal ends it. `started` is called once the socket answers.
///
/// # Errors
/// Whatever kept it from starting, with the key to change and the way out.
pub async fn agent(config: Config, started: impl FnOnce(&Started)) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();
    let signals = Signals::install(stop.clone()).context("cannot listen for signals")?;
    let mut registry = Registry::default();
    // Without a prefix of ours: every Prometheus client names the figures of its process so.
    registry.register_collector(Box::new(ProcessCollector));
    let families = registry.sub_registry_with_prefix("cloakroom");

    let audit_metrics = AuditMetrics::default();
    audit_metrics.register(families);
    let audit = Audit::open(settings::audit(&config)?, audit_metrics)?;

    let (provider, grants) = permissions(&config)?;
    let access_metrics = AccessMetrics::default();
    access_metrics.register(families);
    let access = Access::counted(provider, &access_metrics);

    let metrics = Metrics::default();
    metrics.register(families);
    let up = Arc::new(AtomicBool::new(true));
    let backend = backend(&config, &metrics, &up, &tasks)?;
    backend.probe().await.context("the backend does not answer")?;

    let cache_metrics = CacheMetrics::default();
    cache_metrics.register(families);
    let spawner = {
        let tasks = tasks.clone();
        Arc::new(move |work| drop(tasks.spawn(work)))
    };
    let cache = Cache::new(settings::cache(&config), Clock::Boot, backend, spawner, cache_metrics);

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

    let in_flight = InFlight::new(settings::usize_of(config.limits.in_flight_bytes));
    let api = Api::new(
        operations,
        identify(&config),
        About { backend: BackendKind::Embedded, backend_up: up, warnings: warnings(&config) },
        settings::api(&config),
        in_flight.clone(),
        RequestIds::new().map_err(|_| anyhow::anyhow!("the system's random source failed"))?,
    );
    for warning in warnings(&config) {
        tracing::warn!("{warning}");
    }

    let admin_tasks = TaskTracker::new();
    let admin_stop = CancellationToken::new();
    let serving = Arc::new(AtomicBool::new(false));
    if let Some(address) = &config.listen.admin {
        let state = Arc::new(AdminState {
            registry,
            draining: stop.clone(),
            ready: {
                let serving = Arc::clone(&serving);
                Box::new(move || serving.load(Ordering::Relaxed))
            },
        });
        let listener = AdminListener::bind(address).await?;
        admin_tasks.spawn(listener.serve(state, admin_tasks.clone(), admin_stop.clone()));
    }

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
        aborted = signals.run(on_hangup) => Err(anyhow::Error::from(aborted)),
    };
    admin_stop.cancel();
    tasks.close();
    admin_tasks.close();
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

type Provider = (Arc<dyn PermissionProvider>, Option<Arc<FileGrants>>);

fn permissions(config: &Config) -> anyhow::Result<Provider> {
    match &config.permissions.file {
        Some(file) => {
            let grants = Arc::new(FileGrants::load(file)?);
            Ok((Arc::clone(&grants) as Arc<dyn PermissionProvider>, Some(grants)))
        }
        None => {
            let own = Subject::from_uid(nix::unistd::geteuid().as_raw())
                .context("a uid without a name of its own cannot run --dev: 65534 stands for every unmapped uid")?;
            Ok((Arc::new(DevGrants::new(own)), None))
        }
    }
}

fn backend(
    config: &Config,
    metrics: &Metrics,
    up: &Arc<AtomicBool>,
    tasks: &TaskTracker,
) -> anyhow::Result<Arc<dyn Backend>> {
    let catalogue = Arc::new(config.secrets.catalogue.clone());
    let settings: EmbeddedSettings = settings::embedded(config);
    let store = Embedded::open(settings, catalogue, config.secrets.generator.clone())?;
    let observed = Observed::new(Arc::new(store), metrics.clone(), Arc::clone(up));
    Ok(Arc::new(Deadlines::new(Arc::new(observed), settings::deadlines(config), tasks.clone())))
}

fn identify(config: &Config) -> Identify {
    let allowed = config.listen.allow_uids.clone();
    Box::new(move |peer| if allowed.contains(&peer.uid) { Subject::from_uid(peer.uid) } else { None })
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
