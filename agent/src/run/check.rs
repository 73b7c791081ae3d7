//! What an agent with a configuration would meet, asked once and told in sentences: `config check --online`.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::{settings, sources};
use crate::backend::embedded::Embedded;
use crate::config::{BackendConfig, Config, ConjurConfig, EmbeddedConfig, IdentityKind, LeaseConfig, Permissions};
use crate::conjur::Conjur;
use crate::diagnosis::{Findings, Verdict, chain, shown};
use crate::kubernetes::review::Attributes;
use crate::kubernetes::{Address, ApiServer, CallError, MINOR_MIN};

/// How long one question to the API server may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Asks the backend of `config`, and the API server at `address` where an agent would need it.
pub async fn check(config: &Config, address: &Address) -> Findings {
    let mut findings = Findings::default();
    match &config.backend {
        BackendConfig::Embedded(embedded) => store(config, embedded, &mut findings),
        BackendConfig::Kubernetes(_) => {
            cluster(config, address, true, &mut findings).await;
        }
        BackendConfig::Conjur(conjur) => {
            match Conjur::new(settings::conjur(config, conjur), TaskTracker::new()) {
                Ok(client) => client.diagnose(&conjur.root, &mut findings).await,
                Err(error) => findings.add(Verdict::Wrong, chain(&error)),
            }
            let by_cluster = config.identity.kind == IdentityKind::Pod || config.permissions == Permissions::Kubernetes;
            if by_cluster || conjur.lease != LeaseConfig::None {
                // Whoever checks may sit outside the pod: what is missing here need not be missing there.
                if let Some(api) = cluster(config, address, false, &mut findings).await {
                    leases(config, conjur, &api, &mut findings).await;
                }
            }
        }
    }
    findings
}

/// A store that is not there yet is not made.
fn store(config: &Config, embedded: &EmbeddedConfig, findings: &mut Findings) {
    let (file, key) = (embedded.file.display(), embedded.key_file.display());
    match (embedded.file.exists(), embedded.key_file.exists()) {
        (false, _) => findings.add(Verdict::Note, format!("there is no store at {file} yet; the agent makes it")),
        (true, false) => {
            let sentence = format!("backend.embedded.keyFile: there is a store at {file}, and no key at {key}");
            findings.add(Verdict::Wrong, sentence);
        }
        (true, true) => {
            let slots = (Arc::new(config.secrets.catalogue.clone()), config.secrets.generator.clone());
            match Embedded::open(settings::embedded(config, embedded), slots.0, slots.1) {
                Ok(_) => findings.add(Verdict::Fine, format!("the store {file} opens with its key")),
                Err(crate::backend::embedded::OpenError::InUse { .. }) => {
                    findings.add(Verdict::Note, format!("the store {file} is in use, by an agent or another process"));
                }
                Err(error) => findings.add(Verdict::Wrong, chain(&error)),
            }
        }
    }
}

/// The API server, where it answers. What is wrong is a failure only where it is `needed`.
async fn cluster(config: &Config, address: &Address, needed: bool, findings: &mut Findings) -> Option<ApiServer> {
    let mut tell =
        |verdict: Verdict, sentence: String| findings.add(if needed { verdict } else { Verdict::Note }, sentence);
    let api = match ApiServer::new(address, &config.identity.token_dir) {
        Ok(api) => api,
        Err(error) => {
            tell(Verdict::Wrong, chain(&error));
            return None;
        }
    };
    let place = format!("{}:{}", address.host, address.port);
    match api.minor_version(WITHIN).await {
        Ok(minor) if minor >= MINOR_MIN => {
            findings.add(Verdict::Fine, format!("Kubernetes 1.{minor} answers at {place}"));
        }
        Ok(minor) => {
            let sentence =
                format!("the API server at {place} is Kubernetes 1.{minor}; the oldest that will do is 1.{MINOR_MIN}");
            tell(Verdict::Wrong, sentence);
            return None;
        }
        Err(error) => {
            tell(verdict(error), format!("{error}, at {place}"));
            return None;
        }
    }
    match api.who_am_i(WITHIN).await {
        Ok(identified) => {
            let pod = identified.pod.map(|pod| format!(", in pod {}", shown(&pod))).unwrap_or_default();
            findings.add(Verdict::Fine, format!("the API server takes us for {}{pod}", shown(&identified.user)));
            Some(api)
        }
        Err(error) => {
            let mut tell = |verdict, sentence| findings.add(if needed { verdict } else { Verdict::Note }, sentence);
            tell(verdict(error), format!("the API server does not say who we are: {error}"));
            None
        }
    }
}

/// Whether writers can be kept apart. One that only reads needs none of it.
async fn leases(config: &Config, conjur: &ConjurConfig, api: &ApiServer, findings: &mut Findings) {
    let LeaseConfig::Kubernetes { namespace } = &conjur.lease else { return };
    let namespace = match sources::lease_namespace(config, namespace.as_deref()) {
        Ok(namespace) => namespace,
        Err(error) => return findings.add(Verdict::Note, format!("{error:#}")),
    };
    let mut missing = Vec::new();
    for verb in ["get", "create", "update"] {
        let what =
            Attributes { group: "coordination.k8s.io", resource: "leases", verb, namespace: &namespace, name: "" };
        match api.may_i(what, WITHIN).await {
            Ok(true) => {}
            Ok(false) => missing.push(verb),
            Err(error) => return findings.add(Verdict::Note, format!("rights on leases could not be asked: {error}")),
        }
    }
    if missing.is_empty() {
        findings.add(Verdict::Fine, format!("may use leases in namespace {namespace}, so that merges are serialised"));
    } else {
        let missing = missing.join(", ");
        findings.add(
            Verdict::Note,
            format!("may not {missing} leases in namespace {namespace}: merges are refused; an agent that only reads needs none"),
        );
    }
}

fn verdict(error: CallError) -> Verdict {
    match error {
        CallError::Unreachable | CallError::Lost | CallError::Failed | CallError::Busy(_) => Verdict::Unavailable,
        CallError::NotAuthenticated => Verdict::Denied,
        CallError::Misbehaved => Verdict::Wrong,
    }
}
