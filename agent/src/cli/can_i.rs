//! `can-i`: whether a subject holds a right for a scope, asked of the API server as its administrator sees it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::arguments::{CanIArguments, RightName};
use super::client::runtime;
use super::console::{Console, printable};
use super::environment::Environment;
use super::error::CliError;
use crate::access::kubernetes::attributes;
use crate::access::{Right, Subject, Target};
use crate::config::TOKEN_DIRECTORY;
use crate::id::Scope;
use crate::kubernetes::review::{Attributes, Question, allowed};
use crate::kubernetes::{ApiServer, CallError};

/// How long one question may take.
const WITHIN: Duration = Duration::from_secs(10);

impl From<RightName> for Right {
    fn from(name: RightName) -> Self {
        match name {
            RightName::SecretsRead => Self::SecretsRead,
            RightName::SecretsWrite => Self::SecretsWrite,
            RightName::OnboardingWrite => Self::OnboardingWrite,
        }
    }
}

pub(super) fn run(
    arguments: &CanIArguments,
    json: bool,
    environment: &Environment,
    console: &mut Console,
) -> Result<(), CliError> {
    let right = Right::from(arguments.right);
    let scope = Scope::parse(&arguments.scope)
        .map_err(|_| CliError::Usage { what: "this is no scope", advice: "write ENV, ENV/TEAM or ENV/TEAM/APP" })?;
    let subject = match &arguments.subject {
        // A uid is what a single host knows; a cluster grants to service accounts.
        Some(text) => {
            Some(Subject::parse(text).filter(|subject| groups(subject).is_some()).ok_or(CliError::Usage {
                what: "this is no service account",
                advice: "write it as the API server does: system:serviceaccount:NAMESPACE:NAME",
            })?)
        }
        None => None,
    };
    let target = Target::from(&scope);
    let namespace = target.namespace();
    let asked: Vec<_> = right.actions().iter().map(|action| attributes(*action, &namespace, target)).collect();
    let missing = runtime()?.block_on(missing(&Cluster::find(environment)?, &asked, subject.as_ref()))?;
    if json {
        console.line(answer(right, &scope, subject.as_ref(), &missing).to_string())?;
    } else {
        console.line(if missing.is_empty() { "yes" } else { "no" })?;
    }
    match missing.first() {
        None => Ok(()),
        Some(what) => Err(CliError::MayNot {
            verb: what.verb.to_owned(),
            resource: what.resource.to_owned(),
            name: what.name.to_owned(),
            namespace: what.namespace.to_owned(),
        }),
    }
}

/// What is not allowed of what is asked for: a right is held when everything that it stands for is.
async fn missing<'a>(
    cluster: &Cluster,
    asked: &[Attributes<'a>],
    subject: Option<&Subject>,
) -> Result<Vec<Attributes<'a>>, CliError> {
    let mut missing = Vec::new();
    for what in asked {
        let question = match subject {
            None => Question::about_us(*what),
            Some(subject) => Question::about(subject.as_str(), &groups(subject).unwrap_or_default(), *what),
        };
        if !allowed(&cluster.ask(&question).await?).map_err(CliError::Cluster)? {
            missing.push(*what);
        }
    }
    Ok(missing)
}

fn answer(right: Right, scope: &Scope, subject: Option<&Subject>, missing: &[Attributes<'_>]) -> Value {
    let list: Vec<Value> = missing.iter().map(|what| what.to_json()).collect();
    let mut answer =
        json!({"right": right.as_str(), "scope": scope.as_str(), "allowed": missing.is_empty(), "missing": list});
    if let (Some(subject), Some(members)) = (subject, answer.as_object_mut()) {
        members.insert("subject".to_owned(), subject.as_str().into());
    }
    answer
}

/// Where questions go.
enum Cluster {
    /// A person's: kubectl knows its address and how to log in there, whatever that takes.
    Kubectl,
    /// The one that this pod runs in, with the token of its agent.
    Pod(ApiServer),
}

impl Cluster {
    fn find(environment: &Environment) -> Result<Self, CliError> {
        let directory = Path::new(TOKEN_DIRECTORY);
        if environment.get("KUBECONFIG").is_some() || !directory.exists() {
            return Ok(Self::Kubectl);
        }
        let server = ApiServer::new(&environment.api_server(), directory);
        server.map(Self::Pod).map_err(|error| CliError::Start(error.into()))
    }

    async fn ask(&self, question: &Question) -> Result<Vec<u8>, CliError> {
        let server = match self {
            Self::Kubectl => return by_kubectl(question),
            Self::Pod(server) => server,
        };
        let answer = server.answer(question, WITHIN).await.map_err(CliError::Cluster)?;
        match answer.status {
            StatusCode::CREATED | StatusCode::OK => Ok(answer.body().to_vec()),
            StatusCode::FORBIDDEN => Err(CliError::MayNotAsk),
            _ => Err(CliError::Cluster(CallError::Misbehaved)),
        }
    }
}

fn by_kubectl(question: &Question) -> Result<Vec<u8>, CliError> {
    let mut command = Command::new("kubectl");
    command.args(["create", "--raw", question.path, "--request-timeout", "10s", "-f", "-"]);
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut kubectl = started.map_err(CliError::NoKubectl)?;
    if let Some(mut input) = kubectl.stdin.take() {
        // Where it ends without reading, its own complaint says why.
        drop(input.write_all(question.body.to_string().as_bytes()));
    }
    let output = kubectl.wait_with_output().map_err(CliError::NoKubectl)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    if complaint.contains("(Forbidden)") {
        return Err(CliError::MayNotAsk);
    }
    let last = complaint.lines().last().map(printable).unwrap_or_default();
    Err(CliError::Kubectl { complaint: last })
}

/// The groups of a service account (Kubernetes, "Managing Service Accounts"): an access review knows only those that
/// it is given. None for what is no service account.
fn groups(subject: &Subject) -> Option<Vec<String>> {
    let (namespace, _) = subject.as_str().strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let of_namespace = format!("system:serviceaccounts:{namespace}");
    Some(vec!["system:authenticated".to_owned(), "system:serviceaccounts".to_owned(), of_namespace])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_is_asked_about_with_the_groups_that_it_has() {
        let groups = |subject: &str| Subject::parse(subject).and_then(|subject| groups(&subject));
        let of_account = groups("system:serviceaccount:poc:my-pod").unwrap();
        assert_eq!(of_account, ["system:authenticated", "system:serviceaccounts", "system:serviceaccounts:poc"]);
        assert_eq!(groups("uid:1000"), None);
    }
}
