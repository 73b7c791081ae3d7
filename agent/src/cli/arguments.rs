//! What can be typed: commands, their options and their help texts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr as _;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};
use nix::sys::signal::Signal;

use super::help;

// None of these types has Debug: some hold values that were typed.

/// Keep secret values out of files and resources: hand a value in, keep its id, resolve it just in time.
#[derive(Parser)]
#[command(name = "cloakroom", version, after_help = help::ROOT, term_width = 100, color = ColorChoice::Never)]
pub(super) struct Arguments {
    /// The agent's socket: where to connect, and for `agent` where to listen
    #[arg(long, global = true, value_name = "PATH", help_heading = "Global options")]
    pub(super) socket: Option<PathBuf>,

    /// Print the API's JSON instead of text
    #[arg(long, global = true, help_heading = "Global options")]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Run the agent until a signal ends it
    #[command(after_help = help::AGENT)]
    Agent(AgentArguments),
    /// Exit 0 if the agent's socket answers, 5 if not
    #[command(after_help = help::READY)]
    Ready {
        /// Exit 0 only once every required file was rendered
        #[arg(long)]
        files: bool,
    },
    /// Render every file of a configuration once
    #[command(after_help = help::RENDER)]
    Render {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// How long to try again while identity, rights or secrets cannot be had
        #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=3600))]
        wait: u64,
    },
    /// Run a command whose environment has values where this one has placeholders
    #[command(after_help = help::EXEC)]
    Exec(ExecArguments),
    /// Copy this program into a directory, where a container without it can run it
    #[command(after_help = help::INSTALL)]
    Install {
        /// The directory; a program of the same name in it is replaced
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Print a secret's value exactly, without a newline added
    #[command(after_help = help::GET)]
    Get(IdArgument),
    /// Create or replace a secret's value, and print its new id
    #[command(after_help = help::PUT)]
    Put(PutArguments),
    /// Replace a secret's value by a generated one, and print its new id
    #[command(after_help = help::ROTATE)]
    Rotate {
        #[command(flatten)]
        secret: IdArgument,
        /// Move the old value to this slot of the same scope, whose id is the second line
        #[arg(long, value_name = "SLOT")]
        keep_previous: Option<String>,
    },
    /// Delete a secret
    #[command(after_help = help::DELETE)]
    Delete(IdArgument),
    /// Print a document with its placeholders replaced
    #[command(after_help = help::RESOLVE)]
    Resolve(ResolveArguments),
    /// Store strings of a document as secrets, and print it with placeholders in their places
    #[command(after_help = help::OBFUSCATE)]
    Obfuscate(ObfuscateArguments),
    /// Print a secret's id, and its new one after each change, until a signal
    #[command(after_help = help::WATCH)]
    Watch(IdArgument),
    /// Create a scope and its secrets, or add to it; print a line `name  id` for each secret
    #[command(after_help = help::ONBOARD)]
    Onboard {
        #[command(subcommand)]
        scope: OnboardScope,
    },
    /// Delete a scope with all its secrets
    #[command(after_help = help::OFFBOARD)]
    Offboard {
        #[command(subcommand)]
        scope: OffboardScope,
    },
    /// Print who the agent takes you for, and what you may do
    #[command(after_help = help::WHOAMI)]
    Whoami {
        /// Print your rights for this scope: ENV, ENV/TEAM or ENV/TEAM/APP
        #[arg(long)]
        scope: Option<String>,
    },
    /// Print the state of the agent, its backend and its cache
    #[command(after_help = help::STATUS)]
    Status {
        /// Print it again every 2 seconds, until a signal
        #[arg(long)]
        watch: bool,
    },
    /// Ask the cluster whether a right is held for a scope; print yes or no, and exit 0 or 3
    #[command(after_help = help::CAN_I)]
    CanI(CanIArguments),
    /// Check a configuration, or print its schema
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Prepare a Conjur
    Conjur {
        #[command(subcommand)]
        command: ConjurCommand,
    },
    /// Print the completion script of a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the version
    Version,
}

#[derive(Args)]
pub(super) struct AgentArguments {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Development: no configuration, an embedded store, everything allowed to your own uid
    #[arg(long)]
    pub(super) dev: bool,
    /// Where --dev keeps its store, key and audit log
    #[arg(long, value_name = "DIR", requires = "dev")]
    pub(super) state_dir: Option<PathBuf>,
    /// Where /livez, /readyz and /metrics are: `HOST:PORT`, `unix:/PATH`, or "" for nowhere
    #[arg(long, value_name = "ADDR")]
    pub(super) admin: Option<String>,
}

#[derive(Args)]
pub(super) struct ExecArguments {
    /// Pass on only PATH, HOME and the variables that hold a placeholder
    #[arg(long)]
    pub(super) clear_env: bool,
    /// Stay in front of the command, and send it this signal when a value that it was given changes: a
    /// name such as SIGTERM or HUP, or `signal` for SIGHUP
    #[arg(long, value_name = "SIGNAL", value_parser = signal_name)]
    pub(super) watch: Option<Signal>,
    /// How long to try again while the agent is not there or cannot serve yet
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=3600))]
    pub(super) wait: u64,
    /// The command and its arguments, which are passed on as they are
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

fn signal_name(text: &str) -> Result<Signal, &'static str> {
    let name = text.to_ascii_uppercase();
    match name.strip_prefix("SIG").unwrap_or(&name) {
        "NAL" => Ok(Signal::SIGHUP),
        // Nobody can do anything on these, and a command that was stopped would never go on.
        "STOP" | "CONT" => Err("it is not for telling of a change"),
        name => Signal::from_str(&format!("SIG{name}")).map_err(|_| "it is no name of a signal"),
    }
}

#[derive(Args)]
pub(super) struct IdArgument {
    /// The id, env:team:app:path:checksum, or its placeholder $<…>; an empty checksum means whatever is there now
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) id: String,
}

#[derive(Args)]
#[group(id = "source", args = ["value", "file", "stdin"], multiple = false)]
pub(super) struct PutArguments {
    #[command(flatten)]
    pub(super) secret: IdArgument,
    /// The value itself; other processes of this machine can read it from the argument list
    #[arg(long, value_name = "V", allow_hyphen_values = true)]
    pub(super) value: Option<String>,
    /// Take the value from this file, exactly as it is
    #[arg(long, value_name = "F")]
    pub(super) file: Option<PathBuf>,
    // A plain text, not a set of one possible value: clap would repeat a secret that was typed here in its error.
    /// A lone `-`: take the value from standard input, exactly as it is
    #[arg(value_name = "-")]
    pub(super) stdin: Option<String>,
    /// Store `rotate` and `{{rotate}}` as they are, instead of a generated value
    #[arg(long)]
    pub(super) literal: bool,
}

#[derive(Args)]
pub(super) struct DocumentArguments {
    /// What the document is: application/json, application/yaml or text/plain, or in short json, yaml
    /// or text; by default what the file's extension says, and JSON on standard input
    #[arg(long, value_name = "T", hide_possible_values = true)]
    pub(super) content_type: Option<ContentType>,
    /// The document; - or nothing for standard input
    #[arg(value_name = "FILE|-")]
    pub(super) file: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ContentType {
    /// JSON
    #[value(name = "application/json", alias = "json")]
    Json,
    /// Any number of YAML documents
    #[value(name = "application/yaml", aliases = ["yaml", "application/x-yaml", "text/yaml"])]
    Yaml,
    /// Any other text, in which values stand as they are
    #[value(name = "text/plain", alias = "text")]
    Text,
}

#[derive(Args)]
pub(super) struct ResolveArguments {
    #[command(flatten)]
    pub(super) document: DocumentArguments,
    /// Replace only at this JSON Pointer and below; * is any member or item. Can be repeated
    #[arg(long = "path", value_name = "POINTER")]
    pub(super) paths: Vec<String>,
}

#[derive(Args)]
pub(super) struct ObfuscateArguments {
    #[command(flatten)]
    pub(super) document: DocumentArguments,
    /// Whose secrets the strings become: ENV, ENV/TEAM or ENV/TEAM/APP
    #[arg(long, value_name = "S", value_parser = NonEmptyStringValueParser::new())]
    pub(super) scope: String,
    /// The map slot that they go into
    #[arg(long, value_name = "N", value_parser = NonEmptyStringValueParser::new())]
    pub(super) slot: String,
    /// Where they stand, and how they are named. Can be repeated
    #[arg(long = "path", value_name = "POINTER[=KEY]", required = true)]
    pub(super) paths: Vec<String>,
}

#[derive(Args)]
pub(super) struct EnvironmentName {
    /// The environment
    #[arg(value_name = "E", value_parser = NonEmptyStringValueParser::new())]
    pub(super) environment: String,
}

#[derive(Args)]
pub(super) struct TeamName {
    #[command(flatten)]
    pub(super) within: EnvironmentName,
    /// The team
    #[arg(value_name = "T", value_parser = NonEmptyStringValueParser::new())]
    pub(super) team: String,
}

#[derive(Args)]
pub(super) struct AppName {
    #[command(flatten)]
    pub(super) within: TeamName,
    /// The application
    #[arg(value_name = "A", value_parser = NonEmptyStringValueParser::new())]
    pub(super) app: String,
}

#[derive(Subcommand)]
pub(super) enum OnboardScope {
    /// Onboard an environment
    #[command(after_help = help::ONBOARD)]
    Environment {
        #[command(flatten)]
        name: EnvironmentName,
        #[command(flatten)]
        content: Content,
    },
    /// Onboard a team of an environment
    #[command(after_help = help::ONBOARD)]
    Team {
        #[command(flatten)]
        name: TeamName,
        #[command(flatten)]
        content: Content,
    },
    /// Onboard an application of a team
    #[command(after_help = help::ONBOARD)]
    App {
        #[command(flatten)]
        name: AppName,
        #[command(flatten)]
        content: Content,
    },
}

#[derive(Args)]
pub(super) struct Content {
    /// What becomes of the entries of a named map slot that are not named; by default the agent's, `replace`
    #[arg(long, value_name = "STRATEGY")]
    pub(super) strategy: Option<Strategy>,
    /// A secret of the scope; a value that starts with @ is a file, taken exactly as it is. Can be repeated
    #[arg(long = "secret", value_name = "NAME=VALUE|NAME=@FILE", allow_hyphen_values = true)]
    pub(super) secrets: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Strategy {
    /// Keep them
    Merge,
    /// Drop them
    Replace,
}

#[derive(Subcommand)]
pub(super) enum OffboardScope {
    /// Offboard an environment
    Environment(EnvironmentName),
    /// Offboard a team of an environment
    Team(TeamName),
    /// Offboard an application of a team
    App(AppName),
}

#[derive(Args)]
pub(super) struct CanIArguments {
    /// The right
    pub(super) right: RightName,
    /// The scope: ENV, ENV/TEAM or ENV/TEAM/APP
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) scope: String,
    /// Ask about this user instead of yourself, for example system:serviceaccount:NAMESPACE:NAME
    #[arg(long = "as", value_name = "SUBJECT", value_parser = NonEmptyStringValueParser::new())]
    pub(super) subject: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum RightName {
    /// Resolve
    #[value(name = "secrets_read")]
    SecretsRead,
    /// Put, rotate and delete
    #[value(name = "secrets_write")]
    SecretsWrite,
    /// Onboard and offboard
    #[value(name = "onboarding_write")]
    OnboardingWrite,
}

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Print `ok`, or every mistake of a configuration file, one a line, and exit 64
    #[command(after_help = help::CONFIG_CHECK)]
    Check {
        /// The file, or - for standard input
        file: PathBuf,
        /// Then ask the backend as an agent would, and say what is missing
        #[arg(long)]
        online: bool,
    },
    /// Print the JSON Schema of the configuration
    #[command(after_help = help::CONFIG_SCHEMA)]
    Schema,
}

#[derive(Subcommand)]
pub(super) enum ConjurCommand {
    /// Print the policy that an operator loads once, with a comment before each statement
    #[command(after_help = help::CONJUR_POLICY)]
    Policy(ConjurPolicyArguments),
}

#[derive(Args)]
pub(super) struct ConjurPolicyArguments {
    /// A valid configuration of an agent, for what is not given here: backend.conjur.rootPolicyPath
    /// and backend.conjur.authn.jwt.serviceId
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The branch of all scopes; by default `controlplane`
    #[arg(long, value_name = "PATH")]
    pub(super) root: Option<String>,
    /// The service id of authn-jwt; by default `k8s`
    #[arg(long, value_name = "ID")]
    pub(super) service_id: Option<String>,
    /// The branch of the hosts: what the authenticator's variable identity-path has
    #[arg(long, value_name = "PATH", default_value = "apps")]
    pub(super) identity_path: String,
    /// Where the authenticator has the keys of the cluster from
    #[arg(long, value_name = "VARIABLE", default_value = "public-keys")]
    pub(super) signing_keys: SigningKeysName,
    /// Leave the authenticator out, because it exists
    #[arg(long, conflicts_with = "signing_keys")]
    pub(super) without_authenticator: bool,
    /// A service account that onboards in every scope. Can be repeated
    #[arg(long = "onboarder", value_name = "NAMESPACE:NAME")]
    pub(super) onboarders: Vec<String>,
    /// Let those that onboard also delete
    #[arg(long)]
    pub(super) may_delete: bool,
    /// A service account that reads in a scope and below, or in all with *. Can be repeated
    #[arg(long = "reader", value_name = "SCOPE=NAMESPACE:NAME")]
    pub(super) readers: Vec<String>,
    /// A service account that reads and writes in a scope and below, or in all with *. Can be repeated
    #[arg(long = "writer", value_name = "SCOPE=NAMESPACE:NAME")]
    pub(super) writers: Vec<String>,
    /// A grants file, as permissions.file: its service accounts get the same rights in Conjur
    #[arg(long, value_name = "FILE")]
    pub(super) grants: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum SigningKeysName {
    /// The keys themselves
    PublicKeys,
    /// The URL where Conjur fetches them
    JwksUri,
}

/// A shell that a completion script is for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shell {
    /// GNU bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}
