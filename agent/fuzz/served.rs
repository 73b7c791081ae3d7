//! The whole server on a socket of its own, for inputs that are bytes of a connection.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cloakroom_agent::listener::{ListenSettings, bind};
use cloakroom_agent::peer::Peer;
use cloakroom_agent::server::{
    AnswerBody, Handler, InFlight, Refusal, RequestBody, ServerMetrics, ServerSettings, serve,
};
use http::{Request, Response, StatusCode};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

struct Counting {
    handled: Arc<AtomicU64>,
}

impl Handler for Counting {
    type Caller = ();

    fn admit(&self, _peer: Peer) -> Option<()> {
        Some(())
    }

    async fn handle(&self, _caller: &Arc<()>, request: Request<RequestBody>) -> Response<AnswerBody> {
        self.handled.fetch_add(1, Ordering::SeqCst);
        match request.into_body().read().await {
            Ok(_) => Response::new(AnswerBody::default()),
            Err(_) => status(StatusCode::BAD_REQUEST),
        }
    }

    fn refuse(&self, _refusal: Refusal) -> Response<AnswerBody> {
        status(StatusCode::BAD_REQUEST)
    }

    fn panicked(&self) -> Response<AnswerBody> {
        status(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

fn status(status: StatusCode) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::default());
    *response.status_mut() = status;
    response
}

struct Running {
    socket: PathBuf,
    handled: Arc<AtomicU64>,
}

static SERVER: OnceLock<Running> = OnceLock::new();

fn start() -> Running {
    let directory = std::env::temp_dir().join(format!("cloakroom-fuzz-{}", std::process::id()));
    let socket = directory.join("server.sock");
    let handled = Arc::new(AtomicU64::new(0));
    let (path, counter) = (socket.clone(), Arc::clone(&handled));
    let (ready, started) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime must start");
        runtime.block_on(async {
            let bound = bind(&ListenSettings { socket: path, group: None }).expect("the socket must bind");
            ready.send(()).expect("the fuzzer must wait");
            let settings = ServerSettings {
                connections: 8,
                header_bytes: 16 * 1024,
                header_fields: 64,
                header_timeout: Duration::from_secs(5),
                body_bytes: 64 * 1024,
                body_timeout: Duration::from_secs(5),
                answer_timeout: Duration::from_secs(5),
                drain_timeout: Duration::from_secs(5),
            };
            let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
            let counting = Arc::new(Counting { handled: counter });
            let metrics = ServerMetrics::default();
            serve(bound, settings, counting, InFlight::new(1 << 20), tasks, stop, metrics).await
        })
    });
    started.recv().expect("the server must start");
    Running { socket, handled }
}

/// Sends the bytes and nothing more; how many requests were handled, and everything that came back.
pub(crate) fn talk(bytes: &[u8]) -> (u64, Vec<u8>) {
    let server = SERVER.get_or_init(start);
    let before = server.handled.load(Ordering::SeqCst);
    let mut stream = UnixStream::connect(&server.socket).expect("the server must listen");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out must be settable");
    // A server that has refused already may have closed.
    let _refused = stream.write_all(bytes);
    let _gone = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => {
            let waited = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
            assert!(!waited, "the server keeps a connection that has ended");
        }
    }
    (server.handled.load(Ordering::SeqCst) - before, answer)
}
