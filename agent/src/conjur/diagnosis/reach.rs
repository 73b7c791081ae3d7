//! Whether there is a Conjur at an address: the name, the connection, the certificate, and what answers behind it.

use std::io;
use std::time::Duration;

use http::{StatusCode, header};
use jiff::Timestamp;
use tokio::time::timeout;

use super::super::answer::Answer;
use super::super::cause;
use super::super::stranger::Stranger;
use super::super::{Authorities, Conjur, Side};
use crate::diagnosis::{Findings, Verdict, shown};

/// The longest answer that is read.
const BYTES_MAX: usize = 256 << 10;

/// A Conjur that answers.
#[derive(Clone)]
pub(super) struct Reached {
    pub(super) side: Side,
    /// Its clock, where it or a proxy tells it.
    pub(super) date: Option<Timestamp>,
    pub(super) authenticators: Option<Authenticators>,
}

/// `GET /authenticators`
#[derive(Clone, serde::Deserialize)]
pub(super) struct Authenticators {
    pub(super) configured: Vec<String>,
    pub(super) enabled: Vec<String>,
}

/// What answers at a side's address; nothing where no Conjur does, and then it has been told.
pub(super) async fn reach(conjur: &Conjur, side: Side, findings: &mut Findings) -> Option<Reached> {
    let url = conjur.inner.base(side);
    let key = match side {
        Side::Leader => "backend.conjur.url",
        Side::Follower => "backend.conjur.followerUrl",
    };
    match ask(conjur, side, url).await {
        Ok((reached, version)) => {
            if url.starts_with("http://") {
                let sentence = format!("{url} is not TLS: whoever is on the way reads every secret and the login");
                findings.add(Verdict::Note, sentence);
            }
            let version = version.map(|version| format!(" {version}")).unwrap_or_default();
            findings.add(Verdict::Fine, format!("Conjur{version} answers at {url}"));
            Some(reached)
        }
        Err((verdict, sentence)) => {
            findings.add(verdict, format!("{key}: {sentence}"));
            None
        }
    }
}

type Failure = (Verdict, String);

async fn ask(conjur: &Conjur, side: Side, url: &str) -> Result<(Reached, Option<String>), Failure> {
    let within = conjur.inner.settings.call;
    resolve(url, within).await?;
    let root = get(conjur, url, "/", within).await?;
    let version = version(&root);
    let date = date(&root);
    // A proxy may let logins through and not this.
    let authenticators: Option<Authenticators> = match get(conjur, url, "/authenticators", within).await {
        Ok(answer) if answer.status == StatusCode::OK => answer.json().ok(),
        _ => None,
    };
    if version.is_none() && authenticators.is_none() {
        return Err((Verdict::Wrong, no_conjur(url, &root)));
    }
    Ok((Reached { side, date, authenticators }, version))
}

/// Looked up apart from the connection, whose error does not tell a name from an address.
async fn resolve(url: &str, within: Duration) -> Result<(), Failure> {
    let parsed = reqwest::Url::parse(url).ok();
    let Some((name, port)) = parsed.as_ref().and_then(|url| Some((url.domain()?, url.port_or_known_default()?))) else {
        return Ok(());
    };
    let found = timeout(within, tokio::net::lookup_host((name, port))).await;
    if matches!(found.map(|found| found.map(|mut addresses| addresses.next())), Ok(Ok(Some(_)))) {
        return Ok(());
    }
    let sentence = format!("the name {name} cannot be resolved: check it, and the DNS of this machine or pod");
    Err((Verdict::Unavailable, sentence))
}

async fn get(conjur: &Conjur, url: &str, path: &str, within: Duration) -> Result<Answer, Failure> {
    let request = conjur.inner.transport.client().get(format!("{url}{path}"));
    let request = request.header(header::ACCEPT, "application/json");
    let late =
        || (Verdict::Unavailable, format!("{url} does not answer in time: check the way there (firewall, proxy)"));
    let response = match timeout(within, request.send()).await {
        Ok(response) => response.map_err(|error| no_answer(conjur, url, &error))?,
        Err(_elapsed) => return Err(late()),
    };
    let status = response.status();
    match status {
        StatusCode::INTERNAL_SERVER_ERROR => {
            let sentence =
                format!("{url} fails at everything (500): if it is Conjur, its database is down; see its log");
            return Err((Verdict::Unavailable, sentence));
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let sentence = format!("{url} is overloaded or not ready ({}): try again", status.as_u16());
            return Err((Verdict::Unavailable, sentence));
        }
        _ if status.is_server_error() => {
            let sentence =
                format!("what stands in front of Conjur at {url} failed ({}): see the proxy", status.as_u16());
            return Err((Verdict::Unavailable, sentence));
        }
        _ => {}
    }
    match timeout(within, Answer::read(response, BYTES_MAX)).await {
        Ok(answer) => {
            answer.map_err(|error| (Verdict::Wrong, format!("{url} gives an answer that cannot be read: {error}")))
        }
        Err(_elapsed) => Err(late()),
    }
}

fn version(answer: &Answer) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Root {
        version: String,
    }
    let root: Root = (answer.status == StatusCode::OK).then(|| answer.json().ok()).flatten()?;
    Some(shown(&root.version))
}

/// `Date` (RFC 9110 §6.6.1). Conjur itself sends none; what stands in front of it mostly does.
fn date(answer: &Answer) -> Option<Timestamp> {
    let text = answer.headers.get(header::DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

fn no_conjur(url: &str, root: &Answer) -> String {
    let what = match root.status {
        status if status.is_redirection() => "it sends us elsewhere, and credentials are not sent after a redirect",
        StatusCode::OK => "it answers as some other server does",
        _ => "GET / and GET /authenticators are not answered as Conjur answers them",
    };
    let status = root.status.as_u16();
    format!(
        "what answers at {url} is not a Conjur ({status}): {what}; check host, port and path (some installations serve it \
         below /api)"
    )
}

fn no_answer(conjur: &Conjur, url: &str, error: &reqwest::Error) -> Failure {
    if let Some(stranger) = Stranger::of(error) {
        return (Verdict::Wrong, untrusted(&conjur.inner.settings.authorities, url, stranger));
    }
    let kind = cause::find::<io::Error>(error).map(io::Error::kind);
    let sentence = match kind {
        Some(io::ErrorKind::ConnectionRefused) => {
            format!("{url} refuses the connection: nothing listens there; check host and port")
        }
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
            format!("there is no way to {url}: check the network and its policies")
        }
        _ if error.is_timeout() => format!("{url} does not answer in time: check the way there (firewall, proxy)"),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) if error.is_connect() => {
            format!("{url} closes the connection while it comes up: check that the port speaks TLS")
        }
        _ if error.is_connect() => format!("{url} cannot be connected to"),
        _ => format!("{url} closes the connection without an answer: check that the port speaks HTTP"),
    };
    (Verdict::Unavailable, sentence)
}

fn untrusted(authorities: &Authorities, url: &str, stranger: Stranger) -> String {
    let given = match authorities {
        Authorities::File(path) => format!("put the CA that signed it into backend.conjur.caFile, {}", path.display()),
        Authorities::Pem(_) => "put the CA that signed it into backend.conjur.caPem".to_owned(),
        Authorities::System => {
            "only the system's authorities are trusted; give the CA that signed it as backend.conjur.caFile or caPem"
                .to_owned()
        }
    };
    match stranger {
        Stranger::UnknownAuthority => {
            format!("the certificate of {url} is by an authority that is not trusted here: {given}")
        }
        Stranger::OtherName => format!(
            "the certificate of {url} is for another name: use the name that it was made for, or have one made for this name"
        ),
        Stranger::Expired => {
            format!(
                "the certificate of {url} has expired: renew it at Conjur, unless the clock of this machine is wrong"
            )
        }
        Stranger::NotYet => format!("the certificate of {url} is not valid yet: check the clock of this machine"),
        Stranger::Revoked | Stranger::Unfit => {
            format!("the certificate of {url} cannot be used ({stranger}): have Conjur serve one by a CA; {given}")
        }
        Stranger::NoTls => format!("TLS with {url} fails ({stranger}): check the port"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_cannot_be_used_is_told_by_its_fault() {
        let told = |stranger| untrusted(&Authorities::System, "https://c", stranger);
        assert!(told(Stranger::UnknownAuthority).contains("backend.conjur.caFile or caPem"));
        assert!(told(Stranger::OtherName).contains("another name"));
        assert!(told(Stranger::Expired).contains("has expired"));
        assert!(told(Stranger::NotYet).contains("clock"));
        assert!(told(Stranger::Revoked).contains("cannot be used"));
    }
}
