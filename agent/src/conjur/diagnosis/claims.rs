//! What our own token for Conjur says of itself. It is read and not verified, and never shown as a whole.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::Value;
use zeroize::Zeroizing;

use super::super::Authn;
use super::super::authn::Login;
use super::reach::Reached;
use crate::diagnosis::{Findings, Verdict, shown};

/// Clocks that differ by more are worth a word: there is no leeway at the other end.
const SKEW: i64 = 5;

/// The signatures that Conjur takes.
const ALGORITHMS: [&str; 3] = ["RS256", "RS384", "RS512"];

struct Claims {
    algorithm: Option<String>,
    audiences: Vec<String>,
    subject: Option<String>,
    expires: Option<i64>,
    not_before: Option<i64>,
    issued: Option<i64>,
}

/// Tells who the token is for, and adds to the suspicions what Conjur would refuse.
pub(super) fn tell(
    authn: &Authn,
    login: &Login,
    reached: &Reached,
    findings: &mut Findings,
    suspicions: &mut Vec<String>,
) {
    let file = authn.file().display().to_string();
    let Some(claims) = login.body.strip_prefix(b"jwt=").and_then(read) else {
        suspicions.push(format!(
            "{file} holds no JWT: it must be a projected service-account token (backend.conjur.authn.jwt.tokenFile)"
        ));
        return;
    };
    let audiences: Vec<String> = claims.audiences.iter().take(8).map(|one| format!("`{}`", shown(one))).collect();
    let audience =
        if audiences.is_empty() { "no audience".to_owned() } else { format!("audience {}", audiences.join(", ")) };
    let subject = shown(claims.subject.as_deref().unwrap_or("nobody"));
    findings.add(Verdict::Fine, format!("the token in {file} is of {subject}, for {audience}"));
    if audiences.is_empty() {
        suspicions.push(
            "the token has no audience: set `audience` of its projected volume to the authenticator's".to_owned(),
        );
    }
    suspicions.extend(claims.wrong_signature());
    let ours = Timestamp::now().as_second();
    if let Some(theirs) = reached.date.map(Timestamp::as_second)
        && (theirs - ours).abs() > SKEW
    {
        let (by, which) = ((theirs - ours).abs(), if theirs > ours { "ahead of" } else { "behind" });
        findings.add(Verdict::Note, format!("Conjur's clock is {by} s {which} this machine's: set both by NTP"));
    }
    suspicions.extend(claims.wrong_times(reached.date.map_or(ours, Timestamp::as_second)));
}

impl Claims {
    /// What is wrong with how the token is signed.
    fn wrong_signature(&self) -> Option<String> {
        let algorithm = self.algorithm.as_deref().filter(|algorithm| !ALGORITHMS.contains(algorithm))?;
        Some(format!(
            "the token is signed by {}, and Conjur takes RS256, RS384 and RS512 only: the cluster's key for service \
             accounts (--service-account-signing-key-file of the API server) must be RSA",
            shown(algorithm)
        ))
    }

    /// What is wrong with the times, by the clock that decides.
    fn wrong_times(&self, now: i64) -> Vec<String> {
        let mut wrong = Vec::new();
        match self.expires {
            None => wrong.push("the token does not say when it ends (exp), and Conjur takes none without".to_owned()),
            Some(end) if end <= now => wrong.push(format!(
                "the token has expired {} s ago: has the kubelet renewed the file, and are the clocks right?",
                now - end
            )),
            Some(_) => {}
        }
        for (claim, name) in [(self.not_before, "nbf"), (self.issued, "iat")] {
            if let Some(begin) = claim.filter(|begin| *begin > now) {
                wrong.push(format!(
                    "the token is from the future ({name} is {} s ahead), and Conjur has no leeway: check the clocks",
                    begin - now
                ));
            }
        }
        wrong
    }
}

fn read(jwt: &[u8]) -> Option<Claims> {
    let mut parts = jwt.split(|byte| *byte == b'.');
    let (header, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let payload = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload.trim_ascii_end()).ok()?);
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    claims.is_object().then(|| Claims {
        algorithm: header.get("alg").and_then(Value::as_str).map(str::to_owned),
        audiences: match claims.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        },
        subject: claims.get("sub").and_then(Value::as_str).map(str::to_owned),
        expires: claims.get("exp").and_then(Value::as_i64),
        not_before: claims.get("nbf").and_then(Value::as_i64),
        issued: claims.get("iat").and_then(Value::as_i64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> Vec<u8> {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims)).into_bytes()
    }

    #[test]
    fn times_are_wrong_where_conjur_would_say_so() {
        let wrong = |claims: &str| read(&jwt(claims)).unwrap().wrong_times(1000).join("; ");
        assert_eq!(wrong(r#"{"exp":1001,"nbf":1000,"iat":1000}"#), "");
        assert!(wrong(r#"{"exp":1000}"#).contains("expired 0 s ago"));
        assert!(wrong(r#"{"exp":940}"#).contains("expired 60 s ago"));
        assert!(wrong(r#"{"exp":2000,"nbf":1007}"#).contains("nbf is 7 s ahead"));
        assert!(wrong(r#"{"exp":2000,"iat":1007}"#).contains("iat is 7 s ahead"));
        assert!(wrong("{}").contains("exp"));
    }

    #[test]
    fn a_signature_that_conjur_does_not_take_is_named() {
        let wrong = |header: &str| {
            let jwt = format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"));
            read(jwt.as_bytes()).unwrap().wrong_signature().unwrap_or_default()
        };
        assert_eq!(wrong(r#"{"alg":"RS256"}"#), "");
        assert!(wrong(r#"{"alg":"ES256"}"#).contains("signed by ES256"));
    }

    #[test]
    fn an_audience_is_one_or_several() {
        let audiences = |claims: &str| read(&jwt(claims)).unwrap().audiences;
        assert_eq!(audiences(r#"{"aud":"a"}"#), ["a"]);
        assert_eq!(audiences(r#"{"aud":["a","b"]}"#), ["a", "b"]);
        assert!(audiences("{}").is_empty());
    }

    #[test]
    fn what_is_no_jwt_has_no_claims() {
        for wrong in ["", "a", "a.b", "a.!.c", "e30.e30.e30.e30", "e30.W10.c"] {
            assert!(read(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
