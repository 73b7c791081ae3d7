//! `cloakroom exec` under test: an agent with values, the command line in front of a program, and what became of both.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::agent::{Agent, Options, binary, eventually, wait_with_deadline};
use crate::wire::Connection;

/// What every id of these tests begins with.
const SCOPE: &str = "poc:eni--hyperion:my-app";

const ONBOARD: &str = "/api/v1/onboarding/environments/poc/teams/eni--hyperion/apps/my-app";

/// Longer than any program of these tests runs.
const END: Duration = Duration::from_mins(1);

/// The placeholder of a value that [`onboard`] has stored.
pub fn placeholder(key: &str) -> String {
    format!("$<{SCOPE}:externalSecrets/{key}:>")
}

/// An agent that holds these values.
pub fn agent_with(values: &[(&str, &str)]) -> Agent {
    let agent = Agent::start(Options::default());
    onboard(&agent, values);
    agent
}

/// Stores values under `externalSecrets`, or replaces them.
pub fn onboard(agent: &Agent, values: &[(&str, &str)]) {
    // A batch at a time, so that the body stays below its limit.
    for some in values.chunks(10) {
        let secrets: Vec<_> =
            some.iter().map(|(key, value)| json!({"name": format!("externalSecrets/{key}"), "value": value})).collect();
        let body = json!({"strategy": "merge", "secrets": secrets}).to_string();
        let headers = [("content-type", "application/json")];
        let answer = Connection::open(&agent.socket()).request("PUT", ONBOARD, &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }
}

/// Deletes a value.
pub fn delete(agent: &Agent, key: &str) {
    let id = format!("{SCOPE}:externalSecrets/{key}:");
    let id = percent_encoding::utf8_percent_encode(&id, percent_encoding::NON_ALPHANUMERIC);
    let answer = Connection::open(&agent.socket()).request("DELETE", &format!("/api/v1/secrets/{id}"), &[], b"");
    assert_eq!(answer.status, 204);
}

/// Makes a program that it starts begin with signals that are not ignored.
///
/// Tests that run in the background or under nohup have some ignored, and a shell that begins so cannot trap them.
pub fn with_default_signals() -> Command {
    let mut env = Command::new("/usr/bin/env");
    env.arg("--default-signal=HUP,INT,QUIT,PIPE");
    env
}

/// `cloakroom exec` at this socket, with an environment of PATH alone. What follows `--` is the caller's.
pub fn exec(socket: &Path, options: &[&str], command: &[&str]) -> Command {
    let mut exec = with_default_signals();
    exec.arg(binary()).arg("exec").arg("--socket").arg(socket).args(options).arg("--").args(command);
    exec.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::null());
    exec
}

/// Standard error as text.
pub fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A command that runs beside the test; killed when dropped.
pub struct Running {
    child: Child,
    directory: TempDir,
}

impl Running {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let directory = TempDir::new().unwrap();
        let file = |name: &str| fs::File::create(directory.path().join(name)).unwrap();
        command.stdout(file("stdout")).stderr(file("stderr"));
        let mut child = command.spawn();
        // A program that was written a moment ago is busy while a process that another test forks meanwhile has not yet
        // become another program.
        eventually(END, "the program can be run", || {
            let busy = matches!(&child, Err(error) if error.kind() == ErrorKind::ExecutableFileBusy);
            if busy {
                child = command.spawn();
            }
            !busy
        });
        Self { child: child.unwrap(), directory }
    }

    /// The process that was started, which is `exec` or what it became.
    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Its standard output so far.
    pub fn printed(&self) -> String {
        self.text("stdout")
    }

    /// Its standard error so far.
    pub fn said(&self) -> String {
        self.text("stderr")
    }

    /// Waits until the standard output has this.
    pub fn until_printed(&self, text: &str) {
        eventually(END, &format!("the output {text:?}"), || self.printed().contains(text));
    }

    /// Waits until the standard error has this.
    pub fn until_said(&self, text: &str) {
        eventually(END, &format!("the complaint {text:?}"), || self.said().contains(text));
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(self.pid(), signal).unwrap();
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        wait_with_deadline(&mut self.child, END).unwrap_or_else(|| panic!("no end: {}", self.said()))
    }

    fn text(&self, name: &str) -> String {
        let mut text = String::new();
        fs::File::open(self.directory.path().join(name)).unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What runs behind a front would go on without it, and the front passes this on.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _told = nix::sys::signal::kill(self.pid(), nix::sys::signal::Signal::SIGTERM);
            let _ended = wait_with_deadline(&mut self.child, Duration::from_secs(2));
        }
        // It may have ended already, which is fine.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
