//! The wire: connections with or without TLS, one exchange after the other, and ends that are none.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::certificate::Certificates;
use super::core::Core;
use super::door::Door;
use super::fault::Fault;
use super::gate::Moment;
use super::log::{Call, Side};
use super::request::Asked;
use super::wire::{self, Body};

/// What one address serves.
pub(super) struct Served {
    pub(super) core: Arc<Core>,
    pub(super) side: Side,
    pub(super) door: Arc<Door>,
    /// None for plain HTTP.
    pub(super) certificates: Option<Arc<Certificates>>,
}

/// Accepts until the handle is dropped; the connections end with it.
pub(super) fn run(
    served: Served,
    mut listeners: mpsc::UnboundedReceiver<std::net::TcpListener>,
) -> AbortOnDropHandle<()> {
    let served = Arc::new(served);
    AbortOnDropHandle::new(TaskTracker::new().spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Some(listener) = listeners.recv().await {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                while connections.try_join_next().is_some() {}
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let served = Arc::clone(&served);
                        connections.spawn(async move { connection(&served, stream).await });
                    }
                    Err(_) if served.door.is_open() => tokio::task::yield_now().await,
                    Err(_) => break,
                }
            }
        }
    }))
}

async fn connection(served: &Arc<Served>, stream: TcpStream) {
    let mut cuts = served.door.cuts();
    let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return };
    let _quick = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    if served.core.faults.stalls(served.side) {
        return stall(stream, &mut cuts).await;
    }
    match served.certificates.as_ref().map(|certificates| certificates.config()) {
        None => exchanges(served, stream, &reset, &mut cuts).await,
        Some(config) => {
            // Who does not trust us, or leaves, is what some tests are about.
            let accepted = tokio::select! {
                accepted = TlsAcceptor::from(config).accept(stream) => accepted,
                _ = cuts.changed() => return,
            };
            if let Ok(stream) = accepted {
                exchanges(served, stream, &reset, &mut cuts).await;
            }
        }
    }
    if reset.load(Ordering::SeqCst) {
        abort(socket);
    }
}

/// Reads and says nothing until the other side gives up.
async fn stall(mut stream: TcpStream, cuts: &mut watch::Receiver<u64>) {
    let mut heard = [0; 1024];
    loop {
        tokio::select! {
            read = stream.read(&mut heard) => match read {
                Ok(1..) => {}
                _ => return,
            },
            _ = cuts.changed() => return,
        }
    }
}

/// Closes the last handle of a socket with a reset.
fn abort(socket: OwnedFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&socket, sockopt::Linger, &linger).unwrap();
    drop(socket);
}

async fn exchanges<S>(served: &Arc<Served>, stream: S, reset: &Arc<AtomicBool>, cuts: &mut watch::Receiver<u64>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let (served, reset) = (Arc::clone(served), Arc::clone(reset));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            let asked = Arc::new(Asked::new(served.side, parts, body, served.door.address.ip()));
            exchange(&served.core, &asked, &reset).await
        }
    });
    let mut http = http1::Builder::new();
    http.auto_date_header(false).title_case_headers(true);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = connection => drop(ended),
        _ = cuts.changed() => {}
    }
}

async fn exchange(core: &Arc<Core>, asked: &Arc<Asked>, reset: &AtomicBool) -> io::Result<Response<Body>> {
    core.log.push(Call {
        endpoint: asked.kind(),
        side: asked.side,
        method: asked.method.to_string(),
        path_and_query: asked.target(),
        subject: core.tokens.subject(asked.header("authorization")),
        time: core.clock.instant(),
    });
    let _flight = core.log.enter();
    let fault = core.faults.take(asked);
    match &fault {
        Some(Fault::Reset) => {
            reset.store(true, Ordering::SeqCst);
            return Err(cut());
        }
        Some(Fault::StopBeforeEffect) => return Err(cut()),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Delay(by)) => tokio::time::sleep(*by).await,
        _ => {}
    }
    if let Some(answer) = fault.as_ref().and_then(wire::instead) {
        return Ok(answer);
    }
    // A task of its own: a server does what it was asked whether or not anybody waits for the answer.
    let doing = {
        let (core, asked) = (Arc::clone(core), Arc::clone(asked));
        async move { Box::pin(super::route::answer(&core, &asked)).await.finish(&asked) }
    };
    let answer = TaskTracker::new().spawn(doing).await.map_err(io::Error::other)?;
    core.gates.pass(asked, Moment::BeforeAnswer).await;
    match fault {
        Some(Fault::StopAfterEffect) => Err(cut()),
        Some(Fault::SlowBody(rate)) => Ok(wire::slow(&answer, rate)),
        Some(Fault::Truncated) => Ok(wire::truncated(&answer)),
        _ => Ok(wire::whole(answer)),
    }
}

fn cut() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}
