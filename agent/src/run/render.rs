//! Files of an agent while it runs, and of a pipeline or an init container once.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::parts::Parts;
use super::sources;
use crate::access::{AccessError, Subject};
use crate::config::Config;
use crate::identity::{Caller, Identity};
use crate::kubernetes::Address;
use crate::operations::Context;
use crate::peer::Peer;
use crate::render::{Board, FailedFile, Renderer};
use crate::request_id::RequestIds;

/// How long a start waits for the API server to say who we are. After it, files are tried and fail with the reason.
const IDENTIFIED: Duration = Duration::from_secs(5);

/// How often it is looked whether it has.
const TICK: Duration = Duration::from_millis(20);

/// Renders every file of `config` once, and answers with those that failed. What cannot be had at the moment is tried
/// again for as long as `wait`.
///
/// # Errors
/// Whatever kept it from beginning.
pub async fn render(config: Config, address: Address, wait: Duration) -> anyhow::Result<Vec<FailedFile>> {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let board = Board::default();
    let renderer = Renderer::open(config.render.clone(), config.listen.group, board.clone())?;
    let parts = Parts::open(&config, &address, &mut Registry::default(), &tasks, &stop)?;
    let (identity, _identified) = sources::identify(&config, parts.api_server.as_ref(), &tasks, &stop);
    let who = who(&identity)?;
    identified(&who).await;
    renderer.once(&parts.operations, who, wait).await;
    stop.cancel();
    tasks.close();
    // What is on its way to a record gets there: a file that was written has one.
    let rest = tokio::time::timeout(config.limits.request_timeout, tasks.wait());
    drop(rest.await);
    Ok(board.failures())
}

/// Keeps the files of `config` as they should be, beside everything else.
pub(super) fn start(
    renderer: Renderer,
    parts: &Parts,
    identity: &Identity,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let who = who(identity)?;
    let (operations, bell) = (Arc::clone(&parts.operations), parts.bell.clone());
    let (spawner, stopping) = (tasks.clone(), stop.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = identified(&who) => renderer.start(&operations, who, &bell, &spawner, &stopping),
        }
    });
    Ok(())
}

/// Who the agent itself is, each time it is asked.
fn who(identity: &Identity) -> anyhow::Result<impl Fn() -> Context + Send + Sync + 'static> {
    let ids = RequestIds::new().map_err(|_| anyhow::anyhow!("the system's random source failed"))?;
    let pod = match identity {
        Identity::Uid(_) => None,
        Identity::Pod(pod, _) => Some(Arc::clone(pod)),
    };
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    // In a pod, process ids mean nothing outside a container.
    let pid = pod.is_none().then(|| nix::unistd::getpid().as_raw());
    let peer = Peer { uid, gid, pid };
    Ok(move || {
        let caller = match &pod {
            None => Caller::new(Subject::from_uid(uid).ok_or(AccessError::NotAuthenticated), None, peer),
            Some(pod) => {
                let (subject, name) = pod.now();
                Caller::new(subject, name.as_deref(), peer)
            }
        };
        Context { request: ids.next(), caller: Arc::new(caller) }
    })
}

/// Waits until it is known who we are, or for so long that it will not be soon.
async fn identified(who: &impl Fn() -> Context) {
    let known = async {
        while who().caller.subject().is_err_and(|error| error == AccessError::Unavailable) {
            tokio::time::sleep(TICK).await;
        }
    };
    drop(tokio::time::timeout(IDENTIFIED, known).await);
}
