//! Setting up `authn-jwt` and making the tokens of service accounts that log in by it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::FakeConjur;
use super::keys::Signer;

/// The name of the cluster's signing key.
const KEY: &str = "cluster-key-1";

/// Who issues tokens, unless a test says otherwise.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// How a service is set up. A setting that is `None` has no variable.
#[derive(Clone)]
pub struct JwtService {
    /// The claim that names the host; without it the host stands in the URL.
    pub token_app_property: Option<String>,
    /// What stands before the name of the host.
    pub identity_path: Option<String>,
    /// The issuer that is demanded.
    pub issuer: Option<String>,
    /// The audience that is demanded.
    pub audience: Option<String>,
    /// Who signs: the value of `public-keys`.
    pub public_keys: String,
}

impl Default for JwtService {
    fn default() -> Self {
        Self {
            token_app_property: Some("sub".to_owned()),
            identity_path: Some("apps".to_owned()),
            issuer: Some(ISSUER.to_owned()),
            audience: Some("conjur".to_owned()),
            public_keys: FakeConjur::public_keys(KEY),
        }
    }
}

/// A token in the making: header, claims and who signs.
#[derive(Clone)]
pub struct Jwt {
    header: Value,
    claims: Map<String, Value>,
    foreign: bool,
}

impl Jwt {
    /// Header and claims as they are.
    pub fn raw(header: Value, claims: Value) -> Self {
        let Value::Object(claims) = claims else { panic!("claims must be an object") };
        Self { header, claims, foreign: false }
    }

    /// Sets a claim, or takes it away with `null`.
    #[must_use]
    pub fn claim(mut self, name: &str, value: Value) -> Self {
        if value.is_null() {
            self.claims.remove(name);
        } else {
            self.claims.insert(name.to_owned(), value);
        }
        self
    }

    /// Signs with a key that the service does not know, under the same name.
    #[must_use]
    pub fn by_stranger(mut self) -> Self {
        self.foreign = true;
        self
    }

    /// The token.
    pub fn sign(&self) -> String {
        let signer = if self.foreign { Signer::stranger() } else { Signer::cluster() };
        signer.sign(&self.header, &Value::Object(self.claims.clone()))
    }
}

impl FakeConjur {
    /// Loads the policy of a service into root, sets its variables and enables it. Hosts are let in by
    /// [`Self::permit_jwt`].
    pub fn enable_jwt(&self, service: &str, setup: &JwtService) {
        let settings = [
            ("token-app-property", setup.token_app_property.clone()),
            ("identity-path", setup.identity_path.clone()),
            ("issuer", setup.issuer.clone()),
            ("audience", setup.audience.clone()),
            ("public-keys", Some(setup.public_keys.clone())),
        ];
        let mut text = format!("- !policy\n  id: conjur/authn-jwt/{service}\n  body:\n");
        text += "  - !webservice\n  - !webservice status\n  - !group apps\n  - !group operators\n";
        text += "  - !permit {role: !group apps, privileges: [read, authenticate], resource: !webservice }\n";
        text += "  - !permit {role: !group operators, privileges: [read], resource: !webservice status}\n";
        for (name, _) in settings.iter().filter(|(_, value)| value.is_some()) {
            text += &format!("  - !variable {name}\n");
        }
        self.admin_load("root", &text);
        for (name, value) in settings {
            if let Some(value) = value {
                self.set_value(&format!("conjur/authn-jwt/{service}/{name}"), value);
            }
        }
        self.core.store.change(&self.core.clock, |state| {
            Arc::make_mut(&mut state.enabled).insert(format!("authn-jwt/{service}"));
        });
    }

    /// Makes the host of a service account in root and lets it log in at a service that has an identity path.
    pub fn permit_jwt(&self, service: &str, path: &str, namespace: &str, account: &str) -> String {
        let id = format!("{path}/system:serviceaccount:{namespace}:{account}");
        self.admin_load(
            "root",
            &format!(
                "- !host\n  id: {id:?}\n  annotations:\n    authn-jwt/{service}/kubernetes.io/namespace: {namespace:?}\n\
                 - !grant\n  role: !group conjur/authn-jwt/{service}/apps\n  member: !host {id:?}\n"
            ),
        );
        format!("host/{id}")
    }

    /// The value of `public-keys` that trusts the cluster's key under a name.
    pub fn public_keys(key: &str) -> String {
        json!({"type": "jwks", "value": {"keys": [Signer::cluster().jwk(key)]}}).to_string()
    }

    /// A good token of a service account, for an hour.
    pub fn jwt(&self, namespace: &str, account: &str) -> Jwt {
        let now = self.core.clock.unix().as_secs();
        Jwt::raw(
            json!({"alg": "RS256", "kid": KEY, "typ": "JWT"}),
            json!({
                "aud": ["conjur"],
                "exp": now + 3600,
                "iat": now,
                "nbf": now,
                "iss": ISSUER,
                "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account}},
                "sub": format!("system:serviceaccount:{namespace}:{account}"),
            }),
        )
    }
}
