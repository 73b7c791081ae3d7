//! What every way to run is made of: records, decisions, values, and the operations in front of them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{settings, sources};
use crate::access::file::FileGrants;
use crate::access::rate::{RateLimiter, RateSettings};
use crate::access::{Access, AccessMetrics};
use crate::audit::{Audit, AuditMetrics};
use crate::backend::Backend;
use crate::cache::{Cache, CacheMetrics};
use crate::clock::Clock;
use crate::config::Config;
use crate::kubernetes::{Address, ApiServer};
use crate::metrics::{Metrics, TokenExpiry};
use crate::operations::Operations;
use crate::render::Bell;

/// The parts.
pub(super) struct Parts {
    pub(super) api_server: Option<ApiServer>,
    /// The file of grants, where there is one.
    pub(super) grants: Option<Arc<FileGrants>>,
    pub(super) audit: Audit,
    pub(super) backend: Arc<dyn Backend>,
    /// Whether the last call to the backend was answered.
    pub(super) backend_up: Arc<AtomicBool>,
    pub(super) operations: Arc<Operations>,
    /// Rung for each scope that has changed, by whomever.
    pub(super) bell: Bell,
    pub(super) tokens: TokenExpiry,
}

impl Parts {
    /// Opens what `config` names; families of metrics are added to `families`.
    pub(super) fn open(
        config: &Config,
        address: &Address,
        families: &mut Registry,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let api_server = sources::api_server(config, address)?;
        let mut tokens = TokenExpiry::default();
        if let Some(api_server) = api_server.clone() {
            tokens.add("kube", move || api_server.token_expiry());
        }
        let audit_metrics = AuditMetrics::default();
        audit_metrics.register(families);
        let audit = Audit::open(settings::audit(config)?, audit_metrics)?;

        let (provider, grants) = sources::permissions(config, api_server.as_ref())?;
        let access_metrics = AccessMetrics::default();
        access_metrics.register(families);
        let access = Access::counted(provider, &access_metrics);

        let metrics = Metrics::default();
        metrics.register(families);
        let backend_up = Arc::new(AtomicBool::new(true));
        let seen = (&metrics, &backend_up, &mut tokens);
        let backend = sources::backend(config, api_server.as_ref(), seen, tasks, stop)?;

        let cache_metrics = CacheMetrics::default();
        cache_metrics.register(families);
        let spawner = {
            let tasks = tasks.clone();
            Arc::new(move |work| drop(tasks.spawn(work)))
        };
        let cache = Cache::new(settings::cache(config), Clock::Boot, Arc::clone(&backend), spawner, cache_metrics);
        let bell = Bell::default();
        backend.on_change({
            let (cache, bell) = (cache.clone(), bell.clone());
            Arc::new(move |scope| {
                cache.scope_changed(scope);
                bell.ring(scope);
            })
        });
        let operations = Arc::new(Operations {
            access,
            cache,
            audit: audit.clone(),
            rate: RateLimiter::new(rate(config), Clock::Boot),
            catalogue: Arc::new(config.secrets.catalogue.clone()),
            generator: config.secrets.generator.clone(),
            metrics,
            tasks: tasks.clone(),
            value_bytes: settings::usize_of(config.limits.value_bytes),
            request_timeout: config.limits.request_timeout,
            load_timeout: config.limits.request_timeout.max(settings::deadlines(config).onboard),
            written: {
                let bell = bell.clone();
                Arc::new(move |scope| bell.ring(scope))
            },
        });
        Ok(Self { api_server, grants, audit, backend, backend_up, operations, bell, tokens })
    }
}

fn rate(config: &Config) -> RateSettings {
    RateSettings { per_second: config.limits.caller_rate, burst: config.limits.caller_burst, subjects_max: 1024 }
}
