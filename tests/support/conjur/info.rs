//! What the server says about itself and about the caller.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::answer::{Answer, Object};
use super::clock::stamp;
use super::core::{Caller, Core};
use super::id;
use super::request::Asked;

/// `GET /`, for which nobody needs a token.
pub(super) fn root(asked: &Asked) -> Answer {
    if asked.preferred() == "application/json" {
        return Answer::json(200, &json!({"version": "1.24.0"}));
    }
    let page = "<!DOCTYPE html>\n<html>\n  <head>\n    <title>Conjur Status</title>\n  </head>\n  <body>\n\
                    <p class=\"status-text\">Your Conjur server is running!</p>\n  </body>\n</html>\n";
    Answer::typed("text/html; charset=utf-8", page)
}

/// `GET /authenticators`.
pub(super) fn authenticators(core: &Core, asked: &Asked) -> Answer {
    let state = core.view(asked);
    let named = state
        .resources
        .keys()
        .filter_map(|one| id::identifier(one).strip_prefix("conjur/").filter(|_| id::kind(one) == "webservice"));
    let mut configured: BTreeSet<String> =
        named.filter(|name| name.matches('/').count() == 1).map(ToOwned::to_owned).collect();
    configured.insert("authn".to_owned());
    let mut enabled = (*state.enabled).clone();
    enabled.insert("authn".to_owned());
    let installed =
        ["authn", "authn-azure", "authn-gcp", "authn-iam", "authn-jwt", "authn-k8s", "authn-ldap", "authn-oidc"];
    Answer::json(
        200,
        &Object(vec![("installed", json!(installed)), ("configured", json!(configured)), ("enabled", json!(enabled))]),
    )
}

/// `GET /whoami`: about the token, whether its role is still there or not.
pub(super) fn whoami(core: &Core, asked: &Asked, caller: &Caller) -> Answer {
    let told =
        asked.header("x-forwarded-for").and_then(|told| told.split(',').next()).map(|told| told.trim().to_owned());
    Answer::json(
        200,
        &Object(vec![
            ("client_ip", json!(told.unwrap_or_else(|| asked.peer.to_string()))),
            ("user_agent", json!(asked.header("user-agent"))),
            ("account", json!(core.account)),
            ("username", json!(caller.claims.subject)),
            ("token_issued_at", json!(stamp(Duration::from_secs(caller.claims.issued)))),
        ]),
    )
}

/// The status of an authenticator that has none.
pub(super) fn no_status(authenticator: &str) -> Answer {
    let told = format!("CONJ00056E Status check not supported for authenticator '{authenticator}'");
    let error = format!("#<Errors::Authentication::StatusNotSupported: {told}>");
    Answer::json(501, &Object(vec![("status", json!("error")), ("error", json!(error))]))
}
