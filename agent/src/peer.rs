//! The process at the other end of a connection, as the kernel reports it (`SO_PEERCRED`, `unix(7)`).

/// Credentials of a socket peer at the time of its `connect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective uid.
    pub uid: u32,
    /// Effective gid.
    pub gid: u32,
    /// Process id; none where it means nothing to us: 0 is a process of another pid namespace.
    pub pid: Option<i32>,
}

impl Peer {
    /// The peer of a connected socket.
    ///
    /// # Errors
    /// The kernel's, as it is.
    pub fn of(stream: &tokio::net::UnixStream) -> std::io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid().filter(|pid| *pid > 0) })
    }
}
