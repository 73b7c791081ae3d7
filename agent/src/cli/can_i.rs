//! `can-i`: whether a subject holds a right for a scope, asked of the API server as its administrator sees it.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::PostParams;
use kube::config::{AuthInfo, Config, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use super::arguments::{CanIArguments, RightName};
use super::client::runtime;
use super::console::Console;
use super::environment::Environment;
use super::error::CliError;
use crate::access::kubernetes::attributes;
use crate::access::{Right, Subject, Target};
use crate::config::TOKEN_DIRECTORY;
use crate::id::Scope;
use crate::kubernetes::SERVER_NAME;

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
    let missing = runtime()?.block_on(missing(right, &scope, subject.as_ref(), environment))?;
    if json {
        console.line(answer(right, &scope, subject.as_ref(), &missing).to_string())?;
    } else {
        console.line(if missing.is_empty() { "yes" } else { "no" })?;
    }
    match missing.first() {
        None => Ok(()),
        Some(first) => Err(CliError::MayNot {
            verb: text(first.verb.as_ref()).to_owned(),
            resource: text(first.resource.as_ref()).to_owned(),
            name: text(first.name.as_ref()).to_owned(),
            namespace: text(first.namespace.as_ref()).to_owned(),
        }),
    }
}

fn text(field: Option<&String>) -> &str {
    field.map(String::as_str).unwrap_or_default()
}

fn answer(right: Right, scope: &Scope, subject: Option<&Subject>, missing: &[ResourceAttributes]) -> serde_json::Value {
    let mut answer =
        json!({"right": right.as_str(), "scope": scope.as_str(), "allowed": missing.is_empty(), "missing": missing});
    if let (Some(subject), Some(members)) = (subject, answer.as_object_mut()) {
        members.insert("subject".to_owned(), subject.as_str().into());
    }
    answer
}

/// What of the right is not allowed: a right is held when everything that it stands for is.
async fn missing(
    right: Right,
    scope: &Scope,
    subject: Option<&Subject>,
    environment: &Environment,
) -> Result<Vec<ResourceAttributes>, CliError> {
    let client = client(environment).await?;
    let mut missing = Vec::new();
    for action in right.actions() {
        let target = Target::from(scope);
        let namespace = target.namespace();
        let asked = attributes(*action, &namespace, target);
        let asked = ResourceAttributes {
            group: Some(asked.group.to_owned()),
            resource: Some(asked.resource.to_owned()),
            verb: Some(asked.verb.to_owned()),
            namespace: Some(asked.namespace.to_owned()),
            name: Some(asked.name.to_owned()),
            ..ResourceAttributes::default()
        };
        let answer = tokio::time::timeout(WITHIN, review(&client, subject, asked.clone())).await;
        let status = answer.map_err(|_elapsed| CliError::NoAnswer)?.map_err(cluster)?;
        if !status.allowed || status.denied == Some(true) {
            missing.push(asked);
        }
    }
    Ok(missing)
}

async fn review(
    client: &Client,
    subject: Option<&Subject>,
    asked: ResourceAttributes,
) -> kube::Result<SubjectAccessReviewStatus> {
    let how = PostParams::default();
    let status = match subject {
        None => {
            let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(asked), ..Default::default() };
            let review = SelfSubjectAccessReview { spec, ..Default::default() };
            Api::all(client.clone()).create(&how, &review).await?.status
        }
        Some(subject) => {
            let spec = SubjectAccessReviewSpec {
                resource_attributes: Some(asked),
                user: Some(subject.as_str().to_owned()),
                groups: groups(subject),
                ..Default::default()
            };
            let review = SubjectAccessReview { spec, ..Default::default() };
            Api::all(client.clone()).create(&how, &review).await?.status
        }
    };
    Ok(status.unwrap_or_default())
}

/// The groups of a service account (Kubernetes, "Managing Service Accounts"): an access review knows only those that
/// it is given. None for what is no service account.
fn groups(subject: &Subject) -> Option<Vec<String>> {
    let (namespace, _) = subject.as_str().strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let of_namespace = format!("system:serviceaccounts:{namespace}");
    Some(vec!["system:authenticated".to_owned(), "system:serviceaccounts".to_owned(), of_namespace])
}

/// A person's cluster is the one of the kubeconfig; a pod has a token.
async fn client(environment: &Environment) -> Result<Client, CliError> {
    let home = environment.path("HOME").map(|home| home.join(".kube/config"));
    let has_file = environment.get("KUBECONFIG").is_some() || home.is_some_and(|file| file.exists());
    let config = if has_file {
        let kubeconfig = Kubeconfig::read().map_err(|error| CliError::Kubeconfig(Box::new(error)))?;
        let chosen = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &chosen).await;
        config.map_err(|error| CliError::Kubeconfig(Box::new(error)))?
    } else {
        of_pod(environment, Path::new(TOKEN_DIRECTORY)).ok_or(CliError::NoCluster)?
    };
    Client::try_from(config).map_err(cluster)
}

/// What the agent of this pod uses; none where there is no such volume.
fn of_pod(environment: &Environment, directory: &Path) -> Option<Config> {
    let address = environment.api_server();
    let pem = std::fs::read(directory.join("ca.crt")).ok()?;
    let authorities = rustls::pki_types::CertificateDer::pem_slice_iter(&pem);
    let token = directory.join("token");
    let host = if address.host.contains(':') { format!("[{}]", address.host) } else { address.host };
    let mut config = Config::new(format!("https://{host}:{}", address.port).parse().ok()?);
    config.root_cert = Some(authorities.flatten().map(|authority| authority.to_vec()).collect());
    config.tls_server_name = Some(SERVER_NAME.to_owned());
    config.auth_info = AuthInfo { token_file: Some(token.to_str()?.to_owned()), ..AuthInfo::default() };
    Some(config)
}

fn cluster(error: kube::Error) -> CliError {
    CliError::Cluster(Box::new(error))
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
