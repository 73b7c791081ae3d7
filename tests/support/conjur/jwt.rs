//! Logins by a service account's JWT: `authn-jwt`, configured by variables and annotations as on the real server.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents,
};
use serde_json::Value;

use super::answer::{Answer, Object};
use super::core::{Caller, Core};
use super::id::{self, Id};
use super::request::{Asked, form};
use super::state::State;

/// Why a JWT is not taken.
enum Refusal {
    /// A login nobody learns anything about.
    Unauthorized,
    /// The one that is told.
    Expired,
    Forbidden,
    Malformed,
}

/// `POST /authn-jwt/{service}/{account}[/{host}]/authenticate`.
pub(super) fn authenticate(core: &Core, asked: &Asked, service: &str, account: &str, login: Option<&str>) -> Answer {
    if asked.method != Method::POST {
        return Answer::outside(404, asked);
    }
    match identify(core, &core.view(asked), asked, service, account, login) {
        Ok(role) => super::authn::token(core, asked, &role),
        Err(Refusal::Unauthorized) => Answer::head(401, asked),
        Err(Refusal::Expired) => Answer::error(401, "unauthorized", "CONJ00016E Token expired"),
        Err(Refusal::Forbidden) => Answer::head(403, asked),
        Err(Refusal::Malformed) => Answer::head(400, asked),
    }
}

fn identify(
    core: &Core,
    state: &State,
    asked: &Asked,
    service: &str,
    account: &str,
    login: Option<&str>,
) -> Result<Id, Refusal> {
    let webservice = id::full(account, "webservice", &format!("conjur/authn-jwt/{service}"));
    if !state.enabled.contains(&format!("authn-jwt/{service}")) || state.resource(&webservice).is_none() {
        return Err(Refusal::Unauthorized);
    }
    let json = asked.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    let fields = if json { Vec::new() } else { form(&asked.body) };
    let jwt = fields.into_iter().find(|(name, _)| name == "jwt").map(|(_, jwt)| jwt.trim().to_owned());
    let jwt = jwt.filter(|jwt| !jwt.is_empty()).ok_or(Refusal::Malformed)?;

    let setting = |name: &str| {
        let variable = id::full(account, "variable", &format!("conjur/authn-jwt/{service}/{name}"));
        state
            .resource(&variable)
            .map(|_| String::from_utf8_lossy(state.value(&variable).map_or(&[], |value| value)).into_owned())
    };
    let claims = verify(&jwt, &setting("public-keys").unwrap_or_default())?;
    check_times(&claims, core.clock.unix().as_secs())?;
    if let Some(issuer) = setting("issuer")
        && claims.get("iss").and_then(Value::as_str) != Some(&*issuer)
    {
        return Err(Refusal::Unauthorized);
    }
    if let Some(audience) = setting("audience") {
        let meant = match claims.get("aud") {
            Some(Value::String(one)) => *one == audience,
            Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(&audience)),
            _ => false,
        };
        if !meant {
            return Err(Refusal::Unauthorized);
        }
    }
    // Exactly one of the two says who it is.
    let role = match (login, setting("token-app-property")) {
        (Some(login), None) => id::of_login(account, login),
        (None, Some(property)) => {
            let name = at(&claims, &property).and_then(Value::as_str).ok_or(Refusal::Unauthorized)?;
            let path = setting("identity-path").map(|path| format!("{path}/")).unwrap_or_default();
            id::full(account, "host", &format!("{path}{name}"))
        }
        _ => return Err(Refusal::Unauthorized),
    };
    let host = state.resource(&role).ok_or(Refusal::Unauthorized)?;
    let prefix = format!("authn-jwt/{service}/");
    let demanded: Vec<_> =
        host.annotations.iter().filter_map(|(name, (value, _))| Some((name.strip_prefix(&prefix)?, value))).collect();
    let holds = |(path, value): &(&str, &String)| match at(&claims, path) {
        Some(Value::String(claim)) => claim == *value,
        // A number or a truth value, which the policy can only write as text.
        Some(claim) => serde_json::from_str::<Value>(value).is_ok_and(|wanted| wanted == *claim),
        None => false,
    };
    if demanded.is_empty() || !demanded.iter().all(holds) || !super::authn::welcome(state, &role, asked) {
        return Err(Refusal::Unauthorized);
    }
    if !state.allowed(&role, "authenticate", &webservice) {
        return Err(Refusal::Forbidden);
    }
    Ok(role)
}

/// The claims of a JWT whose signature holds.
fn verify(jwt: &str, keys: &str) -> Result<Value, Refusal> {
    let mut parts = jwt.split('.');
    let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::Unauthorized);
    };
    let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).map_err(|_| Refusal::Unauthorized);
    let json = |part: &str| serde_json::from_slice::<Value>(&bytes(part)?).map_err(|_| Refusal::Unauthorized);
    let decoded = json(header)?;
    let algorithm: &'static RsaParameters = match decoded.get("alg").and_then(Value::as_str) {
        Some("RS256") => &RSA_PKCS1_2048_8192_SHA256,
        Some("RS384") => &RSA_PKCS1_2048_8192_SHA384,
        Some("RS512") => &RSA_PKCS1_2048_8192_SHA512,
        _ => return Err(Refusal::Unauthorized),
    };
    let keys = jwks(keys).ok_or(Refusal::Unauthorized)?;
    let key = keys.iter().find(|key| key.get("kid").is_some() && key.get("kid") == decoded.get("kid"));
    let key = key.ok_or(Refusal::Unauthorized)?;
    let number = |name: &str| bytes(key.get(name).and_then(Value::as_str).unwrap_or_default());
    let signed = &jwt[..header.len() + 1 + claims.len()];
    RsaPublicKeyComponents { n: number("n")?, e: number("e")? }
        .verify(algorithm, signed.as_bytes(), &bytes(signature)?)
        .map_err(|_| Refusal::Unauthorized)?;
    json(claims)
}

fn jwks(text: &str) -> Option<Vec<Value>> {
    let value: Value = serde_json::from_str(text).ok()?;
    if value.get("type")?.as_str()? != "jwks" {
        return None;
    }
    value.get("value")?.get("keys")?.as_array().cloned()
}

/// There is no leeway on either side.
fn check_times(claims: &Value, now: u64) -> Result<(), Refusal> {
    let time = |name: &str| claims.get(name).and_then(Value::as_u64);
    match time("exp") {
        None => return Err(Refusal::Unauthorized),
        Some(exp) if exp <= now => return Err(Refusal::Expired),
        Some(_) => {}
    }
    if time("nbf").is_some_and(|nbf| nbf > now) || time("iat").is_some_and(|iat| iat > now) {
        return Err(Refusal::Unauthorized);
    }
    Ok(())
}

/// The claim at a path such as `kubernetes.io/namespace`.
fn at<'a>(claims: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('/').try_fold(claims, |value, name| value.get(name))
}

/// `PATCH /authn-jwt/{service}/{account}`: turns a service on and off.
pub(super) fn enable(core: &Core, asked: &Asked, caller: &Caller, service: &str, account: &str) -> Answer {
    let webservice = id::full(account, "webservice", &format!("conjur/authn-jwt/{service}"));
    let state = core.view(asked);
    if !state.allowed(&caller.role, "update", &webservice) {
        return Answer::head(403, asked);
    }
    let on = form(&asked.body).iter().any(|(name, value)| name == "enabled" && value == "true");
    core.store.change(&core.clock, |state| {
        let enabled = std::sync::Arc::make_mut(&mut state.enabled);
        let name = format!("authn-jwt/{service}");
        if on { enabled.insert(name) } else { enabled.remove(&name) }
    });
    Answer::no_content()
}

/// `GET /authn-jwt/{service}/{account}/status`: what is wrong with a service, for those who may know.
pub(super) fn status(core: &Core, asked: &Asked, service: &str, account: &str) -> Answer {
    let state = core.view(asked);
    let error = |status: u16, error: String| {
        let error = format!("#<{error}>");
        Answer::json(status, &Object(vec![("status", "error".into()), ("error", error.into())]))
    };
    let Ok(caller) = core.caller(asked) else {
        return error(500, "RuntimeError: No Conjur identity for current request".to_owned());
    };
    let security = "Errors::Authentication::Security::";
    let webservice = id::full(account, "webservice", &format!("conjur/authn-jwt/{service}/status"));
    if state.resource(&webservice).is_none() {
        let told = format!("WebserviceNotFound: CONJ00005E Webservice 'authn-jwt/{service}/status' not found");
        return error(404, format!("{security}{told}"));
    }
    if !state.allowed(&caller.role, "read", &webservice) {
        let told = format!("'{}' does not have 'read' privilege on {webservice}", id::login(&caller.role));
        return error(403, format!("{security}RoleNotAuthorizedOnResource: CONJ00006E {told}"));
    }
    let keys = id::full(account, "variable", &format!("conjur/authn-jwt/{service}/public-keys"));
    if jwks(&String::from_utf8_lossy(state.value(&keys).map_or(&[], |value| value))).is_none() {
        let told = "CONJ00120E Failed to parse 'public-keys': Value is not a valid JWKS (RFC7517)";
        return error(500, format!("Errors::Authentication::AuthnJwt::InvalidPublicKeys: {told}"));
    }
    Answer::json(200, &serde_json::json!({"status": "ok"}))
}
