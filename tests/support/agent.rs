//! A real agent under test: the built binary with a directory, a configuration and a socket of its own.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a start may take before the test gives up on it. Far above what it takes; debug builds and CI are slow.
const START: Duration = Duration::from_secs(20);

/// What a test wants to be different from the plain agent.
#[derive(Clone, Debug)]
pub struct Options {
    /// The text of the grants file.
    pub grants: String,
    /// The blocks backend, identity and permissions; the embedded store, uids and the grants file by default.
    pub sources: Option<String>,
    /// Variables of the environment, which is empty otherwise.
    pub environment: Vec<(String, String)>,
    /// Blocks appended to the configuration, such as `cache: {ttl: 0s}`.
    pub extra: String,
    /// The audit sink; a file in the agent's directory by default.
    pub audit_file: Option<PathBuf>,
    /// Run as this uid and gid; needs root.
    pub uid: Option<u32>,
    /// Limit of descriptors, set before the start.
    pub descriptors: Option<u64>,
    /// Limit of the address space in bytes, set before the start.
    pub address_space: Option<u64>,
    /// Who may connect, beside the agent's own uid.
    pub allow_uids: Vec<u32>,
    /// Log filter.
    pub log: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            grants: grant_everything(own_uid()),
            sources: None,
            environment: Vec::new(),
            extra: String::new(),
            audit_file: None,
            uid: None,
            descriptors: None,
            address_space: None,
            allow_uids: Vec::new(),
            log: "info",
        }
    }
}

/// Grants of all rights everywhere to one uid.
pub fn grant_everything(uid: u32) -> String {
    format!(
        "grants:\n  - {{subject: \"uid:{uid}\", rights: [secrets_read, secrets_write, onboarding_write], scopes: [\"*\"]}}\n"
    )
}

/// The uid that the tests run as.
pub fn own_uid() -> u32 {
    nix::unistd::getuid().as_raw()
}

/// The product's binary, built by the same cargo call as the tests.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("cloakroom");
    assert!(path.exists(), "{} is not built: run the tests with --workspace", path.display());
    path
}

/// A running agent; killed when dropped.
pub struct Agent {
    child: Child,
    directory: TempDir,
    options: Options,
}

impl Agent {
    /// Starts an agent and waits until its socket answers.
    pub fn start(options: Options) -> Self {
        let directory = TempDir::new().unwrap();
        Self::start_in(directory, options)
    }

    /// Starts an agent on what an earlier one left behind.
    pub fn start_in(directory: TempDir, options: Options) -> Self {
        let mut agent = Self { child: spawn(directory.path(), &options), directory, options };
        agent.wait_until_it_answers();
        agent
    }

    /// Starts an agent that is expected to refuse; its exit code and what it said.
    pub fn refused(options: &Options) -> (Option<i32>, String) {
        let directory = TempDir::new().unwrap();
        let mut child = spawn(directory.path(), options);
        let status = wait_with_deadline(&mut child, START).unwrap_or_else(|| {
            child.kill().unwrap();
            panic!("the agent started although it must refuse");
        });
        (status.code(), fs::read_to_string(directory.path().join("stderr")).unwrap_or_default())
    }

    fn wait_until_it_answers(&mut self) {
        let deadline = Instant::now() + START;
        // The admin socket comes last.
        while [self.socket(), self.admin()].iter().any(|socket| UnixStream::connect(socket).is_err()) {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the agent ended with {status}: {}", self.log());
            }
            assert!(Instant::now() < deadline, "the agent does not answer: {}", self.log());
            std::thread::yield_now();
        }
    }

    /// The API's socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("run/agent.sock")
    }

    /// The admin socket.
    pub fn admin(&self) -> PathBuf {
        self.directory.path().join("run/admin.sock")
    }

    /// The agent's directory, with store, configuration, audit and log.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The grants file; writing it must reach the agent.
    pub fn grants(&self) -> PathBuf {
        self.directory.path().join("grants.yaml")
    }

    /// The audit records so far.
    pub fn audit(&self) -> Vec<serde_json::Value> {
        let path = self.options.audit_file.clone().unwrap_or_else(|| self.directory.path().join("audit.jsonl"));
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What the agent wrote to its standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default()
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Waits for the end; none if it does not come.
    pub fn wait(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        wait_with_deadline(&mut self.child, limit)
    }

    /// Kills the agent without warning and starts it again on the same directory.
    pub fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.directory.path(), &self.options);
        self.wait_until_it_answers();
    }

    /// Kills the agent and hands its directory over.
    pub fn into_directory(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.directory, TempDir::new().unwrap())
    }

    /// A field of /proc/PID/status in kB.
    pub fn status_kb(&self, field: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already, which is fine.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Polls for the end of `child`.
pub fn wait_with_deadline(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        pause();
    }
}

/// Calls `probe` until it is true.
pub fn eventually(limit: Duration, what: &str, mut probe: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !probe() {
        assert!(Instant::now() < deadline, "{what} did not happen within {limit:?}");
        pause();
    }
}

/// Gives other processes the core for a moment: for conditions outside this process there is no event to wait for.
fn pause() {
    std::thread::park_timeout(Duration::from_millis(5));
}

fn spawn(directory: &Path, options: &Options) -> Child {
    let uid = options.uid.unwrap_or_else(own_uid);
    write_inputs(directory, options, uid);
    let mut limits = String::from("umask 022; ");
    if let Some(count) = options.descriptors {
        limits.push_str(&format!("ulimit -n {count}; "));
    }
    if let Some(bytes) = options.address_space {
        limits.push_str(&format!("ulimit -v {}; ", bytes / 1024));
    }
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{limits}exec \"$@\""), "sh"])
        .arg(binary())
        .args(["agent", "--config"])
        .arg(directory.join("cloakroom.yaml"))
        .env_clear()
        .env("CLOAKROOM_LOG", options.log)
        .envs(options.environment.clone())
        .stdin(Stdio::null())
        .stdout(fs::File::create(directory.join("stdout")).unwrap())
        .stderr(fs::OpenOptions::new().create(true).append(true).open(directory.join("stderr")).unwrap());
    if uid != own_uid() {
        use std::os::unix::process::CommandExt as _;
        command.uid(uid).gid(uid);
    }
    command.spawn().unwrap()
}

fn write_inputs(directory: &Path, options: &Options, uid: u32) {
    let path = |name: &str| directory.join(name).display().to_string();
    let audit = options.audit_file.as_ref().map_or_else(|| path("audit.jsonl"), |file| file.display().to_string());
    let uids: Vec<String> = std::iter::once(uid).chain(options.allow_uids.clone()).map(|uid| uid.to_string()).collect();
    let on_a_single_host = || {
        format!(
            "backend: {{kind: embedded, embedded: {{file: {}, keyFile: {}}}}}\n\
             identity: {{kind: uid}}\n\
             permissions: {{kind: file, file: {}}}",
            path("store.redb"),
            path("store.key"),
            path("grants.yaml"),
        )
    };
    let sources = options.sources.clone().unwrap_or_else(on_a_single_host);
    let config = format!(
        "listen: {{socket: {}, allowUids: [{}], admin: \"unix:{}\"}}\n\
         {sources}\n\
         audit: {{sink: file, file: {audit}}}\n{}\n",
        path("run/agent.sock"),
        uids.join(", "),
        path("run/admin.sock"),
        options.extra,
    );
    fs::write(directory.join("cloakroom.yaml"), config).unwrap();
    if !directory.join("grants.yaml").exists() {
        fs::write(directory.join("grants.yaml"), &options.grants).unwrap();
    }
    if uid != own_uid() {
        nix::unistd::chown(directory, Some(uid.into()), Some(uid.into())).unwrap();
        let mut permissions = fs::metadata(directory).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
        fs::set_permissions(directory, permissions).unwrap();
    }
}

/// Everything that can be read from `stream` until it ends or `limit` passes without a byte.
pub fn read_to_end(stream: &mut UnixStream, limit: Duration) -> Vec<u8> {
    stream.set_read_timeout(Some(limit)).unwrap();
    let mut bytes = Vec::new();
    // A reset or a time-out ends the reading as an end of file does: what was read is the answer.
    let _ended = stream.read_to_end(&mut bytes);
    bytes
}
