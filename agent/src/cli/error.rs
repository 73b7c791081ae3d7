//! Why a command failed, what to do next, and the exit status that scripts see.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use http::StatusCode;

use super::console::{Console, printable};
use super::exec::ExecError;
use crate::access::file::{GrantsError, GrantsProblems};
use crate::config::Problems;
use crate::diagnosis::Verdict;
use crate::kubernetes::CallError;

/// How a command ended. The numbers are part of the operating surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked.
    Done,
    /// It failed, and trying again does not help.
    Failed,
    /// It was typed wrong.
    Usage,
    /// The identity or the right is missing.
    Denied,
    /// There is no such secret or scope.
    NotFound,
    /// The agent, its backend or its permissions cannot be asked now.
    Unavailable,
    /// The configuration has mistakes.
    Configuration,
    /// It is the exit status of the command that it ran.
    Command(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Denied => 3,
            Exit::NotFound => 4,
            Exit::Unavailable => 5,
            Exit::Configuration => 64,
            Exit::Command(status) => status,
        })
    }
}

/// Why a command ended without doing what it was asked. Holds no value of a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Arguments(clap::Error),
    #[error("this version of cloakroom does not have `{command}`")]
    NotInThisVersion { command: &'static str },
    #[error("{what}")]
    Usage { what: &'static str, advice: &'static str },
    #[error("cannot read {what}")]
    Read { what: String, source: io::Error },
    #[error("{what} is not UTF-8 text")]
    NotText { what: String },
    #[error("{what} is larger than any agent takes")]
    TooLarge { what: String },
    #[error("no agent socket at {tried}")]
    NoSocket { tried: String },
    #[error("cannot connect to {}", socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error("the connection to the agent broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the agent did not answer in time")]
    NoAnswer,
    #[error("the agent answered with more than it may")]
    Oversized,
    #[error("the agent's answer is not the one that this version expects")]
    Unexpected,
    #[error("{0}")]
    Refused(Refusal),
    #[error("not ready")]
    NotReady(#[source] Box<CliError>),
    #[error("no file yet for {names}")]
    FilesMissing { names: String },
    #[error("{lines}")]
    NotRendered { lines: String },
    #[error("{0}")]
    Configuration(Problems),
    #[error("{sentences}")]
    Check { verdict: Verdict, sentences: String },
    #[error("{what}")]
    ConfigurationSource { what: String, advice: &'static str },
    #[error("cannot use this configuration")]
    ConfigurationUnreadable(#[source] Box<CliError>),
    #[error("{what} is no JSON: line {line}, column {column}")]
    NoJson { what: String, line: usize, column: usize },
    #[error("the agent has ended the stream")]
    StreamEnded,
    #[error("the grants file is not valid:\n{0}")]
    Grants(GrantsProblems),
    #[error("cannot use the directory {}", directory.display())]
    StateDirectory { directory: PathBuf, source: io::Error },
    #[error("cannot start the agent")]
    Start(#[source] anyhow::Error),
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    #[error("cannot run kubectl")]
    NoKubectl(#[source] io::Error),
    #[error("kubectl could not ask: {complaint}")]
    Kubectl { complaint: String },
    #[error("the cluster cannot be asked")]
    Cluster(#[source] CallError),
    #[error("you may not ask the cluster about others")]
    MayNotAsk,
    #[error("not allowed: `{verb}` on `{resource}` of cloakroom.dev named `{name}` in namespace `{namespace}`")]
    MayNot { verb: String, resource: String, name: String, namespace: String },
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error("cannot install into {}", directory.display())]
    Install { directory: PathBuf, source: io::Error },
}

/// An answer of the agent that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) detail: Option<String>,
    pub(super) code: Option<String>,
    pub(super) position: Option<u64>,
    pub(super) request: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.detail {
            Some(detail) => f.write_str(&printable(detail))?,
            None => write!(f, "the agent answered {} without a reason", self.status)?,
        }
        if let Some(position) = self.position {
            write!(f, ", at position {position} of the request")?;
        }
        match &self.request {
            Some(request) => write!(f, " (request {})", printable(request)),
            None => Ok(()),
        }
    }
}

impl CliError {
    /// Says it on the error stream, once, and gives the exit status.
    pub(super) fn report(self, console: &mut Console) -> Exit {
        let exit = self.exit();
        let (text, to_output) = match &self {
            Self::Arguments(error) => (in_our_name(error), !error.use_stderr()),
            // `head` and `grep -q` close the pipe when they have seen enough; that is no failure.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return Exit::Done,
            // Every problem on a line of its own, and nothing else: editors and pipelines read them.
            Self::Configuration(problems) => (format!("{}\n", problems.to_string().trim_end()), false),
            other => (other.sentence(), false),
        };
        let stream = if to_output { &mut console.output } else { &mut console.errors };
        // There is no further stream to complain on.
        drop(stream.write_all(text.as_bytes()).and_then(|()| stream.flush()));
        exit
    }

    fn sentence(&self) -> String {
        let mut text = format!("cloakroom: {self}");
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        if let Some(advice) = self.advice() {
            text.push_str(": ");
            text.push_str(advice);
        }
        text.push('\n');
        text
    }

    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Arguments(error) if !error.use_stderr() => Exit::Done,
            Self::Arguments(_) | Self::NotInThisVersion { .. } | Self::Usage { .. } => Exit::Usage,
            Self::Refused(refusal) => match refusal.status.as_u16() {
                401 | 403 => Exit::Denied,
                404 => Exit::NotFound,
                429 | 503 | 504 => Exit::Unavailable,
                _ => Exit::Failed,
            },
            Self::MayNot { .. } | Self::MayNotAsk | Self::Cluster(CallError::NotAuthenticated) => Exit::Denied,
            Self::NoSocket { .. }
            | Self::Connect { .. }
            | Self::Broken(_)
            | Self::NoAnswer
            | Self::FilesMissing { .. }
            | Self::NotReady(_)
            | Self::StreamEnded
            | Self::Cluster(_)
            | Self::Kubectl { .. } => Exit::Unavailable,
            Self::Check { verdict, .. } => match verdict {
                Verdict::Denied => Exit::Denied,
                Verdict::Unavailable => Exit::Unavailable,
                Verdict::Fine | Verdict::Note | Verdict::Wrong => Exit::Failed,
            },
            Self::Configuration(_)
            | Self::ConfigurationSource { .. }
            | Self::ConfigurationUnreadable(_)
            | Self::Grants(_) => Exit::Configuration,
            Self::Exec(error) => error.exit(),
            Self::Start(error) if error.chain().any(is_configuration) => Exit::Configuration,
            Self::Read { .. }
            | Self::NoJson { .. }
            | Self::NoKubectl(_)
            | Self::NotText { .. }
            | Self::NotRendered { .. }
            | Self::TooLarge { .. }
            | Self::Oversized
            | Self::Unexpected
            | Self::StateDirectory { .. }
            | Self::Start(_)
            | Self::Runtime(_)
            | Self::Install { .. }
            | Self::Output(_) => Exit::Failed,
        }
    }

    /// What to do next; nothing where the error says it already.
    pub(super) fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Exec(error) => error.advice(),
            Self::Install { .. } => Some("give a directory that is there and can be written to"),
            Self::NotInThisVersion { .. } => Some("`cloakroom --help` lists the commands that are there"),
            Self::Usage { advice, .. } | Self::ConfigurationSource { advice, .. } => Some(advice),
            Self::Read { .. } | Self::ConfigurationUnreadable(_) => Some("check the path and its permissions"),
            Self::NoJson { .. } => Some("say what it is with --content-type"),
            Self::StreamEnded => Some("try again; `cloakroom whoami` says whether the right is still there"),
            Self::NotText { .. } => Some("values are text; encode the bytes, for example as base64"),
            Self::NotReady(cause) => cause.advice(),
            Self::FilesMissing { .. } => Some("`cloakroom status` says why"),
            Self::StateDirectory { .. } => Some("give another one with --state-dir"),
            Self::TooLarge { .. } => Some("send less at once"),
            Self::NoSocket { .. } => Some("start the agent with `cloakroom agent`, or say where it is with --socket"),
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run as a user that may use the socket, or say where another is with --socket")
            }
            Self::Connect { .. } => Some("start the agent, or say where its socket is with --socket"),
            Self::Broken(_) => Some("see the agent's log, and try again"),
            Self::NoAnswer => Some("try again; after a write, read first to see whether it happened"),
            Self::Oversized | Self::Unexpected => Some("check that the socket is that of an agent of this version"),
            Self::Refused(refusal) => match refusal.status.as_u16() {
                401 => Some("the agent does not know this user; ask whoever configures it"),
                // No grant helps where the scope has no such slot.
                403 if refusal.code.as_deref() == Some("slot_not_allowed") => Some("name a slot that it has"),
                403 => Some("`cloakroom whoami --scope ENV/TEAM/APP` prints your rights"),
                404 => Some("check every part of the id or scope"),
                409 => Some("read it with an empty checksum for its current id"),
                429 | 503 => Some("try again"),
                500 | 502 => Some("see the agent's log for this request"),
                504 => Some("read it to see whether it happened, then try again"),
                _ => None,
            },
            Self::MayNot { .. } => Some("a RoleBinding in that namespace grants it; see the roles of the chart"),
            Self::MayNotAsk => Some("it takes `create` on subjectaccessreviews, as in system:auth-delegator"),
            Self::NoKubectl(_) => Some("install it, or run this in a pod that has an agent"),
            Self::Kubectl { .. } | Self::Cluster(_) => Some("check with `kubectl version` that it can be reached"),
            Self::Arguments(_)
            | Self::NotRendered { .. }
            | Self::Check { .. }
            | Self::Configuration(_)
            | Self::Grants(_)
            | Self::Start(_)
            | Self::Runtime(_)
            | Self::Output(_) => None,
        }
    }
}

/// Whether a start failed for something that was written wrong, and not for the state of the machine.
fn is_configuration(cause: &(dyn std::error::Error + 'static)) -> bool {
    let text_is_wrong = |error: &GrantsError| match error {
        GrantsError::Invalid { .. } => true,
        // Too long, or no UTF-8: a matter of what stands in the file and not of how it was read.
        GrantsError::Read { source, .. } => {
            matches!(source.kind(), io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidData)
        }
    };
    cause.is::<Problems>() || cause.downcast_ref().is_some_and(text_is_wrong)
}

/// clap's text, beginning as every other sentence on the error stream does.
fn in_our_name(error: &clap::Error) -> String {
    let text = error.render().to_string();
    match text.strip_prefix("error: ") {
        Some(rest) => format!("cloakroom: {rest}"),
        None => text,
    }
}
