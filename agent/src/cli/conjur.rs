//! `conjur policy`: what was typed and what files say, as the policy that an operator loads once.

use std::path::Path;

use super::arguments::{ConjurPolicyArguments, SigningKeysName};
use super::configuration::{file_config, file_text};
use super::console::Console;
use super::error::CliError;
use crate::access::file::GrantTable;
use crate::access::{Right, Subject};
use crate::config::BackendConfig;
use crate::conjur::Authn;
use crate::conjur::policy::{HostGrant, OperatorPolicy, RootBranch, SigningKeys};
use crate::id::ScopePattern;

const DEFAULT_SERVICE: &str = "k8s";

pub(super) fn policy(arguments: &ConjurPolicyArguments, console: &mut Console) -> Result<(), CliError> {
    let configured = arguments.config.as_deref().map(Configured::read).transpose()?.unwrap_or_default();
    let root = match &arguments.root {
        Some(path) => branch(path)?,
        None => configured.root.unwrap_or_default(),
    };
    let hosts = branch(&arguments.identity_path)?;
    if root.holds(&hosts) {
        return Err(CliError::Usage {
            what: "the hosts lie in the branch of the scopes",
            advice: "give another --identity-path, or whoever onboards can make hosts",
        });
    }
    let service = match &arguments.service_id {
        Some(id) if is_service_id(id) => id.clone(),
        Some(_) => {
            return Err(CliError::Usage {
                what: "this is no service id",
                advice: "it has at most 60 of [A-Za-z0-9_-]",
            });
        }
        None => configured.service.unwrap_or_else(|| DEFAULT_SERVICE.to_owned()),
    };
    let keys = match arguments.signing_keys {
        SigningKeysName::PublicKeys => SigningKeys::PublicKeys,
        SigningKeysName::JwksUri => SigningKeys::JwksUri,
    };
    let (grants, hostless) = grants(arguments)?;
    let policy = OperatorPolicy {
        root,
        hosts,
        service,
        authenticator: (!arguments.without_authenticator).then_some(keys),
        may_delete: arguments.may_delete,
        grants,
    };
    console.line("# Load it with: conjur policy load -b root -f FILE")?;
    for subject in hostless {
        console.line(format!("# {subject} has no host here: an agent outside a cluster logs in with an API key."))?;
    }
    console.line("")?;
    Ok(console.output.write_all(policy.text().trim_end().as_bytes()).and_then(|()| console.output.write_all(b"\n"))?)
}

/// What a configuration says about Conjur.
#[derive(Default)]
struct Configured {
    root: Option<RootBranch>,
    service: Option<String>,
}

impl Configured {
    fn read(file: &Path) -> Result<Self, CliError> {
        let wrong = |advice| CliError::ConfigurationSource { what: file.display().to_string(), advice };
        let BackendConfig::Conjur(conjur) = file_config(file)?.backend else {
            return Err(wrong("its backend is not Conjur; write `kind: conjur`, or leave --config out"));
        };
        let service = match conjur.authn {
            Authn::Jwt { service_id, .. } if is_service_id(&service_id) => Some(service_id),
            Authn::Jwt { .. } => return Err(wrong("backend.conjur.authn.jwt.serviceId is no service id")),
            Authn::ApiKey { .. } => None,
        };
        Ok(Self { root: Some(conjur.root), service })
    }
}

/// All grants, and the subjects of the file that Conjur cannot know.
fn grants(arguments: &ConjurPolicyArguments) -> Result<(Vec<HostGrant>, Vec<Subject>), CliError> {
    let mut grants = Vec::new();
    for text in &arguments.onboarders {
        let subject = service_account(text)?;
        grants.push(HostGrant { subject, right: Right::OnboardingWrite, scope: ScopePattern::All });
    }
    let flags = [(&arguments.readers, Right::SecretsRead), (&arguments.writers, Right::SecretsWrite)];
    for (texts, right) in flags {
        for text in texts {
            let (scope, account) = text
                .split_once('=')
                .ok_or(CliError::Usage { what: "the scope is missing", advice: "write it as SCOPE=NAMESPACE:NAME" })?;
            let scope = ScopePattern::parse(scope).map_err(|_| CliError::Usage {
                what: "this is no scope",
                advice: "write ENV, ENV/TEAM or ENV/TEAM/APP, or * for all",
            })?;
            grants.push(HostGrant { subject: service_account(account)?, right, scope });
        }
    }
    let mut hostless = Vec::new();
    if let Some(file) = &arguments.grants {
        let table = GrantTable::parse(&file_text(file)?).map_err(CliError::Grants)?;
        for (subject, rights, scopes) in table.entries() {
            if !subject.as_str().starts_with("system:serviceaccount:") {
                hostless.push(subject.clone());
                continue;
            }
            for right in rights {
                grants.extend(scopes.iter().map(|scope| HostGrant {
                    subject: subject.clone(),
                    right: *right,
                    scope: scope.clone(),
                }));
            }
        }
    }
    Ok((grants, hostless))
}

fn service_account(text: &str) -> Result<Subject, CliError> {
    Subject::parse(&format!("system:serviceaccount:{text}"))
        .ok_or(CliError::Usage { what: "this is no service account", advice: "write it as NAMESPACE:NAME" })
}

fn branch(text: &str) -> Result<RootBranch, CliError> {
    RootBranch::parse(text).map_err(|_| CliError::Usage {
        what: "this is no path of a policy branch",
        advice: "it is segments of [A-Za-z0-9_-] joined by /",
    })
}

/// One segment of a URL and of a policy path.
fn is_service_id(text: &str) -> bool {
    !text.contains('/') && RootBranch::parse(text).is_ok()
}
