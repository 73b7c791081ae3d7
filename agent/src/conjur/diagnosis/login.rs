//! One login, and everything that a refusal can mean: Conjur tells it to its own log and to nobody else.

use bytes::Bytes;
use http::{StatusCode, header};
use tokio::time::timeout;

use super::super::answer::Answer;
use super::super::authn::Login;
use super::super::token::AccessToken;
use super::super::{Authn, Conjur};
use super::reach::Reached;
use crate::diagnosis::Verdict;

const BYTES_MAX: usize = 64 << 10;

/// The one reason for which Conjur answers a login with more than a status.
const EXPIRED: &[u8] = b"CONJ00016E";

/// What a 401 to a JWT can mean, by the code in Conjur's own log.
const JWT_REASONS: [(&str, &str); 9] = [
    ("CONJ00004E", "the authenticator is not enabled"),
    ("CONJ00005E", "there is no such webservice: the service id, or the account, is wrong"),
    ("CONJ00007E", "there is no such host: it must be IDENTITY-PATH/system:serviceaccount:NAMESPACE:NAME"),
    ("CONJ00049E", "an annotation of the host differs from the token: namespace, service account, service id"),
    ("CONJ00098E", "the identity is told twice or not at all: token-app-property or authn.jwt.hostId, never both"),
    ("CONJ00099E", "the host has no annotation authn-jwt/SERVICE/…"),
    ("CONJ00091E", "the token lacks a claim that must be in it"),
    ("CONJ00087E, CONJ00123E", "Conjur cannot fetch the cluster's keys"),
    ("a line without one of these", "audience, issuer, signature or time of the token"),
];

/// The same to an API key.
const KEY_REASONS: [(&str, &str); 3] = [
    ("CONJ00002E", "the API key is wrong: rotated meanwhile, or a password in its place"),
    ("CONJ00007E", "there is no such host or user, or the account is wrong: hosts are written host/PATH"),
    ("CONJ00003E", "the role may not log in from this address (restricted_to)"),
];

/// Logs in once. What refused it, if anything did.
pub(super) async fn log_in(conjur: &Conjur, reached: &Reached, login: Login) -> Option<(Verdict, String)> {
    let settings = &conjur.inner.settings;
    let url = format!("{}{}", conjur.inner.base(reached.side), login.path);
    let request = conjur.inner.transport.client().post(url);
    let request = request.header(header::CONTENT_TYPE, login.content_type).body(Bytes::from_owner(login.body));
    let unavailable = |what: &str| Some((Verdict::Unavailable, format!("{what}: try again, and see Conjur's log")));
    let exchange = async { Answer::read(request.send().await.ok()?, BYTES_MAX).await.ok() };
    let Ok(Some(answer)) = timeout(settings.call, exchange).await else {
        return unavailable("Conjur did not answer the login");
    };
    match answer.status {
        StatusCode::OK => match AccessToken::parse(&answer.body) {
            Ok(_) => None,
            Err(error) => Some((Verdict::Wrong, format!("Conjur's answer to the login cannot be used: {error}"))),
        },
        StatusCode::UNAUTHORIZED => Some((Verdict::Denied, refused(&settings.authn, &answer))),
        StatusCode::FORBIDDEN => Some((
            Verdict::Denied,
            "Conjur knows the host, and it may not use the authenticator (403, CONJ00006E in Conjur's log): it needs \
             `authenticate` on the webservice; load the policy of `cloakroom conjur policy` again, which makes it a member of \
             `cloakroom-agents`"
                .to_owned(),
        )),
        StatusCode::BAD_REQUEST => {
            let sentence = "Conjur finds no token in the login (400): check what the file holds";
            Some((Verdict::Wrong, sentence.to_owned()))
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            unavailable("Conjur has no time for a login (429 or 503)")
        }
        StatusCode::INTERNAL_SERVER_ERROR => unavailable("Conjur failed at the login (500)"),
        status if status.is_server_error() => unavailable("what stands in front of Conjur failed at the login"),
        status => Some((
            Verdict::Wrong,
            format!(
                "the login is answered {}, which no Conjur does: check account, service id and the path of the URL",
                status.as_u16()
            ),
        )),
    }
}

fn refused(authn: &Authn, answer: &Answer) -> String {
    if answer.body.windows(EXPIRED.len()).any(|window| window == EXPIRED) {
        return "Conjur says that the token has expired (401, CONJ00016E): has the kubelet renewed the file, and are the \
                clocks of node and server right? There is no leeway"
            .to_owned();
    }
    let reasons: &[(&str, &str)] = match authn {
        Authn::Jwt { .. } => &JWT_REASONS,
        Authn::ApiKey { .. } => &KEY_REASONS,
    };
    let mut text = "Conjur refuses the login (401) and says only to its own log why; look there for".to_owned();
    for (code, reason) in reasons {
        text.push_str("\n  ");
        text.push_str(code);
        text.push_str(": ");
        text.push_str(reason);
    }
    text
}
