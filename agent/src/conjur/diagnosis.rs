//! What stands between an agent and its Conjur: asked step by step, each step told in plain words.
//!
//! Conjur answers most failed logins with an empty 401. So everything that can be known without a login is asked first,
//! and what looks wrong there is told together with the refusal.

mod claims;
mod login;
mod reach;

use http::StatusCode;

use super::call::{ConjurError, Outgoing};
use super::policy::RootBranch;
use super::requests::encode;
use super::{Authn, Conjur, Side};
use crate::diagnosis::{Findings, Verdict, chain, shown};

/// Whether a role has a privilege.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Yes,
    No,
    /// There is no such thing, or none that we see.
    Invisible,
}

impl Conjur {
    /// Asks everything that an agent with these settings needs.
    pub async fn diagnose(&self, root: &RootBranch, findings: &mut Findings) {
        let settings = &self.inner.settings;
        let credential = settings.authn.login(&settings.account);
        if let Err(error) = &credential {
            findings.add(Verdict::Wrong, format!("{}: {}", chain(error), advice_on_file(&settings.authn)));
        }
        let leader = reach::reach(self, Side::Leader, findings).await;
        let follower = if self.has_follower() { reach::reach(self, Side::Follower, findings).await } else { None };
        // Logins go where the agent sends them.
        let Some(asked) = follower.or(leader.clone()) else { return };
        let mut suspicions = self.suspect_service(&asked, findings);
        let Ok(credential) = credential else { return };
        if matches!(settings.authn, Authn::Jwt { .. }) {
            claims::tell(&settings.authn, &credential, &asked, findings, &mut suspicions);
        }
        let refused = login::log_in(self, &asked, credential).await;
        let logged_in = refused.is_none();
        for suspicion in suspicions {
            // Where the login succeeds all the same, Conjur knows better.
            findings.add(if logged_in { Verdict::Note } else { Verdict::Wrong }, suspicion);
        }
        if let Some((verdict, sentence)) = refused {
            findings.add(verdict, sentence);
            return;
        }
        // The leader may be what cannot be reached.
        if leader.is_some() {
            self.tell_role(root, findings).await;
        }
    }

    /// Compares the service with those that Conjur tells everybody about.
    fn suspect_service(&self, reached: &reach::Reached, findings: &mut Findings) -> Vec<String> {
        let ours = match &self.inner.settings.authn {
            Authn::Jwt { service_id, .. } => format!("authn-jwt/{service_id}"),
            Authn::ApiKey { .. } => "authn".to_owned(),
        };
        let Some(known) = &reached.authenticators else {
            findings.add(Verdict::Note, "GET /authenticators is not answered, so the service id could not be compared");
            return Vec::new();
        };
        if known.enabled.contains(&ours) {
            findings.add(Verdict::Fine, format!("the authenticator `{ours}` is enabled"));
            return Vec::new();
        }
        let enabled = format!("enabled are {}", list(&known.enabled));
        if known.configured.contains(&ours) {
            return vec![format!(
                "the authenticator `{ours}` exists and is not enabled: add it to CONJUR_AUTHENTICATORS of the server; {enabled}"
            )];
        }
        vec![format!(
            "Conjur has no authenticator `{ours}`: check backend.conjur.authn.jwt.serviceId, or load the policy of \
             `cloakroom conjur policy` and enable it; {enabled}"
        )]
    }

    /// Who we are there, and what the branch of the scopes takes from us.
    async fn tell_role(&self, root: &RootBranch, findings: &mut Findings) {
        match self.whoami(Side::Leader).await {
            Ok(name) => findings.add(Verdict::Fine, format!("logged in as {}", shown(&name))),
            Err(error) => return findings.add(verdict(error), format!("logged in, and then: {error}")),
        }
        let branch = root.as_str();
        let held = match (self.held(branch, "create").await, self.held(branch, "update").await) {
            (Ok(create), Ok(update)) => (create, update),
            (Err(error), _) | (_, Err(error)) => {
                let sentence = format!("what may be done in the branch `{branch}` could not be asked: {error}");
                return findings.add(Verdict::Note, sentence);
            }
        };
        let sentence = match held {
            (Held::Yes, Held::Yes) => format!("may onboard and offboard everywhere in the branch `{branch}`"),
            (Held::Yes, _) => format!(
                "may onboard everywhere in the branch `{branch}`, and not offboard: that takes `update` on it (--may-delete)"
            ),
            (Held::Invisible, _) => format!(
                "does not see the branch `{branch}`: either it does not exist (see backend.conjur.rootPolicyPath), or this \
                 role holds nothing on it, as one that only reads"
            ),
            (Held::No, _) => format!(
                "may not onboard in the branch `{branch}` as a whole: that takes `create` on it; not needed to read, or to \
                 onboard in a narrower branch"
            ),
        };
        findings.add(Verdict::Note, sentence);
    }

    async fn held(&self, branch: &str, privilege: &str) -> Result<Held, ConjurError> {
        let (account, branch) = (encode(self.account()), encode(branch));
        let target = format!("/resources/{account}/policy/{branch}?check=true&privilege={privilege}");
        let answer = match self.call(Outgoing::get(Side::Leader, target, 64 << 10), self.inner.settings.call).await {
            Err(ConjurError::Denied) => return Ok(Held::No),
            answer => answer?,
        };
        match answer.status {
            StatusCode::NO_CONTENT | StatusCode::OK => Ok(Held::Yes),
            // Of what we see it is empty.
            StatusCode::NOT_FOUND if answer.body.is_empty() => Ok(Held::No),
            StatusCode::NOT_FOUND => Ok(Held::Invisible),
            _ => Err(ConjurError::Misbehaved),
        }
    }
}

fn advice_on_file(authn: &Authn) -> &'static str {
    match authn {
        Authn::Jwt { .. } => {
            "the pod needs a projected service-account token there, with Conjur's audience \
             (backend.conjur.authn.jwt.tokenFile)"
        }
        Authn::ApiKey { .. } => "put the host's API key there (backend.conjur.authn.apiKey.apiKeyFile)",
    }
}

fn verdict(error: ConjurError) -> Verdict {
    match error {
        ConjurError::Unreachable
        | ConjurError::TooLate
        | ConjurError::Lost
        | ConjurError::Failed
        | ConjurError::Gateway
        | ConjurError::Limited(_)
        | ConjurError::Busy(_) => Verdict::Unavailable,
        ConjurError::NotAuthenticated | ConjurError::LoginRefused | ConjurError::Denied => Verdict::Denied,
        ConjurError::NoCredential | ConjurError::TooLarge | ConjurError::Unexpected | ConjurError::Misbehaved => {
            Verdict::Wrong
        }
    }
}

/// Names that Conjur told, those that are names.
fn list(names: &[String]) -> String {
    const NAMES_MAX: usize = 20;
    let plain =
        |name: &&String| name.len() <= 100 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_/".contains(&b));
    let names: Vec<String> = names.iter().filter(plain).take(NAMES_MAX).map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
