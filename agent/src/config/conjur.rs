//! `backend.conjur`: where Conjur is, how to log in there, and how merges are serialised.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;
use super::{ConjurConfig, IdentityConfig, IdentityKind, LeaseConfig};
use crate::conjur::policy::RootBranch;
use crate::conjur::{Authn, Authorities};

/// Where injected pods have the token for Conjur.
pub(super) const TOKEN_FILE: &str = "/var/run/secrets/cloakroom/conjur/token";

const URL: &str = "backend.conjur.url";
const FOLLOWER_URL: &str = "backend.conjur.followerUrl";
const ACCOUNT: &str = "backend.conjur.account";
const CA_FILE: &str = "backend.conjur.caFile";
const CA_PEM: &str = "backend.conjur.caPem";
const ROOT: &str = "backend.conjur.rootPolicyPath";
const SERVICE_ID: &str = "backend.conjur.authn.jwt.serviceId";
const HOST_ID: &str = "backend.conjur.authn.jwt.hostId";
const JWT_FILE: &str = "backend.conjur.authn.jwt.tokenFile";
const LOGIN: &str = "backend.conjur.authn.apiKey.login";
const KEY_FILE: &str = "backend.conjur.authn.apiKey.apiKeyFile";
const LEASE_MODE: &str = "backend.conjur.lease.mode";
const LEASE_NAMESPACE: &str = "backend.conjur.lease.namespace";

/// What was written down, before it is known whether it is wanted.
pub(super) struct Written {
    url: Option<String>,
    follower_url: Option<String>,
    account: Option<String>,
    ca_file: Option<PathBuf>,
    ca_pem: Option<String>,
    root: Option<String>,
    version_poll: Duration,
    service_id: Option<String>,
    host_id: Option<String>,
    token_file: Option<PathBuf>,
    login: Option<String>,
    api_key_file: Option<PathBuf>,
    lease: Option<bool>,
    lease_namespace: Option<String>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Written {
    let lease = [("kubernetes", true), ("none", false)];
    Written {
        url: reader.text(URL, "The leader: https://HOST[:PORT][/PATH]. Everything is written there."),
        follower_url: reader.text(FOLLOWER_URL, "Whom reads and logins are sent to. Default: the leader"),
        account: reader.text(ACCOUNT, "Conjur's account."),
        ca_file: reader.absolute(CA_FILE, "The authorities to trust, as PEM; read again when it changes."),
        ca_pem: reader.text(CA_PEM, "The same as text. Without either, the system's authorities are trusted."),
        root: reader.text(ROOT, "The policy branch that everything lives under. Default: controlplane"),
        version_poll: reader.duration(
            "backend.conjur.versionPoll",
            Duration::from_secs(30),
            (Duration::ZERO, Duration::from_hours(1)),
            "How often the version of each secret in use is asked for, so that changes by others are noticed; 0s never.",
        ),
        service_id: reader.text(SERVICE_ID, "The service of authn-jwt."),
        host_id: reader.text(HOST_ID, "The host, where the service does not read it from the token."),
        token_file: reader.absolute(
            JWT_FILE,
            "The pod's token for Conjur, read at each login. Default: /var/run/secrets/cloakroom/conjur/token",
        ),
        login: reader.text(LOGIN, "Who logs in by API key: host/PATH, or a user's name."),
        api_key_file: reader.absolute(KEY_FILE, "The file with the API key, read at each login."),
        lease: reader.choice(
            LEASE_MODE,
            &lease,
            Some("kubernetes"),
            "How merges of one slot are serialised: by a Kubernetes Lease, or none where this agent is the only writer.",
        ),
        lease_namespace: reader.text(
            LEASE_NAMESPACE,
            "Where the Leases are, the same for all agents that write. Default: the pod's own namespace",
        ),
    }
}

impl Written {
    /// Which keys were given.
    pub(super) fn is_given(&self) -> bool {
        [&self.url, &self.follower_url, &self.account, &self.ca_pem, &self.root, &self.service_id, &self.host_id]
            .into_iter()
            .chain([&self.login, &self.lease_namespace])
            .any(Option::is_some)
            || [&self.ca_file, &self.token_file, &self.api_key_file].into_iter().any(Option::is_some)
    }

    pub(super) fn check(self, reader: &mut Reader<'_>, identity: Option<&IdentityConfig>) -> Option<ConjurConfig> {
        let url = reader.required(URL, self.url, "is missing; write https://HOST of Conjur's leader");
        let url = url.and_then(|text| base_url(reader, URL, &text));
        let follower_url = self.follower_url.map(|text| base_url(reader, FOLLOWER_URL, &text));
        let account = reader.required(ACCOUNT, self.account, "is missing; write the account of your Conjur");
        let account = account.filter(|account| {
            let fits = !account.is_empty() && !account.contains([':', '/', '?', '#', '%']) && is_visible(account);
            if !fits {
                reader.problem(ACCOUNT, "must be the name of an account, without spaces, colons and slashes");
            }
            fits
        });
        let authorities = match (self.ca_file, self.ca_pem) {
            (Some(_), Some(_)) => {
                reader.problem(CA_PEM, "stands beside caFile; keep one of them");
                None
            }
            (Some(file), None) => Some(Authorities::File(file)),
            (None, Some(pem)) => {
                let usable = crate::trust::bundle(pem.as_bytes()).is_some();
                if !usable {
                    reader.problem(CA_PEM, "holds no certificate; paste PEM with its BEGIN and END lines");
                }
                usable.then_some(Authorities::Pem(pem))
            }
            (None, None) => Some(Authorities::System),
        };
        let root = match self.root {
            None => Some(RootBranch::default()),
            Some(text) => {
                let root = RootBranch::parse(&text).ok();
                if root.is_none() {
                    reader.problem(ROOT, "must be a branch: names of [A-Za-z0-9_-], joined by /");
                }
                root
            }
        };
        let authn = authn(reader, (self.service_id, self.host_id, self.token_file), (self.login, self.api_key_file));
        let lease = self.lease.and_then(|mode| lease(reader, mode, self.lease_namespace, identity));
        Some(ConjurConfig {
            url: url?,
            follower_url: match follower_url {
                Some(url) => Some(url?),
                None => None,
            },
            account: account?,
            authorities: authorities?,
            root: root?,
            version_poll: self.version_poll,
            authn: authn?,
            lease: lease?,
        })
    }
}

fn authn(
    reader: &mut Reader<'_>,
    (service_id, host_id, token_file): (Option<String>, Option<String>, Option<PathBuf>),
    (login, key_file): (Option<String>, Option<PathBuf>),
) -> Option<Authn> {
    let jwt = service_id.is_some() || host_id.is_some() || token_file.is_some();
    let api_key = login.is_some() || key_file.is_some();
    if jwt && api_key {
        reader.problem("backend.conjur.authn", "names two ways to log in; keep jwt or apiKey");
        return None;
    }
    if api_key {
        let login = reader.required(LOGIN, login, "is missing; write host/PATH, or a user's name");
        let file = reader.required(KEY_FILE, key_file, "is missing; give the path of the file with the key");
        return Some(Authn::ApiKey { login: identifier(reader, LOGIN, login?)?, file: file? });
    }
    let service = service_id.filter(|id| !id.is_empty());
    let service_id = reader.required(SERVICE_ID, service, "is missing; name the service of authn-jwt, or use apiKey");
    let host_id = match host_id {
        // An identity in the path is a user's name unless it says otherwise.
        Some(id) if !id.starts_with("host/") => Some(identifier(reader, HOST_ID, format!("host/{id}"))?),
        Some(id) => Some(identifier(reader, HOST_ID, id)?),
        None => None,
    };
    Some(Authn::Jwt {
        service_id: identifier(reader, SERVICE_ID, service_id?)?,
        host_id,
        token_file: token_file.unwrap_or_else(|| PathBuf::from(TOKEN_FILE)),
    })
}

fn lease(
    reader: &mut Reader<'_>,
    by_kubernetes: bool,
    namespace: Option<String>,
    identity: Option<&IdentityConfig>,
) -> Option<LeaseConfig> {
    if !by_kubernetes {
        if namespace.is_some() {
            reader.problem(LEASE_NAMESPACE, "stands beside mode none; take it away");
        }
        return Some(LeaseConfig::None);
    }
    if identity.is_some_and(|identity| identity.kind == IdentityKind::Uid) {
        reader.problem(
            LEASE_MODE,
            "kubernetes, the default, needs identity pod; with identity uid write none, and let this agent be the only \
             writer",
        );
        return None;
    }
    let fits = |name: &String| {
        let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&name.len()) && name.bytes().all(label)
    };
    if namespace.as_ref().is_some_and(|name| !fits(name)) {
        reader.problem(LEASE_NAMESPACE, "must be the name of a namespace");
        return None;
    }
    Some(LeaseConfig::Kubernetes { namespace })
}

fn is_visible(text: &str) -> bool {
    text.chars().all(|c| !c.is_control() && !c.is_whitespace())
}

fn identifier(reader: &mut Reader<'_>, path: &str, id: String) -> Option<String> {
    let fits = !id.is_empty() && is_visible(&id);
    if !fits {
        reader.problem(path, "must be an id, without spaces");
    }
    fits.then_some(id)
}

/// An address without a slash at its end, to which paths are added.
fn base_url(reader: &mut Reader<'_>, path: &str, text: &str) -> Option<String> {
    let url = reqwest::Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "https" | "http")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    if url.is_none() {
        reader.problem(path, "must be https://HOST[:PORT][/PATH], without credentials");
    }
    Some(url?.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_holds_no_credentials_and_ends_without_a_slash() {
        let base = |text: &str| {
            let document = json!({});
            base_url(&mut Reader::new(&document), "x", text)
        };
        assert_eq!(base("https://conjur.example/").as_deref(), Some("https://conjur.example"));
        assert_eq!(base("https://conjur.example:8443/api/").as_deref(), Some("https://conjur.example:8443/api"));
        for wrong in ["", "conjur", "ftp://x", "https://a:b@x", "https://x?y", "https://x#y", "file:///etc"] {
            assert_eq!(base(wrong), None, "{wrong}");
        }
    }
}
