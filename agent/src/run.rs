//! Wires the parts into a running agent, and takes them down again.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::file::{DevGrants, FileGrants};
use crate::access::kubernetes::KubernetesRbac;
use crate::access::rate::{RateLimiter, RateSettings};
use crate::access::{Access, AccessMetrics, PermissionProvider, Subject};
use crate::admin::{AdminListener, AdminState};
use crate::api::{About, Api};
use crate::audit::{Audit, AuditMetrics};
use crate::backend::Backend;
use crate::backend::deadline::Deadlines;
use crate::backend::embedded::Embedded;
use crate::backend::kubernetes::KubernetesSecrets;
use crate::backend::observed::Observed;
use crate::cache::{Cache, CacheMetrics};
use crate::clock::Clock;
use crate::config::{BackendConfig, Config, IdentityKind, Permissions};
use crate::identity::Identity;
use crate::identity::pod::PodIdentity;
use crate::kubernetes::{Address, ApiServer};
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

    let api_server = api_server(&config)?;
    let (provider, grants) = permissions(&config, api_server.as_ref())?;
    let access_metrics = AccessMetrics::default();
    access_metrics.register(families);
    let access = Access::counted(provider, &access_metrics);

    let metrics = Metrics::default();
    metrics.register(families);
    let up = Arc::new(AtomicBool::new(true));
    let backend = backend(&config, api_server.as_ref(), &metrics, &up, &tasks, &stop)?;
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

    let (identity, mut identified) = identify(&config, api_server.as_ref(), &tasks, &stop);
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
        refused = &mut identified => Err(refused),
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

/// The API server, where anything needs it.
fn api_server(config: &Config) -> anyhow::Result<Option<ApiServer>> {
    let needed = config.identity.kind == IdentityKind::Pod
        || config.permissions == Permissions::Kubernetes
        || matches!(config.backend, BackendConfig::Kubernetes(_));
    if !needed {
        return Ok(None);
    }
    let variable = |name| std::env::var(name).ok();
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
    let address = Address::from_environment(host.as_deref(), port.as_deref());
    Ok(Some(ApiServer::new(&address, &config.identity.token_dir)?))
}

fn permissions(config: &Config, api_server: Option<&ApiServer>) -> anyhow::Result<Provider> {
    match (&config.permissions, api_server) {
        (Permissions::File(file), _) => {
            let grants = Arc::new(FileGrants::load(file)?);
            Ok((Arc::clone(&grants) as Arc<dyn PermissionProvider>, Some(grants)))
        }
        (Permissions::Development, _) => {
            let own = Subject::from_uid(nix::unistd::geteuid().as_raw())
                .context("a uid without a name of its own cannot run --dev: 65534 stands for every unmapped uid")?;
            Ok((Arc::new(DevGrants::new(own)), None))
        }
        (Permissions::Kubernetes, Some(api)) => {
            Ok((Arc::new(KubernetesRbac::new(api.clone(), Clock::Boot, config.limits.backend_timeout)), None))
        }
        (Permissions::Kubernetes, None) => anyhow::bail!("permissions kubernetes without an API server"),
    }
}

fn backend(
    config: &Config,
    api_server: Option<&ApiServer>,
    metrics: &Metrics,
    up: &Arc<AtomicBool>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<Arc<dyn Backend>> {
    let (catalogue, generator) = (Arc::new(config.secrets.catalogue.clone()), config.secrets.generator.clone());
    let backend: Arc<dyn Backend> = match (&config.backend, api_server) {
        (BackendConfig::Embedded(embedded), _) => {
            Arc::new(Embedded::open(settings::embedded(config, embedded), catalogue, generator)?)
        }
        (BackendConfig::Kubernetes(kubernetes), Some(api)) => Arc::new(KubernetesSecrets::new(
            api.clone(),
            settings::kubernetes(config, kubernetes),
            catalogue,
            generator,
            tasks.clone(),
            stop.clone(),
        )),
        (BackendConfig::Kubernetes(_), None) => anyhow::bail!("backend kubernetes without an API server"),
    };
    let observed = Observed::new(backend, metrics.clone(), Arc::clone(up));
    Ok(Arc::new(Deadlines::new(Arc::new(observed), settings::deadlines(config), tasks.clone())))
}

/// Ends with the reason why nobody can be identified here at all; otherwise never.
type Identified = Pin<Box<dyn Future<Output = anyhow::Error> + Send>>;

fn identify(
    config: &Config,
    api_server: Option<&ApiServer>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> (Identity, Identified) {
    let allowed = config.listen.allow_uids.clone();
    let (IdentityKind::Pod, Some(api)) = (config.identity.kind, api_server) else {
        return (Identity::Uid(allowed), Box::pin(std::future::pending()));
    };
    let pod = Arc::new(PodIdentity::default());
    let asking = tasks.spawn(Arc::clone(&pod).keep(api.clone(), stop.clone()));
    let refused = async move {
        match asking.await {
            Ok(Err(too_old)) => too_old.into(),
            _ => std::future::pending().await,
        }
    };
    (Identity::Pod(pod, allowed), Box::pin(refused))
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
