//! What an operator wants to have rendered: files of a set, checked and without anything opened.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::content::Content;
use super::format::Format;
use super::place::Destination;
use crate::id::Scope;

/// Files of one directory.
#[derive(Clone, Debug)]
pub struct SetSpec {
    /// The directory, absolute.
    pub directory: PathBuf,
    /// Whether it must be memory.
    pub require_memory: bool,
    /// The files; no two of them collide.
    pub files: Vec<FileSpec>,
}

/// One file.
#[derive(Clone, Debug)]
pub struct FileSpec {
    /// Its name in `/status` and metrics: no other file has it.
    pub name: String,
    /// What it is made of.
    pub source: Source,
    /// Where it stands in its set.
    pub destination: Destination,
    /// How it is written.
    pub format: Format,
    /// Its mode.
    pub mode: u32,
    /// What is done when it has changed.
    pub on_change: Option<OnChange>,
    /// What becomes of it without one of its secrets.
    pub on_missing: OnMissing,
    /// Whether `ready --files` waits for it.
    pub required: bool,
}

/// What a file is made of.
#[derive(Clone, Debug)]
pub enum Source {
    /// What stands in the configuration, read already.
    Inline(Arc<Content>),
    /// A file of this kind.
    File(PathBuf, SourceKind),
}

/// What is in a file that another is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A template.
    Template,
    /// A document with placeholders.
    Document,
}

/// What becomes of a file when one of its secrets is not there, or may not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissing {
    /// It stays as it is, and that is a failure.
    Fail,
    /// It stays as it is, and that is as it should be, if there is one.
    Keep,
    /// There is nothing in it.
    Empty,
}

/// What is done when a file has changed.
#[derive(Clone, Debug)]
pub struct OnChange {
    /// What.
    pub action: Action,
    /// How long nothing must have changed before.
    pub quiet: Duration,
}

/// An action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A POST without a body.
    Http {
        /// To whom.
        to: HttpPlace,
        /// The path and query.
        path: String,
    },
    /// A signal.
    Signal {
        /// To whom.
        to: Process,
        /// Which.
        signal: Signal,
    },
    /// A command, by its absolute path.
    Exec {
        /// The program and its arguments.
        argv: Vec<String>,
    },
}

impl Action {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Http { .. } => "http",
            Self::Signal { .. } => "signal",
            Self::Exec { .. } => "exec",
        }
    }
}

/// Who on this host is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpPlace {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A socket.
    Unix(PathBuf),
}

/// Which process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Process {
    /// Its id stands in this file.
    PidFile(PathBuf),
    /// Each with this name, as the kernel has it.
    Name(String),
}

impl SetSpec {
    /// The scopes that the files are known to use.
    #[must_use]
    pub fn scopes(&self) -> BTreeSet<Scope> {
        let contents = self.files.iter().filter_map(|file| match &file.source {
            Source::Inline(content) => Some(content),
            Source::File(..) => None,
        });
        contents.flat_map(|content| content.ids().iter().map(|id| id.location().scope())).collect()
    }
}

/// Reads `http.url` of `onChange`: a loopback address, or `unix:/PATH` with `:/REQUEST/PATH` behind it.
///
/// No name is looked up: what a name leads to is not decided here, and may change.
#[must_use]
pub fn parse_url(text: &str) -> Option<Action> {
    if text.contains(|character: char| character.is_control() || character == ' ' || !character.is_ascii()) {
        return None;
    }
    if let Some(rest) = text.strip_prefix("unix:") {
        let (socket, path) =
            rest.split_once(":/").map_or((rest, "/".to_owned()), |(socket, path)| (socket, format!("/{path}")));
        let socket = PathBuf::from(socket);
        let fits = socket.is_absolute() && socket.as_os_str().len() < 108 && path_of(&path)?;
        return fits.then_some(Action::Http { to: HttpPlace::Unix(socket), path });
    }
    let rest = text.strip_prefix("http://")?;
    let (authority, path) = match rest.find('/') {
        Some(slash) => (rest.get(..slash)?, rest.get(slash..)?),
        None => (rest, "/"),
    };
    let address = match authority.strip_prefix("localhost") {
        Some("") => "127.0.0.1:80".parse().ok()?,
        Some(port) => format!("127.0.0.1{port}").parse().ok()?,
        None => authority.parse::<SocketAddr>().ok().or_else(|| {
            let host = authority.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(authority);
            Some(SocketAddr::new(host.parse().ok()?, 80))
        })?,
    };
    let fits = address.ip().is_loopback() && address.port() != 0 && path_of(path)?;
    fits.then(|| Action::Http { to: HttpPlace::Tcp(address), path: path.to_owned() })
}

/// Whether it is a path and query that can stand in a request.
fn path_of(path: &str) -> Option<bool> {
    let parsed: http::uri::PathAndQuery = path.parse().ok()?;
    Some(parsed.as_str() == path && !path.contains('#'))
}

/// Reads the name of a signal that programs take for "look again" or "end", with or without `SIG`.
#[must_use]
pub fn parse_signal(name: &str) -> Option<Signal> {
    match name.strip_prefix("SIG").unwrap_or(name) {
        "HUP" => Some(Signal::SIGHUP),
        "INT" => Some(Signal::SIGINT),
        "QUIT" => Some(Signal::SIGQUIT),
        "TERM" => Some(Signal::SIGTERM),
        "USR1" => Some(Signal::SIGUSR1),
        "USR2" => Some(Signal::SIGUSR2),
        "WINCH" => Some(Signal::SIGWINCH),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_addresses_and_sockets_are_asked() {
        for fine in [
            "http://127.0.0.1:8080/reload?x=1",
            "http://127.0.0.2",
            "http://localhost:80/a",
            "http://localhost/",
            "http://[::1]:9/",
            "http://[::1]/",
            "unix:/run/app.sock",
            "unix:/run/app.sock:/reload",
        ] {
            assert!(parse_url(fine).is_some(), "{fine}");
        }
        for wrong in [
            "https://127.0.0.1/",
            "http://10.0.0.1/",
            "http://169.254.169.254/latest",
            "http://example.com/",
            "http://localhost.example.com/",
            "http://localhost@example.com/",
            "http://user@127.0.0.1/",
            "http://127.0.0.1:0/",
            "http://[::ffff:10.0.0.1]/",
            "http://0.0.0.0/",
            "http://127.1/",
            "http://2130706433/",
            "http://127.0.0.1/a b",
            "http://127.0.0.1/\r\nX: y",
            "http://127.0.0.1/#a",
            "file:///etc/passwd",
            "unix:relative",
            "",
        ] {
            assert!(parse_url(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn signals_go_by_their_names() {
        assert_eq!(parse_signal("SIGHUP"), Some(Signal::SIGHUP));
        assert_eq!(parse_signal("USR1"), Some(Signal::SIGUSR1));
        for wrong in ["KILL", "SIGSTOP", "hup", "1", ""] {
            assert_eq!(parse_signal(wrong), None, "{wrong}");
        }
    }
}
