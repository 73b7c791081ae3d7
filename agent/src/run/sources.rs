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
use crate::backend::conjur::ConjurVariables;
use crate::backend::deadline::Deadlines;
use crate::backend::embedded::Embedded;
use crate::backend::kubernetes::KubernetesSecrets;
use crate::backend::observed::Observed;
use crate::clock::Clock;
use crate::config::{BackendConfig, Config, ConjurConfig, IdentityKind, LeaseConfig, Permissions};
use crate::conjur::Conjur;
use crate::identity::Identity;
use crate::identity::pod::PodIdentity;
use crate::kubernetes::{Address, ApiServer};
use crate::lease::Leases;
use crate::metrics::{Metrics, TokenExpiry};

/// A provider, and the file behind it where there is one.
pub(super) type Provider = (Arc<dyn PermissionProvider>, Option<Arc<FileGrants>>);

/// The API server, where anything needs it.
pub(super) fn api_server(config: &Config, address: &Address) -> anyhow::Result<Option<ApiServer>> {
    let needed = config.identity.kind == IdentityKind::Pod
        || config.permissions == Permissions::Kubernetes
        || match &config.backend {
            BackendConfig::Embedded(_) => false,
            BackendConfig::Kubernetes(_) => true,
            BackendConfig::Conjur(conjur) => conjur.lease != LeaseConfig::None,
        };
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
    (metrics, up, tokens): (&Metrics, &Arc<AtomicBool>, &mut TokenExpiry),
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
        (BackendConfig::Conjur(conjur), _) => {
            let leases = leases(config, conjur, api_server, tasks)?;
            let settings = super::settings::conjur_backend(config, conjur);
            let client = Conjur::new(super::settings::conjur(config, conjur), tasks.clone())?;
            tokens.add("conjur", {
                let client = client.clone();
                move || client.login_expiry()
            });
            let slots = (catalogue, generator);
            Arc::new(ConjurVariables::new(client, settings, slots, leases, tasks.clone(), stop.clone()))
        }
    };
    let observed = Observed::new(backend, metrics.clone(), Arc::clone(up));
    Ok(Arc::new(Deadlines::new(Arc::new(observed), super::settings::deadlines(config), tasks.clone())))
}

fn leases(
    config: &Config,
    conjur: &ConjurConfig,
    api_server: Option<&ApiServer>,
    tasks: &TaskTracker,
) -> anyhow::Result<Leases> {
    let (LeaseConfig::Kubernetes { namespace }, Some(api)) = (&conjur.lease, api_server) else {
        return Ok(Leases::none());
    };
    let namespace = lease_namespace(config, namespace.as_deref())?;
    // The name of the pod, as the kubelet gives it to every container: only for people to read.
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    Leases::kubernetes(api.clone(), namespace, &host, tasks.clone())
        .map_err(|_| anyhow::anyhow!("the system's random source failed"))
}

/// Where the Leases are: as configured, or where the pod is.
pub(super) fn lease_namespace(config: &Config, configured: Option<&str>) -> anyhow::Result<String> {
    if let Some(namespace) = configured {
        return Ok(namespace.to_owned());
    }
    let file = config.identity.token_dir.join("namespace");
    let own = std::fs::read_to_string(&file).with_context(|| {
        format!("backend.conjur.lease.namespace: not given, and cannot read the pod's own in {}", file.display())
    })?;
    Ok(own.trim().to_owned())
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
