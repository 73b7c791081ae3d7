//! The processes that are compared: started the same way, pinned the same way, measured by the kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cloakroom_tests::cluster::{Account, Cluster};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, getuid};
use tempfile::TempDir;

use crate::client;

/// The application of every bench.
pub(crate) const APP: &str = "/api/v1/onboarding/environments/poc/teams/eni--hyperion/apps/my-app";
/// The secret of every bench.
pub(crate) const SECRET: &str = "/api/v1/secrets/poc:eni--hyperion:my-app:externalSecrets%2Ffoo%2Fpassword:";

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) socket: PathBuf,
    pub(crate) directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which is fine.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The binary beside this one.
pub(crate) fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.exists(), "{} is not built: cargo build --release --workspace", path.display());
    Ok(path)
}

/// Runs what follows on one core, if there are two; what is started meanwhile inherits it.
pub(crate) fn pin(core: usize) -> bool {
    let mut set = CpuSet::new();
    set.set(core).is_ok() && sched_setaffinity(Pid::from_raw(0), &set).is_ok()
}

impl Server {
    /// The bare server, which answers every request with `body`.
    pub(crate) fn bare(body: &str) -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        let socket = directory.path().join("bare.sock");
        let mut command = Command::new(std::env::current_exe()?);
        command.env_clear().arg("bare").arg(&socket).arg(body);
        Self::start(command, socket, directory)
    }

    /// An agent with everything granted to us, and its records in `audit`.
    pub(crate) fn agent(audit: &Path) -> anyhow::Result<Self> {
        Self::agent_in(TempDir::new()?, audit, "")
    }

    /// An agent on what an earlier one left, with more configuration.
    pub(crate) fn agent_in(directory: TempDir, audit: &Path, extra: &str) -> anyhow::Result<Self> {
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (uid, audit) = (getuid(), audit.display());
        let admin = if extra.contains("soak") { format!("unix:{}", path("run/admin.sock")) } else { String::new() };
        let config = format!(
            "listen: {{socket: {}, allowUids: [{uid}], admin: \"{admin}\"}}\n\
             backend: {{kind: embedded, embedded: {{file: {}, keyFile: {}}}}}\n\
             identity: {{kind: uid}}\n\
             permissions: {{kind: file, file: {}}}\n\
             audit: {{sink: file, file: {audit}}}\n\
             cache: {{ttl: 24h}}\n\
             limits: {{callerRate: 100000, callerBurst: 200000}}\n# {extra}\n",
            path("run/agent.sock"),
            path("store.redb"),
            path("store.key"),
            path("grants.yaml"),
        );
        fs::write(directory.path().join("cloakroom.yaml"), config)?;
        fs::write(
            directory.path().join("grants.yaml"),
            format!(
                "grants: [{{subject: \"uid:{uid}\", rights: [secrets_read, secrets_write, onboarding_write], scopes: [\"*\"]}}]\n"
            ),
        )?;
        let mut command = Command::new(beside("cloakroom")?);
        command.env_clear();
        command.args(["agent", "--config"]).arg(directory.path().join("cloakroom.yaml"));
        let socket = directory.path().join("run/agent.sock");
        Self::start(command, socket, directory)
    }

    /// An agent with everything from Kubernetes, as a pod of `account` would have it.
    pub(crate) fn kubernetes_agent(
        program: Option<&Path>,
        cluster: &Cluster,
        account: &Account,
        extra: &str,
    ) -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        let options = cluster.agent_options(account);
        let sources = options.sources.context("no sources")?;
        let socket = directory.path().join("run/agent.sock");
        let config = format!(
            "listen: {{socket: {}, allowUids: [{}], admin: \"\"}}\n{sources}\naudit: {{sink: file, file: /dev/null}}\n\
             limits: {{callerRate: 100000, callerBurst: 200000}}\n{extra}\n",
            socket.display(),
            getuid(),
        );
        fs::write(directory.path().join("cloakroom.yaml"), config)?;
        let mut command = Command::new(program.map_or_else(|| beside("cloakroom"), |path| Ok(path.to_owned()))?);
        command.env_clear().envs(options.environment);
        command.args(["agent", "--config"]).arg(directory.path().join("cloakroom.yaml"));
        Self::start(command, socket, directory)
    }

    /// Waits until the socket is there.
    pub(crate) fn start(mut command: Command, socket: PathBuf, directory: TempDir) -> anyhow::Result<Self> {
        let log = fs::File::create(directory.path().join("log"))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let server = Self { child, socket, directory };
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(&server.socket).is_err() {
            ensure!(Instant::now() < deadline, "{} does not answer", server.socket.display());
            std::thread::yield_now();
        }
        Ok(server)
    }

    /// Ends the server as its supervisor would, and hands its directory over.
    pub(crate) fn into_directory(mut self) -> anyhow::Result<TempDir> {
        nix::sys::signal::kill(Pid::from_raw(self.child.id().try_into()?), nix::sys::signal::Signal::SIGTERM)?;
        self.child.wait()?;
        Ok(std::mem::replace(&mut self.directory, TempDir::new()?))
    }

    /// One request; its body.
    pub(crate) fn ask(&self, request: &[u8]) -> anyhow::Result<String> {
        let answer = client::whole_answer(&mut client::connect(&self.socket)?, request)?;
        let text = String::from_utf8(answer)?;
        let (head, body) = text.split_once("\r\n\r\n").context("no HTTP")?;
        ensure!(head.starts_with("HTTP/1.1 2"), "{head}\n{body}");
        Ok(body.to_owned())
    }

    /// Processor time of all threads so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            nanos += text.split_whitespace().next().map_or(0, |field| field.parse().unwrap_or(0));
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kb(&self) -> anyhow::Result<f64> {
        self.status("VmRSS:")
    }

    pub(crate) fn threads(&self) -> anyhow::Result<f64> {
        self.status("Threads:")
    }

    fn status(&self, field: &str) -> anyhow::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find(|line| line.starts_with(field)).context("no such field")?;
        Ok(line.split_whitespace().nth(1).context("no figure")?.parse()?)
    }

    pub(crate) fn descriptors(&self) -> anyhow::Result<f64> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count() as f64)
    }
}
