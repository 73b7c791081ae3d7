//! Puts an injector together from its options, and takes it apart again in the right order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cloakroom_agent::admin::{AdminAddress, AdminListener, AdminState};
use cloakroom_agent::clock::Clock;
use cloakroom_agent::kubernetes::{Address, ApiServer, TooOld};
use cloakroom_agent::shutdown::Signals;
use rustls::crypto::CryptoProvider;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::certificate::Lifetimes;
use crate::certificate::files::Pair;
use crate::certificate::serving::Serving;
use crate::metrics::{self, ReviewMetrics};
use crate::profile::Settings;
use crate::publish::{Keeper, Names, Publication};
use crate::readiness::Readiness;
use crate::server::{self, webhook::Webhook};
use crate::watch::{self, Tally};

/// Where certificates come from.
#[derive(Clone, Debug)]
pub enum Certificates {
    /// From us, shared with the other replicas.
    Own {
        /// Where they are shared and published.
        names: Names,
        /// How long they live.
        lifetimes: Lifetimes,
    },
    /// From somebody else: `tls.crt` and `tls.key` in this directory.
    Files(PathBuf),
}

/// Everything that an injector is started with.
pub struct Options {
    /// What is injected.
    pub settings: Settings,
    /// Where reviews arrive.
    pub listen: SocketAddr,
    /// Where probes and scrapers ask; none for nowhere.
    pub admin: Option<AdminAddress>,
    /// Where the API server is.
    pub api_server: Address,
    /// `token` and `ca.crt` of our service account.
    pub token_directory: PathBuf,
    /// Where certificates come from.
    pub certificates: Certificates,
    /// Our own namespace.
    pub namespace: String,
    /// Whether pods without an agent are counted.
    pub count_pods: bool,
    /// From the signal to the last new connection: what the cluster needs to send nobody here any more.
    pub drain_delay: Duration,
}

/// Runs until a signal. `started` is told where reviews arrive.
///
/// # Errors
/// Why it could not start, or that a second signal cut the drain short.
pub async fn injector(options: Options, started: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (draining, stop) = (CancellationToken::new(), CancellationToken::new());
    let signals = Signals::install(draining.clone()).context("taking over the signals")?;
    let (serving, tally, tasks) = (Arc::<Serving>::default(), Arc::<Tally>::default(), TaskTracker::new());

    let api = api_server(&options)?;
    if let (true, Some(api)) = (options.count_pods, &api) {
        let counting = watch::keep(api.clone(), Arc::clone(&tally), options.namespace.clone(), stop.clone());
        tasks.spawn(counting);
    }
    let supported = CancellationToken::new();
    let publication = keep_certificates(&options, api.clone(), &provider, &serving, &tasks, &supported, &stop);
    let reviews = ReviewMetrics::default();
    let readiness = Readiness::new(Arc::clone(&serving), publication, Arc::clone(&tally));
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another address with --listen", options.listen))?;
    let address = listener.local_addr().context("asking where we listen")?;
    if let Some(admin) = &options.admin {
        let registry = metrics::registry(&reviews, Arc::clone(&serving), Arc::clone(&tally));
        let ready = Arc::clone(&readiness);
        let state = AdminState {
            registry,
            draining: draining.clone(),
            ready: Box::new(move || ready.is_ready()),
            status: Some(Box::new(move || readiness.status())),
        };
        let admin = AdminListener::bind(admin).await.context("--admin")?;
        tasks.spawn(admin.serve(Arc::new(state), tasks.clone(), stop.clone()));
    }
    let drain_delay = options.drain_delay;
    let tls = server::tls(serving, provider).context("preparing TLS")?;
    let webhook = Webhook::new(options.settings, reviews);
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "injector is listening");
    started(address);

    let serve = async {
        let closing = CancellationToken::new();
        let until = async {
            draining.cancelled().await;
            // Readiness has failed already. Until every API server has heard of it, new connections still come here.
            tokio::time::sleep(drain_delay).await;
            closing.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = server::serve(listener, tls, webhook, draining.clone(), closing.clone()) => {}
            () = until => {}
        }
    };
    let on_hangup = || tracing::info!("SIGHUP: nothing to read again; new settings come with a new process");
    let served = tokio::select! {
        () = serve => Ok(()),
        too_old = too_old(api, supported) => Err(too_old.into()),
        aborted = signals.run(on_hangup) => Err(anyhow::Error::from(aborted)),
    };
    stop.cancel();
    tracing::info!("injector has stopped");
    served
}

/// The API server; none where nothing is asked of it and there are no credentials either.
fn api_server(options: &Options) -> anyhow::Result<Option<ApiServer>> {
    let is_needed = options.count_pods || matches!(options.certificates, Certificates::Own { .. });
    match ApiServer::new(&options.api_server, &options.token_directory) {
        Ok(api) => Ok(Some(api)),
        Err(_) if !is_needed => Ok(None),
        Err(error) => Err(error).with_context(|| {
            format!("no credentials for the API server in {} (--token-dir)", options.token_directory.display())
        }),
    }
}

/// Returns where the API server has said that it is too old: there a native sidecar is an init container that never ends.
/// One that is new enough cancels `supported`.
async fn too_old(api: Option<ApiServer>, supported: CancellationToken) -> TooOld {
    if let Some(api) = api {
        match api.is_supported().await {
            Err(too_old) => return too_old,
            Ok(()) => supported.cancel(),
        }
    }
    std::future::pending().await
}

/// Starts what looks after certificates; the publication, where that is ours. Nothing is written before `supported`.
fn keep_certificates(
    options: &Options,
    api: Option<ApiServer>,
    provider: &Arc<CryptoProvider>,
    serving: &Arc<Serving>,
    tasks: &TaskTracker,
    supported: &CancellationToken,
    stop: &CancellationToken,
) -> Option<Arc<Publication>> {
    match (&options.certificates, api) {
        (Certificates::Own { names, lifetimes }, Some(api)) => {
            let publication = Publication::new(Clock::Boot);
            let (provider, serving) = (Arc::clone(provider), Arc::clone(serving));
            let keeper = Keeper::new(api, names.clone(), *lifetimes, provider, serving, Arc::clone(&publication));
            let (supported, stop) = (supported.clone(), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = supported.cancelled() => keeper.keep(stop.clone()).await,
                }
            });
            Some(publication)
        }
        (Certificates::Files(directory), _) => {
            let pair = Pair::new(directory.clone(), Arc::clone(provider));
            tasks.spawn(pair.keep(Arc::clone(serving), stop.clone()));
            None
        }
        (Certificates::Own { .. }, None) => None,
    }
}
