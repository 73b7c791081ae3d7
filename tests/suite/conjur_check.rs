//! `config check --online`: what is missing between an agent and its Conjur is told in plain words.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cloakroom_agent::access::Right;
use cloakroom_tests::agent::binary;
use cloakroom_tests::api_server::{Answers, FakeApiServer};
use cloakroom_tests::conjur::{Certificate, FakeConjur, Fault, Jwt, JwtService, Kind, Settings, When};
use cloakroom_tests::conjur_agent::{ALL, SERVICE, prepared};
use serde_json::{Value, json};
use tempfile::TempDir;

const LEASE_NONE: &str = "{mode: none}";

/// What is checked, and with what.
struct Desk {
    directory: TempDir,
    url: String,
    ca: String,
    credential: String,
    authn: String,
    lease: String,
    more: String,
    environment: Vec<(String, String)>,
}

/// What the command said.
#[derive(Debug)]
struct Told {
    code: i32,
    output: String,
    errors: String,
}

impl Told {
    /// Ended with `code`, and every one of these is in what is printed or complained about.
    fn is(&self, code: i32, parts: &[&str]) {
        let text = format!("{}{}", self.output, self.errors);
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in it: {self:#?}");
        }
        assert_eq!(self.code, code, "{self:#?}");
        assert_eq!(self.errors.is_empty(), code == 0, "{self:#?}");
        let named = |line: &str| line.starts_with("cloakroom: ") || line.starts_with("  ");
        assert!(self.errors.lines().all(named), "{self:#?}");
        assert_eq!(self.output.ends_with("ok\n"), code == 0, "{self:#?}");
    }
}

impl Desk {
    /// The service account `agent` in `poc`, with a good token.
    fn at(fake: &FakeConjur) -> Self {
        Self::with_token(fake, &fake.jwt("poc", "agent"))
    }

    fn with_token(fake: &FakeConjur, jwt: &Jwt) -> Self {
        let directory = TempDir::new().unwrap();
        let authn =
            format!("{{jwt: {{serviceId: {SERVICE}, tokenFile: {}}}}}", directory.path().join("credential").display());
        let (url, ca, credential) = (fake.url(), fake.ca_pem(), jwt.sign());
        let (lease, more, environment) = (LEASE_NONE.to_owned(), String::new(), Vec::new());
        Self { directory, url, ca, credential, authn, lease, more, environment }
    }

    fn with_key(fake: &FakeConjur, login: &str, key: &str) -> Self {
        let mut desk = Self::at(fake);
        let file = desk.directory.path().join("credential");
        desk.authn = format!("{{apiKey: {{login: {login:?}, apiKeyFile: {}}}}}", file.display());
        key.clone_into(&mut desk.credential);
        desk
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn check(&self) -> Told {
        fs::write(self.file("credential"), &self.credential).unwrap();
        self.check_as_it_is(&[])
    }

    fn check_as_it_is(&self, arguments: &[&str]) -> Told {
        let path = |name: &str| self.file(name).display().to_string();
        fs::write(self.file("ca.pem"), &self.ca).unwrap();
        let identity = if self.lease == LEASE_NONE { "uid" } else { "pod" };
        let text = format!(
            "listen: {{allowUids: [1000]}}\n\
             backend:\n  kind: conjur\n  conjur:\n    url: {}\n    account: main\n    caFile: {}\n    authn: {}\n    \
             lease: {}\n{}\
             identity: {{kind: {identity}, tokenDir: {}}}\n\
             permissions: {{kind: file, file: {}}}\n",
            self.url,
            path("ca.pem"),
            self.authn,
            self.lease,
            self.more,
            path("kube"),
            path("grants.yaml"),
        );
        fs::write(self.file("cloakroom.yaml"), text).unwrap();
        let told = check(&self.file("cloakroom.yaml"), arguments, &self.environment);
        for part in self.credential.split('.').filter(|part| part.len() > 8) {
            assert!(!told.output.contains(part) && !told.errors.contains(part), "the credential is shown");
        }
        told
    }
}

fn check(file: &std::path::Path, arguments: &[&str], environment: &[(String, String)]) -> Told {
    let output = Command::new(binary())
        .args(["config", "check", "--online"])
        .arg(file)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().cloned())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Told { code: output.status.code().unwrap(), output: text(output.stdout), errors: text(output.stderr) }
}

async fn conjur() -> FakeConjur {
    prepared(&[("agent", ALL), ("reader", &[Right::SecretsRead])]).await
}

// === all is well ===

#[tokio::test(flavor = "multi_thread")]
async fn a_good_configuration_is_told_what_it_may_and_nothing_is_changed() {
    let fake = conjur().await;
    fake.forget_calls();
    Desk::at(&fake).check().is(
        0,
        &[
            "Conjur 1.24.0 answers at https://",
            "`authn-jwt/k8s` is enabled",
            "of system:serviceaccount:poc:agent, for audience `conjur`",
            "logged in as host/apps/system:serviceaccount:poc:agent",
            "may onboard and offboard everywhere in the branch `controlplane`",
        ],
    );
    for call in fake.calls() {
        assert!(call.method == "GET" || call.endpoint == Kind::Login, "{call:?}");
        assert!(!matches!(call.endpoint, Kind::Read | Kind::Batch), "{call:?}");
    }
    // One that only reads sees no branch, and that is fine.
    let reader = Desk::with_token(&fake, &fake.jwt("poc", "reader"));
    reader.check().is(0, &["poc:reader", "note: ", "branch `controlplane`"]);
    // Both sides are asked where there are two.
    let mut desk = Desk::at(&fake);
    desk.more = format!("    followerUrl: {}\n", fake.follower_url());
    desk.check().is(0, &[&format!("answers at {}", fake.follower_url()), &format!("answers at {}", fake.url())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_json() {
    let fake = conjur().await;
    let desk = Desk::at(&fake);
    desk.check();
    let told = desk.check_as_it_is(&["--json"]);
    let answer: Value = serde_json::from_str(&told.output).unwrap();
    assert_eq!((told.code, answer["ok"].as_bool()), (0, Some(true)), "{told:#?}");
    fake.fail(Kind::Login, Fault::status(403));
    let told = desk.check_as_it_is(&["--json"]);
    let answer: Value = serde_json::from_str(&told.output).unwrap();
    assert_eq!((told.code, answer["ok"].as_bool()), (3, Some(false)), "{told:#?}");
    let findings = answer["findings"].as_array().unwrap();
    assert_eq!(findings.last().unwrap()["verdict"], "denied");
    assert!(findings.iter().any(|finding| finding["verdict"] == "fine"));
}

// === the way there ===

#[tokio::test(flavor = "multi_thread")]
async fn a_conjur_that_cannot_be_reached_is_5_and_told_by_how() {
    let fake = conjur().await;
    let mut desk = Desk::at(&fake);
    let url = desk.url.clone();
    desk.url = "https://conjur.invalid".to_owned();
    desk.check().is(5, &["backend.conjur.url", "conjur.invalid cannot be resolved", "DNS"]);
    desk.url = url;
    fake.fail(When::any(), Fault::Refuse);
    desk.check().is(5, &["backend.conjur.url", "refuses the connection", "host and port"]);
    fake.clear_faults();
    fake.fail(When::any(), Fault::TlsStall);
    desk.more = "limits: {backendTimeout: 1s}\n".to_owned();
    desk.check().is(5, &["does not answer in time", "firewall"]);
    fake.clear_faults();
    for (status, part) in [(500, "database"), (502, "in front"), (503, "overloaded"), (429, "overloaded")] {
        fake.fail(When::any(), Fault::status(status));
        desk.check().is(5, &[part, &status.to_string()]);
        fake.clear_faults();
    }
    // A follower that is missing is told as such, and the rest is still found out.
    desk.more = "    followerUrl: https://follower.invalid\n".to_owned();
    desk.check()
        .is(5, &["backend.conjur.followerUrl", "follower.invalid cannot be resolved", "logged in as host/apps"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_told_apart() {
    let fake = conjur().await;
    let desk = Desk::at(&fake);
    for (shown, parts) in [
        (Certificate::UnknownAuthority, ["not trusted here", "backend.conjur.caFile"]),
        (Certificate::WrongName, ["another name", "certificate"]),
        (Certificate::Expired, ["has expired", "clock"]),
    ] {
        fake.set_certificate(shown);
        let told = desk.check();
        told.is(1, &parts);
        assert_eq!(told.errors.lines().count(), 1, "{told:#?}");
    }
    fake.set_certificate(Certificate::Good);
    let mut desk = Desk::at(&fake);
    desk.ca = rcgen::generate_simple_self_signed(["elsewhere.test".to_owned()]).unwrap().cert.pem();
    desk.check().is(1, &["not trusted here", "backend.conjur.caFile"]);
    desk.ca = "no certificate".to_owned();
    desk.check().is(1, &["backend.conjur.caFile", "holds no certificate"]);

    let plain = FakeConjur::with(Settings { tls: false, ..Settings::default() }).await;
    desk.ca = fake.ca_pem();
    desk.url = plain.url().replace("http://", "https://");
    desk.check().is(1, &["does not speak TLS"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_conjur_is_called_so() {
    let fake = conjur().await;
    let desk = Desk::at(&fake);
    for (fault, part) in [
        (Fault::Html, "some other server"),
        (Fault::status(404), "404"),
        (Fault::json(200, r#"{"status":"up"}"#), "some other server"),
        (Fault::Redirect("https://elsewhere.invalid/".to_owned()), "elsewhere"),
    ] {
        fake.fail(When::any(), fault);
        desk.check().is(1, &["is not a Conjur", "host, port and path", part]);
        fake.clear_faults();
    }
    assert_eq!(fake.count(Kind::Login), 0, "no credential is sent to whatever it is");
}

// === the credential ===

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_is_missing_or_empty_names_its_file() {
    let fake = conjur().await;
    let desk = Desk::at(&fake);
    let file = desk.file("credential").display().to_string();
    desk.check_as_it_is(&[]).is(1, &["cannot read the credential", &file, "projected service-account token"]);
    let mut desk = Desk::at(&fake);
    desk.credential = "\n".to_owned();
    desk.check().is(1, &["is empty"]);
    let desk = Desk::with_key(&fake, "host/apps/x", "");
    desk.check().is(1, &["is empty", "API key"]);
    let mut desk = Desk::at(&fake);
    desk.credential = "this-is-not-a-token".to_owned();
    desk.check().is(3, &["holds no JWT", "CONJ00004E"]);
    assert_eq!(fake.count(Kind::Login), 1, "only what might be a token is sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_token_says_of_itself_is_told_with_the_refusal() {
    let fake = conjur().await;
    let now = jiff::Timestamp::now().as_second();
    let with = |name: &str, value: Value| Desk::with_token(&fake, &fake.jwt("poc", "agent").claim(name, value)).check();
    with("aud", json!("https://kubernetes.default.svc"))
        .is(3, &["for audience `https://kubernetes.default.svc`", "audience, issuer, signature"]);
    with("aud", Value::Null).is(3, &["no audience"]);
    with("exp", json!(now - 60)).is(3, &["has expired 6", "CONJ00016E", "clocks"]);
    with("exp", Value::Null).is(3, &["does not say when it ends"]);
    with("nbf", json!(now + 300)).is(3, &["from the future", "nbf", "clocks"]);
    with("iat", json!(now + 300)).is(3, &["from the future", "iat"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_are_told_where_a_proxy_says_the_time() {
    let fake = conjur().await;
    let later = jiff::Timestamp::now() + Duration::from_mins(10);
    let date = later.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let answer = Fault::Status {
        code: 200,
        content_type: Some("application/json".to_owned()),
        headers: vec![("Date".to_owned(), date)],
        body: br#"{"version":"1.24.0"}"#.to_vec(),
    };
    fake.fail(When::any().times(1), answer);
    Desk::at(&fake).check().is(0, &["s ahead of this machine's", "NTP"]);
}

// === the login ===

const EVERY_CODE: [&str; 6] = ["CONJ00004E", "CONJ00005E", "CONJ00007E", "CONJ00049E", "CONJ00098E", "CONJ00099E"];

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_lists_what_conjur_does_not_tell_apart() {
    let fake = conjur().await;
    // A host that nobody made.
    let stranger = Desk::with_token(&fake, &fake.jwt("poc", "stranger")).check();
    stranger.is(3, &EVERY_CODE);
    stranger.is(3, &["401", "`authn-jwt/k8s` is enabled"]);
    // A signature by another cluster.
    Desk::with_token(&fake, &fake.jwt("poc", "agent").by_stranger()).check().is(3, &EVERY_CODE);
    // The service.
    let mut desk = Desk::at(&fake);
    desk.authn = desk.authn.replace("serviceId: k8s", "serviceId: k9s");
    desk.check().is(3, &["no authenticator `authn-jwt/k9s`", "`authn-jwt/k8s`", "serviceId", "CONJ00005E"]);
    fake.admin_load("root", "- !policy\n  id: conjur/authn-jwt/k9s\n  body:\n  - !webservice\n");
    desk.check().is(3, &["`authn-jwt/k9s` exists and is not enabled", "enabled are `authn`, `authn-jwt/k8s`"]);
    // One that keeps its list to itself.
    fake.fail(When::any().path("/authenticators"), Fault::status(404));
    desk.check().is(3, &["could not be compared", "CONJ00005E"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_may_not_use_the_authenticator_is_told_from_one_that_is_not_there() {
    let fake = FakeConjur::start().await;
    fake.enable_jwt(SERVICE, &JwtService::default());
    fake.admin_load(
        "root",
        "- !host\n  id: \"apps/system:serviceaccount:poc:agent\"\n  annotations:\n    \
         authn-jwt/k8s/kubernetes.io/namespace: poc\n",
    );
    let told = Desk::at(&fake).check();
    told.is(3, &["403", "CONJ00006E", "`authenticate` on the webservice"]);
    assert!(!told.errors.contains("CONJ00007E"), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_has_to_wait_is_5() {
    let fake = conjur().await;
    let desk = Desk::at(&fake);
    for fault in [
        Fault::later(429, 5),
        Fault::later(503, 5),
        Fault::status(500),
        Fault::status(502),
        Fault::Reset,
        Fault::StopBeforeEffect,
    ] {
        fake.fail(Kind::Login, fault);
        desk.check().is(5, &["login", "try again"]);
        fake.clear_faults();
    }
    for fault in [Fault::Html, Fault::status(404)] {
        fake.fail(Kind::Login, fault);
        desk.check().is(1, &["login"]);
        fake.clear_faults();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_is_checked_like_a_token() {
    let fake = conjur().await;
    let key = fake.host("machines/build-1");
    Desk::with_key(&fake, "host/machines/build-1", &key)
        .check()
        .is(0, &["`authn` is enabled", "logged in as host/machines/build-1", "does not see the branch `controlplane`"]);
    let wrong = key.chars().rev().collect::<String>();
    Desk::with_key(&fake, "host/machines/build-1", &wrong).check().is(3, &["401", "CONJ00002E", "CONJ00007E"]);
    Desk::with_key(&fake, "machines/build-1", &key).check().is(3, &["host/PATH"]);
}

// === the cluster ===

fn in_cluster(desk: &mut Desk, api: &FakeApiServer) {
    api.give_token(&desk.file("kube"), "poc", "agent");
    "{mode: kubernetes, namespace: cloakroom}".clone_into(&mut desk.lease);
    desk.environment = api.environment();
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_asked_about_where_the_api_server_answers() {
    let fake = conjur().await;
    for (lease, part) in
        [(true, "may use leases in namespace cloakroom"), (false, "may not get, create, update leases")]
    {
        let mut desk = Desk::at(&fake);
        let api = FakeApiServer::start(Answers { minor: "31+", allowed: lease }).await;
        in_cluster(&mut desk, &api);
        let told = desk.check();
        told.is(0, &["Kubernetes 1.31 answers", "takes us for system:serviceaccount:poc:agent", part]);
        assert!(!told.output.contains("kept-secret"), "{told:#?}");
    }
    // On the machine of whoever writes the file there is no pod.
    let mut desk = Desk::at(&fake);
    desk.lease = "{mode: kubernetes}".to_owned();
    desk.check().is(0, &["note: identity.tokenDir: cannot read", "logged in as"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kubernetes_backend_is_asked_too() {
    let fake = conjur().await;
    let mut desk = Desk::at(&fake);
    let text = format!("backend: {{kind: kubernetes}}\nidentity: {{tokenDir: {}}}\n", desk.file("kube").display());
    let file = desk.file("kubernetes.yaml");
    fs::write(&file, text).unwrap();
    check(&file, &[], &[]).is(1, &["identity.tokenDir", "cannot read", "projected service-account token"]);
    let api = FakeApiServer::start(Answers::default()).await;
    in_cluster(&mut desk, &api);
    check(&file, &[], &desk.environment).is(0, &["Kubernetes 1.31", "takes us for system:serviceaccount:poc:agent"]);
    let nowhere = vec![
        ("KUBERNETES_SERVICE_HOST".to_owned(), "127.0.0.1".to_owned()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), "1".to_owned()),
    ];
    check(&file, &[], &nowhere).is(5, &["cannot be reached", "127.0.0.1:1"]);
    let old = FakeApiServer::start(Answers { minor: "29", allowed: true }).await;
    in_cluster(&mut desk, &old);
    check(&file, &[], &desk.environment).is(1, &["Kubernetes 1.29", "1.30"]);
}

#[test]
fn an_embedded_store_is_opened_and_never_made() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let file = path("cloakroom.yaml");
    let text = format!(
        "listen: {{allowUids: [1000]}}\nbackend: {{kind: embedded, embedded: {{file: {}, keyFile: {}}}}}\n\
         identity: {{kind: uid}}\npermissions: {{kind: file}}\n",
        path("store").display(),
        path("key").display()
    );
    fs::write(&file, text).unwrap();
    check(&file, &[], &[]).is(0, &["no store", "the agent makes it"]);
    assert!(!path("store").exists() && !path("key").exists());
    fs::write(path("store"), "nonsense").unwrap();
    check(&file, &[], &[]).is(1, &["no key"]);
}
