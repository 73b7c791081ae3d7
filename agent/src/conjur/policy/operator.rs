//! What an operator loads once: the authenticator, the hosts of agents, the root branch, and who may do what in it.

use std::collections::{BTreeMap, BTreeSet};

use super::scope::{READERS, WRITERS, body, groups};
use super::statement::{Kind, Record, Resource, Statement, to_yaml};
use super::{LoadInto, RootBranch, branch, group_id, own_name};
use crate::access::{Right, Subject};
use crate::id::{Scope, ScopePattern};

/// In the hosts' branch: the hosts that may log in through the authenticator.
const AGENTS: &str = "cloakroom-agents";

/// What an agent's host may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostGrant {
    /// The service account. A uid has no host in Conjur.
    pub subject: Subject,
    /// One right.
    pub right: Right,
    /// Where.
    pub scope: ScopePattern,
}

/// Which variable of the authenticator has the keys that service account tokens are checked with. Conjur takes only
/// one of them to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningKeys {
    /// The keys themselves.
    PublicKeys,
    /// Where Conjur fetches them.
    JwksUri,
}

/// The policy that is loaded into the account's root.
///
/// All of it goes there by POST, in one load, so that an onboarding credential, which loads into branches below, can
/// neither revoke nor replace what is said here about other branches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorPolicy {
    /// Where the scopes lie.
    pub root: RootBranch,
    /// Where the hosts lie: the authenticator's `identity-path`.
    pub hosts: RootBranch,
    /// The authenticator's service id.
    pub service: String,
    /// Make the authenticator too; none if it exists.
    pub authenticator: Option<SigningKeys>,
    /// Whether onboarders may also delete.
    pub may_delete: bool,
    /// Who may do what.
    pub grants: Vec<HostGrant>,
}

impl OperatorPolicy {
    /// The text, with a comment before each statement.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (comment, statement) in self.statements() {
            for line in comment.lines() {
                text.push_str("# ");
                text.push_str(line);
                text.push('\n');
            }
            text.push_str(&to_yaml(&[statement]));
            text.push('\n');
        }
        text
    }

    fn statements(&self) -> Vec<(String, Statement)> {
        let mut statements = Vec::new();
        statements.extend(self.authenticator.map(|keys| self.authenticator(keys)));
        statements.push(self.root_branch());
        statements.push(self.hosts_branch());
        statements.push((
            format!("The hosts of that group may log in through authn-jwt/{}.", self.service),
            Statement::Permit {
                role: Record::relative(Kind::Group, format!("{}/{AGENTS}", self.hosts.as_str())),
                privileges: &["read", "authenticate"],
                resource: Resource::Record(Record::relative(Kind::Webservice, self.webservice())),
            },
        ));
        statements.extend(self.memberships());
        statements.extend(self.onboarders());
        statements
    }

    fn webservice(&self) -> String {
        format!("conjur/authn-jwt/{}", self.service)
    }

    fn authenticator(&self, keys: SigningKeys) -> (String, Statement) {
        let keys = match keys {
            SigningKeys::PublicKeys => "public-keys",
            SigningKeys::JwksUri => "jwks-uri",
        };
        // Only what is going to be set: the mere existence of some of these variables changes how Conjur decides.
        let variables = [keys, "issuer", "audience", "token-app-property", "identity-path"];
        let record = |kind, id: &str| Statement::Record(Record::relative(kind, id));
        let mut body = vec![record(Kind::Webservice, ""), record(Kind::Webservice, "status")];
        body.extend(variables.map(|name| record(Kind::Variable, name)));
        let comment = format!(
            "The authenticator of the cluster's service account tokens. Set its variables after this load:\n\
             token-app-property to `sub`, identity-path to `{}`, audience to the one of the agents' tokens.\n\
             `status` is what GET /authn-jwt/{}/ACCOUNT/status asks about.",
            self.hosts.as_str(),
            self.service
        );
        (comment, Statement::Policy { id: self.webservice(), body })
    }

    /// The root branch with the scopes that grants name: a host can be put only into a group that exists.
    fn root_branch(&self) -> (String, Statement) {
        let named = self.grants.iter().filter_map(|grant| match &grant.scope {
            ScopePattern::All => None,
            ScopePattern::Below(scope) => Some(scope.lineage()),
        });
        let scopes: BTreeSet<Scope> = named.flatten().collect();
        let mut below = groups();
        below.extend(self.children(None, &scopes));
        let comment =
            "The branch of all scopes. Members of its groups are members in every scope's groups of that name.\n\
             A scope that is named below is made without secrets; onboarding adds them."
                .to_owned();
        (comment, Statement::Policy { id: self.root.as_str().to_owned(), body: below })
    }

    fn children(&self, around: Option<&Scope>, scopes: &BTreeSet<Scope>) -> Vec<Statement> {
        let own = scopes.iter().filter(|scope| LoadInto::Parent.base(scope).as_ref() == around);
        own.map(|scope| {
            let mut statements = body(&self.root, scope, &[]);
            statements.extend(self.children(Some(scope), scopes));
            Statement::Policy { id: own_name(scope).to_owned(), body: statements }
        })
        .collect()
    }

    fn hosts_branch(&self) -> (String, Statement) {
        let subjects: BTreeSet<&Subject> = self.grants.iter().map(|grant| &grant.subject).collect();
        let mut body = vec![Statement::Record(Record::relative(Kind::Group, AGENTS))];
        for subject in subjects {
            let Some((namespace, name)) = account(subject) else { continue };
            let annotation = |claim: &str, value: &str| {
                (format!("authn-jwt/{}/kubernetes.io/{claim}", self.service), value.to_owned())
            };
            body.push(Statement::Host {
                id: subject.as_str().to_owned(),
                annotations: vec![annotation("namespace", namespace), annotation("serviceaccount/name", name)],
            });
            body.push(Statement::Grant {
                role: Record::relative(Kind::Group, AGENTS),
                member: Record::relative(Kind::Host, subject.as_str()),
            });
        }
        let comment =
            "A host for each service account whose pods have an agent. Its annotations must be in the token.\n\
             Its API key is printed by the load; an agent in a pod does not need it."
                .to_owned();
        (comment, Statement::Policy { id: self.hosts.as_str().to_owned(), body })
    }

    fn memberships(&self) -> Vec<(String, Statement)> {
        let group = |right| match right {
            Right::SecretsRead => READERS,
            // Onboarding sets the first values, and must see whether there is one.
            Right::SecretsWrite | Right::OnboardingWrite => WRITERS,
        };
        let mut members: BTreeMap<(String, &Subject), Vec<Right>> = BTreeMap::new();
        for grant in self.grants.iter().filter(|grant| account(&grant.subject).is_some()) {
            let group = group_id(&self.root, below(&grant.scope), group(grant.right));
            members.entry((group, &grant.subject)).or_default().push(grant.right);
        }
        let statement = |((group, subject), rights): ((String, &Subject), Vec<Right>)| {
            let comment = if rights.iter().all(|right| *right == Right::OnboardingWrite) {
                format!("{subject}\nsets the first values of what it onboards.")
            } else {
                let what = if rights == [Right::SecretsRead] { "reads" } else { "reads and writes" };
                format!("{subject}\n{what} there and in every scope below.")
            };
            let grant = Statement::Grant { role: Record::relative(Kind::Group, group), member: self.host(subject) };
            (comment, grant)
        };
        members.into_iter().map(statement).collect()
    }

    fn onboarders(&self) -> Vec<(String, Statement)> {
        let onboarders = self.grants.iter().filter(|grant| grant.right == Right::OnboardingWrite);
        let places: BTreeSet<(String, &Subject)> = onboarders
            .filter(|grant| account(&grant.subject).is_some())
            .map(|grant| (branch(&self.root, below(&grant.scope)), &grant.subject))
            .collect();
        let privileges: &[&str] = if self.may_delete { &["create", "update"] } else { &["create"] };
        let statement = |(branch, subject): (String, &Subject)| {
            let what = if self.may_delete { "onboards and deletes" } else { "onboards" };
            let comment = format!(
                "{subject}\n{what} in this branch. Whoever may load into a branch can give itself everything in it:\n\
                 trust this service account as much as the branch is worth."
            );
            let resource = Resource::Record(Record::relative(Kind::Policy, branch));
            (comment, Statement::Permit { role: self.host(subject), privileges, resource })
        };
        places.into_iter().map(statement).collect()
    }

    fn host(&self, subject: &Subject) -> Record {
        Record::relative(Kind::Host, format!("{}/{subject}", self.hosts.as_str()))
    }
}

fn below(pattern: &ScopePattern) -> Option<&Scope> {
    match pattern {
        ScopePattern::All => None,
        ScopePattern::Below(scope) => Some(scope),
    }
}

/// Namespace and name of a service account.
fn account(subject: &Subject) -> Option<(&str, &str)> {
    subject.as_str().strip_prefix("system:serviceaccount:")?.split_once(':')
}
