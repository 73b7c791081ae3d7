//! Starts the binary without an environment, and stands in for an agent that answers one request.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

use tempfile::TempDir;

pub(crate) const ID: &str = "poc:eni--hyperion:my-app:externalSecrets/foo/password:";
pub(crate) const ESCAPED: &str = "poc%3Aeni%2D%2Dhyperion%3Amy%2Dapp%3AexternalSecrets%2Ffoo%2Fpassword%3A";

pub(crate) fn cloakroom<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

pub(crate) fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    cloakroom(arguments).output().unwrap()
}

pub(crate) fn run_with(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input may be gone already; what it said is what counts.
    drop(child.stdin.take().unwrap().write_all(input));
    child.wait_with_output().unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Answers one request on a socket of its own, and gives the request back.
pub(crate) struct FakeAgent {
    directory: TempDir,
    thread: JoinHandle<String>,
}

impl FakeAgent {
    pub(crate) fn answering(status: &str, body: impl Into<String>) -> Self {
        let directory = TempDir::new().unwrap();
        let listener = UnixListener::bind(directory.path().join("agent.sock")).unwrap();
        let body = body.into();
        let length = if status == "204" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let answer = format!("HTTP/1.1 {status} X\r\nX-Request-Id: r-1\r\n{length}\r\n{body}");
        let thread = std::thread::spawn(move || {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") {
                assert_ne!(stream.read_line(&mut request).unwrap(), 0, "{request}");
            }
            let head = request.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let mut content = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
            stream.read_exact(&mut content).unwrap();
            request.push_str(&String::from_utf8(content).unwrap());
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            request
        });
        Self { directory, thread }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = cloakroom(["--socket".as_ref(), self.socket().as_os_str()]);
        command.args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The request line, and the body.
    pub(crate) fn request(self) -> (String, String) {
        let (line, _, body) = self.request_with_head();
        (line, body)
    }

    /// The request line, the whole head in lower case, and the body.
    pub(crate) fn request_with_head(self) -> (String, String, String) {
        let request = self.thread.join().unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let lower = format!("{}\r\n", head.to_ascii_lowercase());
        assert_eq!(lower.matches("\r\nhost: localhost").count(), 1, "{head}");
        (head.lines().next().unwrap().to_owned(), lower, body.to_owned())
    }
}
