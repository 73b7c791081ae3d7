//! One address in front of several servers, as a Service is.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// How long a server may take to say that it is ready.
const PROBE: Duration = Duration::from_secs(1);

/// A server that connections may be handed to.
#[derive(Clone, Copy, Debug)]
pub struct Backend {
    /// Where it serves.
    pub serves: SocketAddr,
    /// Where it answers `/readyz`; without, it is ready where it listens.
    pub admin: Option<SocketAddr>,
}

/// Hands connections on, in turn, until it is dropped.
///
/// A server that is not ready is passed over: that is what a Service does once it has heard of it, and here it is heard of
/// at once. What is under way is not moved.
pub struct Balancer {
    /// Where it listens.
    pub address: SocketAddr,
    _accepting: AbortOnDropHandle<()>,
}

impl Balancer {
    /// Listens on a port of its own of `host`, and begins with the server at `first`.
    pub async fn start(host: IpAddr, behind: Vec<Backend>, first: usize) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, _accepting: AbortOnDropHandle::new(TaskTracker::new().spawn(accept(listener, behind, first))) }
    }
}

async fn accept(listener: TcpListener, behind: Vec<Backend>, first: usize) {
    let tasks = TaskTracker::new();
    for turn in first.. {
        let (mut near, _) = listener.accept().await.unwrap();
        let at = turn % behind.len();
        let turn = [&behind[at..], &behind[..at]].concat();
        tasks.spawn(async move {
            for server in turn {
                if is_ready(server).await
                    && let Ok(mut far) = TcpStream::connect(server.serves).await
                {
                    // Both ends see how it ends; there is nobody else to tell.
                    drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                    return;
                }
            }
        });
    }
}

async fn is_ready(server: Backend) -> bool {
    let Some(admin) = server.admin else { return true };
    let asked = async {
        let mut stream = TcpStream::connect(admin).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
        let mut said = [0; 12];
        stream.read_exact(&mut said).await?;
        Ok::<_, std::io::Error>(&said == b"HTTP/1.1 200")
    };
    matches!(tokio::time::timeout(PROBE, asked).await, Ok(Ok(true)))
}
