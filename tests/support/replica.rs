//! The injector's binary as a process: started with arguments as a Deployment has them, looked at through its admin
//! port, stopped, killed and started again in its place.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::agent::eventually;
use crate::balancer::Backend;
use crate::injector::injector_binary;

/// Far more than a start takes: the first of several replicas makes the certificates, and the others wait for it.
const START: Duration = Duration::from_mins(1);

/// What a replica is started with, but for its addresses and its settings.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// After `serve`.
    pub arguments: Vec<String>,
    /// All of its environment.
    pub environment: Vec<(String, String)>,
}

/// One process; killed when it is dropped.
pub struct Replica {
    child: Child,
    arguments: Arguments,
    directory: TempDir,
    /// What else has to be there as long as it runs.
    mounted: Option<TempDir>,
    /// Where reviews arrive.
    pub listen: SocketAddr,
    /// Where it is looked at.
    pub admin: SocketAddr,
}

impl Replica {
    /// Starts one and does not wait for it.
    pub fn start(settings: &str, arguments: Arguments) -> Self {
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("injector.yaml"), settings).unwrap();
        let (listen, admin) = (free_address(), free_address());
        let child = spawn(directory.path(), &arguments, listen, admin);
        Self { child, arguments, directory, mounted: None, listen, admin }
    }

    /// As [`Replica::start`], with a certificate as cert-manager mounts one; its authority.
    pub fn with_pair(settings: &str, drain_delay: &str) -> (Self, String) {
        let mounted = TempDir::new().unwrap();
        let made = rcgen::generate_simple_self_signed(["injector.cloakroom.svc".to_owned()]).unwrap();
        std::fs::write(mounted.path().join("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(mounted.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        let directory = format!("--certificate-dir={}", mounted.path().display());
        let arguments = ["--namespace=cloakroom", "--without-pod-count", "--drain-delay", drain_delay, &directory];
        let arguments = Arguments { arguments: arguments.map(str::to_owned).into(), environment: Vec::new() };
        let mut replica = Self::start(settings, arguments);
        replica.mounted = Some(mounted);
        replica.becomes_ready();
        (replica, made.cert.pem())
    }

    /// As a Service knows it.
    pub fn as_backend(&self) -> Backend {
        Backend { serves: self.listen, admin: Some(self.admin) }
    }

    /// Waits until it is ready.
    pub fn becomes_ready(&self) {
        eventually(START, &format!("{} is ready", self.listen), || self.is_ready());
    }

    /// What a kubelet would say of it.
    pub fn is_ready(&self) -> bool {
        self.get("/readyz").is_some_and(|said| said.starts_with("HTTP/1.1 200"))
    }

    /// What its admin port answers, head and body; none where nobody answers.
    pub fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect_timeout(&self.admin, Duration::from_secs(5)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ok()?;
        let mut said = String::new();
        stream.read_to_string(&mut said).ok()?;
        Some(said)
    }

    /// What it has logged since its last start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end, which must come.
    pub fn wait(&mut self) -> ExitStatus {
        eventually(START, "it ends", || !self.is_running());
        self.child.wait().unwrap()
    }

    /// SIGKILL, in the middle of whatever it does.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Starts it again, as a kubelet does, in the same place; the one before must have ended.
    pub fn start_again(&mut self) {
        self.child = spawn(self.directory.path(), &self.arguments, self.listen, self.admin);
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(directory: &Path, arguments: &Arguments, listen: SocketAddr, admin: SocketAddr) -> Child {
    Command::new(injector_binary())
        .env_clear()
        .envs(arguments.environment.iter().map(|(name, value)| (name, value)))
        .arg("serve")
        .args(&arguments.arguments)
        .arg("--config")
        .arg(directory.join("injector.yaml"))
        .args(["--listen", &listen.to_string(), "--admin", &admin.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(directory.join("log")).unwrap())
        .spawn()
        .unwrap()
}

/// An address that was free a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
