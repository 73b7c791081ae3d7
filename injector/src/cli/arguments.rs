//! What can be typed: commands, their options and their help texts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ColorChoice, Parser, Subcommand};
use cloakroom_agent::cli::Shell;

/// Where the kubelet puts the credentials of a pod's account.
const TOKEN_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

const ROOT: &str = "\
Exit status: 0 done, 1 failed, 2 wrong usage, 64 invalid configuration (every problem is listed).
CLOAKROOM_LOG is a filter of the log, such as debug or cloakroom_injector=debug.";

const SERVE: &str = "\
SIGTERM fails /readyz at once, takes new connections for the time of --drain-delay, and then lets
every review that has begun end.

Certificates are made, published and rotated by the injector itself, and shared with its other
replicas in one Secret; or they are mounted, with --certificate-dir.

Example:
  cloakroom-injector serve --config /etc/cloakroom/injector.yaml --namespace cloakroom \\
    --service cloakroom-injector --secret cloakroom-injector-certificates \\
    --webhook-configuration cloakroom-injector";

const CHECK: &str = "\
It makes a pod as a dry run, which needs `create` on pods in that namespace, and lists nodes, which
needs `list` on nodes. `helm test` runs it. Exit status 1: something is not so.";

/// Put the Cloakroom agent into pods: a mutating admission webhook.
#[derive(Debug, Parser)]
#[command(name = "cloakroom-injector", version, after_help = ROOT, term_width = 100, color = ColorChoice::Never)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Answer admission reviews until a signal
    #[command(after_help = SERVE)]
    Serve(Box<ServeArguments>),
    /// Ask the API server whether a pod that asks would get its agent, and list nodes that are too old
    #[command(after_help = CHECK)]
    Check(CheckArguments),
    /// Look at a configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say `ok`, or everything that is wrong with a file
    Check {
        /// The file
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// Where the pod would be
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(super) namespace: String,
    /// Where token and ca.crt of the service account are
    #[arg(long, value_name = "DIR", default_value = TOKEN_DIR)]
    pub(super) token_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// The configuration: what is injected
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// Where reviews arrive, by HTTPS
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8443")]
    pub(super) listen: SocketAddr,
    /// Where /livez, /readyz, /metrics and /status are: an address, `unix:/PATH`, or "" for nowhere
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:9187")]
    pub(super) admin: String,
    /// The injector's own namespace
    #[arg(long, value_name = "NAME")]
    pub(super) namespace: String,
    /// The Service through which the API server reaches the injector
    #[arg(long, value_name = "NAME")]
    pub(super) service: Option<String>,
    /// The `MutatingWebhookConfiguration` in which the authorities are published
    #[arg(long, value_name = "NAME")]
    pub(super) webhook_configuration: Option<String>,
    /// The Secret in which the replicas share their certificates
    #[arg(long, value_name = "NAME")]
    pub(super) secret: Option<String>,
    /// Serve tls.crt and tls.key of this directory instead, and publish nothing
    #[arg(long, value_name = "DIR", conflicts_with_all = ["service", "webhook_configuration", "secret"])]
    pub(super) certificate_dir: Option<PathBuf>,
    /// How long a certificate lives; a third before its end there is a new one
    #[arg(long, value_name = "TIME", default_value = "336h")]
    pub(super) leaf_lifetime: Time,
    /// How long an authority lives
    #[arg(long, value_name = "TIME", default_value = "8760h")]
    pub(super) authority_lifetime: Time,
    /// Where token and ca.crt of the service account are
    #[arg(long, value_name = "DIR", default_value = TOKEN_DIR)]
    pub(super) token_dir: PathBuf,
    /// Do not count pods that are missing the agent
    #[arg(long)]
    pub(super) without_pod_count: bool,
    /// From SIGTERM to the last new connection
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub(super) drain_delay: Time,
}

/// A duration: a number and s, m or h.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(Duration);

impl From<Time> for Duration {
    fn from(time: Time) -> Self {
        time.0
    }
}

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a time is a number and s, m or h, such as 90s";
        let unit = text.chars().next_back().ok_or(wrong)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(wrong),
        };
        let number: u32 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or(wrong)?;
        Ok(Self(Duration::from_secs(u64::from(number) * seconds)))
    }
}
