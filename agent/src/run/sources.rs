//! Who calls, who decides and where values live: what the configuration chose, made.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::file::{DevGrants, FileGrants};
use crate::access::kubernetes::KubernetesRbac;
use crate::access::{PermissionProvider, Subject};
use crate::backend::Backend;
use crate::backend::deadline::Deadlines;
use crate::backend::embedded::Embedded;
use crate::backend::kubernetes::KubernetesSecrets;
use crate::backend::observed::Observed;
use crate::clock::Clock;
use crate::config::{BackendConfig, Config, IdentityKind, Permissions};
use crate::identity::Identity;
use crate::identity::pod::PodIdentity;
use crate::kubernetes::{Address, ApiServer};
use crate::metrics::Metrics;

/// A provider, and the file behind it where there is one.
pub(super) type Provider = (Arc<dyn PermissionProvider>, Option<Arc<FileGrants>>);

/// The API server, where anything needs it.
pub(super) fn api_server(config: &Config, address: &Address) -> anyhow::Result<Option<ApiServer>> {
    let needed = config.identity.kind == IdentityKind::Pod
        || config.permissions == Permissions::Kubernetes
        || matches!(config.backend, BackendConfig::Kubernetes(_));
    if !needed {
        return Ok(None);
    }
    Ok(Some(ApiServer::new(address, &config.identity.token_dir)?))
}

pub(super) fn permissions(config: &Config, api_server: Option<&ApiServer>) -> anyhow::Result<Provider> {
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

pub(super) fn backend(
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
            Arc::new(Embedded::open(super::settings::embedded(config, embedded), catalogue, generator)?)
        }
        (BackendConfig::Kubernetes(kubernetes), Some(api)) => Arc::new(KubernetesSecrets::new(
            api.clone(),
            super::settings::kubernetes(config, kubernetes),
            catalogue,
            generator,
            tasks.clone(),
            stop.clone(),
        )),
        (BackendConfig::Kubernetes(_), None) => anyhow::bail!("backend kubernetes without an API server"),
    };
    let observed = Observed::new(backend, metrics.clone(), Arc::clone(up));
    Ok(Arc::new(Deadlines::new(Arc::new(observed), super::settings::deadlines(config), tasks.clone())))
}

/// Ends with the reason why nobody can be identified here at all; otherwise never.
pub(super) type Identified = Pin<Box<dyn Future<Output = anyhow::Error> + Send>>;

pub(super) fn identify(
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
