//! An address that can be shut and opened again at once, and keeps its port meanwhile.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::sync::Mutex;

use nix::sys::socket::{Shutdown, shutdown};
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, watch};

pub(super) struct Door {
    pub(super) address: SocketAddr,
    /// Bound and never listening: nobody else gets the port while the door is shut.
    _keeper: TcpSocket,
    /// A second handle of the socket that listens now.
    listening: Mutex<Option<TcpListener>>,
    opened: mpsc::UnboundedSender<TcpListener>,
    /// Counts how often all connections were cut.
    cut: watch::Sender<u64>,
}

impl Door {
    /// A door that is open, and what comes through it whenever it is opened.
    pub(super) fn new(address: SocketAddr) -> (Self, mpsc::UnboundedReceiver<TcpListener>) {
        let keeper = TcpSocket::new_v4().unwrap();
        keeper.set_reuseaddr(true).unwrap();
        keeper.bind(address).unwrap();
        let address = keeper.local_addr().unwrap();
        let (opened, listeners) = mpsc::unbounded_channel();
        let door = Self { address, _keeper: keeper, listening: Mutex::new(None), opened, cut: watch::Sender::new(0) };
        door.open();
        (door, listeners)
    }

    /// Listens again. Connections made from now on are kept by the kernel until somebody accepts them.
    pub(super) fn open(&self) {
        let mut listening = self.listening.lock().unwrap();
        if listening.is_none() {
            let listener = TcpListener::bind(self.address).unwrap();
            listener.set_nonblocking(true).unwrap();
            *listening = Some(listener.try_clone().unwrap());
            self.opened.send(listener).unwrap();
        }
    }

    /// Refuses connections from now on, and cuts those that there are.
    pub(super) fn shut(&self) {
        if let Some(listener) = self.listening.lock().unwrap().take() {
            // Ends the listening itself, also for the handle that somebody accepts with at this moment.
            shutdown(listener.as_raw_fd(), Shutdown::Both).unwrap();
        }
        self.cut();
    }

    pub(super) fn is_open(&self) -> bool {
        self.listening.lock().unwrap().is_some()
    }

    /// Ends all connections.
    pub(super) fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    pub(super) fn cuts(&self) -> watch::Receiver<u64> {
        let mut cuts = self.cut.subscribe();
        cuts.mark_unchanged();
        cuts
    }
}
