//! What tests turn on the double of Conjur: lag, clocks, gates, faults and certificates do what they say.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use cloakroom_tests::conjur::{Certificate, FakeConjur, Fault, JwtService, Kind, Moment, Settings, Side, When};
use tokio::net::TcpStream;

use crate::conjur_recordings::raw::{Reply, send, trusting, try_send};

const SLOT: &str = "controlplane/slot";
const TEXT: &str = "- !variable slot\n- !variable other\n";

async fn plain() -> Arc<FakeConjur> {
    let fake = FakeConjur::with(Settings { tls: false, ..Settings::default() }).await;
    fake.admin_load("controlplane", TEXT);
    fake.set_value(SLOT, "one");
    Arc::new(fake)
}

fn request(method: &str, target: &str, authorization: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: conjur\r\nConnection: close\r\nAuthorization: {authorization}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const READ: &str = "/secrets/main/variable/controlplane%2Fslot";
const BRANCH: &str = "/policies/main/policy/controlplane";

fn read(fake: &FakeConjur) -> Vec<u8> {
    request("GET", READ, &fake.authorization("admin"), "")
}

fn write(fake: &FakeConjur, value: &str) -> Vec<u8> {
    request("POST", READ, &fake.authorization("admin"), value)
}

fn load(fake: &FakeConjur, text: &str) -> Vec<u8> {
    request("POST", BRANCH, &fake.authorization("admin"), text)
}

fn in_background(fake: &Arc<FakeConjur>, request: Vec<u8>) -> tokio::task::JoinHandle<io::Result<Reply>> {
    let fake = Arc::clone(fake);
    tokio::spawn(async move { try_send(&fake, Side::Leader, &request).await })
}

#[tokio::test]
async fn the_follower_answers_from_the_past_and_takes_no_writes() {
    let fake = plain().await;
    let at = async |side, request: &[u8]| try_send(&fake, side, request).await.unwrap();
    assert_eq!(at(Side::Follower, &read(&fake)).await.text(), "one");
    fake.set_lag(Duration::from_secs(5));
    assert_eq!(at(Side::Leader, &write(&fake, "two")).await.status, 201);
    assert_eq!(at(Side::Leader, &load(&fake, "- !variable new\n")).await.status, 201);
    assert_eq!(at(Side::Leader, &read(&fake)).await.text(), "two");
    assert_eq!(at(Side::Follower, &read(&fake)).await.text(), "one");
    let new = request("GET", "/resources/main/variable/controlplane%2Fnew", &fake.authorization("admin"), "");
    assert_eq!((at(Side::Leader, &new).await.status, at(Side::Follower, &new).await.status), (200, 404));
    fake.advance(Duration::from_secs(4));
    assert_eq!(at(Side::Follower, &read(&fake)).await.text(), "one");
    fake.advance(Duration::from_secs(1));
    assert_eq!(at(Side::Follower, &read(&fake)).await.text(), "two");
    assert_eq!(at(Side::Follower, &new).await.status, 200);
    for refused in [write(&fake, "x"), load(&fake, "- !variable x\n")] {
        let reply = at(Side::Follower, &refused).await;
        let told = r#"{"error":{"code":405,"message":"Write operations are not allowed"}}"#;
        assert_eq!((reply.status, reply.text().as_str()), (405, told));
    }
    let login = request("POST", "/authn/main/admin/authenticate", "", &fake.api_key("admin"));
    assert_eq!(at(Side::Follower, &login).await.status, 200);
}

#[tokio::test]
async fn tokens_end_when_their_time_is_over() {
    let fake = plain().await;
    fake.set_token_ttl(Duration::from_mins(1));
    let request = read(&fake);
    fake.advance(Duration::from_secs(58));
    assert_eq!(send(&fake, &request).await.status, 200);
    fake.advance(Duration::from_secs(2));
    let reply = send(&fake, &request).await;
    assert_eq!((reply.status, reply.text().as_str()), (401, "Unauthorized: Invalid token"));
}

#[tokio::test]
async fn two_writes_of_one_variable_at_once_collide_and_one_stores_nothing() {
    let fake = plain().await;
    let mut gate = fake.hold(Kind::Write, Moment::BeforeEffect);
    let first = in_background(&fake, write(&fake, "two"));
    gate.reached().await;
    assert_eq!(send(&fake, &write(&fake, "three")).await.status, 500);
    let other = request("POST", "/secrets/main/variable/controlplane%2Fother", &fake.authorization("admin"), "x");
    assert_eq!(send(&fake, &other).await.status, 201);
    gate.open();
    assert_eq!(first.await.unwrap().unwrap().status, 201);
    assert_eq!(fake.versions(SLOT), [(1, "one".into()), (2, "two".into())]);
}

#[tokio::test]
async fn a_load_into_a_busy_branch_waits_and_is_a_conflict() {
    let fake = plain().await;
    fake.admin_load("controlplane", "- !policy below\n");
    let mut gate = fake.hold(Kind::PolicyLoad, Moment::BeforeEffect);
    let first = in_background(&fake, load(&fake, "- !variable a\n"));
    gate.reached().await;
    let second = in_background(&fake, load(&fake, "- !variable b\n"));
    let below =
        request("POST", "/policies/main/policy/controlplane%2Fbelow", &fake.authorization("admin"), "- !variable c\n");
    assert_eq!(send(&fake, &below).await.status, 201);
    assert!(!second.is_finished());
    gate.open();
    assert_eq!(first.await.unwrap().unwrap().status, 201);
    let second = second.await.unwrap().unwrap();
    assert_eq!(second.status, 409);
    assert!((1..=8).contains(&second.header("Retry-After").unwrap().parse::<u32>().unwrap()));
    assert!(fake.exists("variable", "controlplane/a") && !fake.exists("variable", "controlplane/b"));
}

#[tokio::test]
async fn a_refused_text_changes_nothing_at_all() {
    let fake = plain().await;
    let text = "- !variable good\n- !group g\n- !grant {role: !group g, member: !host nobody}\n";
    let reply = send(&fake, &load(&fake, text)).await;
    assert_eq!(reply.status, 422);
    assert!(reply.text().contains("Host 'controlplane/nobody' not found in account 'main'"));
    assert!(!fake.exists("variable", "controlplane/good") && !fake.exists("group", "controlplane/g"));
}

#[tokio::test]
async fn answers_fail_as_told_and_as_often_as_told() {
    let fake = plain().await;
    fake.fail(When::from(Kind::Read).times(1), Fault::later(429, 7));
    fake.fail(When::from(Kind::Read).times(1), Fault::Redirect("https://elsewhere.test/".to_owned()));
    fake.fail(When::from(Kind::Read).times(1), Fault::Html);
    fake.fail(When::from(Kind::Read).times(1), Fault::GzipBomb);
    let reply = send(&fake, &read(&fake)).await;
    assert_eq!((reply.status, reply.header("Retry-After")), (429, Some("7")));
    assert_eq!(send(&fake, &write(&fake, "two")).await.status, 201);
    let reply = send(&fake, &read(&fake)).await;
    assert_eq!((reply.status, reply.header("Location")), (302, Some("https://elsewhere.test/")));
    let reply = send(&fake, &read(&fake)).await;
    assert_eq!((reply.status, reply.header("Content-Type")), (200, Some("text/html; charset=utf-8")));
    let reply = send(&fake, &read(&fake)).await;
    assert_eq!(reply.header("Content-Encoding"), Some("gzip"));
    assert!(reply.body.len() < 4 << 20);
    assert_eq!(send(&fake, &read(&fake)).await.text(), "two");
    fake.fail(Kind::Read, Fault::Huge { bytes: 1 << 20, declared: true });
    assert_eq!(send(&fake, &read(&fake)).await.body.len(), 1 << 20);
    fake.clear_faults();
    assert_eq!(send(&fake, &read(&fake)).await.text(), "two");
}

#[tokio::test]
async fn connections_break_as_told_before_or_after_the_effect() {
    let fake = plain().await;
    let once = |fault| fake.fail(When::any().times(1), fault);
    let failed = async |request: Vec<u8>| try_send(&fake, Side::Leader, &request).await.unwrap_err().kind();
    once(Fault::Reset);
    assert_eq!(failed(read(&fake)).await, ErrorKind::ConnectionReset);
    once(Fault::StopBeforeEffect);
    assert_eq!(failed(write(&fake, "never")).await, ErrorKind::UnexpectedEof);
    assert_eq!(fake.value(SLOT).unwrap(), "one");
    once(Fault::StopAfterEffect);
    assert_eq!(failed(write(&fake, "stored")).await, ErrorKind::UnexpectedEof);
    assert_eq!(fake.value(SLOT).unwrap(), "stored");
    once(Fault::Truncated);
    let reply = send(&fake, &read(&fake)).await;
    assert_eq!((reply.header("Content-Length"), reply.text().as_str()), (Some("64"), "sto"));
    once(Fault::SlowBody(1 << 20));
    let reply = send(&fake, &read(&fake)).await;
    assert_eq!((reply.body.len(), reply.text().trim_end()), (4096, "stored"));
    once(Fault::Hang);
    let hanging = in_background(&fake, read(&fake));
    while fake.in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(send(&fake, &read(&fake)).await.status, 200);
    assert!(!hanging.is_finished());
    fake.cut_connections();
    assert!(hanging.await.unwrap().is_err());
}

#[tokio::test]
async fn an_address_refuses_and_stalls_by_itself_and_opens_again() {
    let fake = plain().await;
    fake.fail(When::any().on(Side::Leader), Fault::Refuse);
    let refused = try_send(&fake, Side::Leader, &read(&fake)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(try_send(&fake, Side::Follower, &read(&fake)).await.unwrap().status, 200);
    fake.clear_faults();
    assert_eq!(send(&fake, &read(&fake)).await.status, 200);
    fake.fail(When::any().on(Side::Leader), Fault::TlsStall);
    let stalled = in_background(&fake, read(&fake));
    assert_eq!(try_send(&fake, Side::Follower, &read(&fake)).await.unwrap().status, 200);
    assert!(!stalled.is_finished());
    fake.clear_faults();
    assert!(stalled.await.unwrap().is_err());
    assert_eq!(send(&fake, &read(&fake)).await.status, 200);
}

#[tokio::test]
async fn certificates_are_good_or_bad_as_told() {
    let fake = FakeConjur::start().await;
    fake.admin_load("controlplane", TEXT);
    fake.set_value(SLOT, "one");
    assert_eq!(send(&fake, &read(&fake)).await.text(), "one");
    for shown in [Certificate::Expired, Certificate::WrongName, Certificate::UnknownAuthority] {
        fake.set_certificate(shown);
        let refused = try_send(&fake, Side::Leader, &read(&fake)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidData, "{shown:?}");
    }
    fake.set_certificate(Certificate::Good);
    assert_eq!(send(&fake, &read(&fake)).await.status, 200);
    let before = fake.ca_pem();
    fake.rotate_ca();
    let connect = async || TcpStream::connect(fake.url().strip_prefix("https://").unwrap()).await.unwrap();
    assert!(trusting(&before, connect().await).await.is_err());
    assert!(trusting(&fake.ca_pem(), connect().await).await.is_ok());
}

#[tokio::test]
async fn a_pod_logs_in_with_its_token_and_only_with_a_good_one() {
    let fake = plain().await;
    fake.enable_jwt("k8s", &JwtService::default());
    let login = fake.permit_jwt("k8s", "apps", "shop", "web");
    let ask = async |jwt: String| {
        send(&fake, &request("POST", "/authn-jwt/k8s/main/authenticate", "", &format!("jwt={jwt}"))).await
    };
    let jwt = fake.jwt("shop", "web");
    let reply = ask(jwt.sign()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(login, "host/apps/system:serviceaccount:shop:web");
    assert_eq!(ask(jwt.clone().by_stranger().sign()).await.status, 401);
    assert_eq!(ask(jwt.clone().claim("aud", "other".into()).sign()).await.status, 401);
    fake.advance(Duration::from_hours(1));
    let reply = ask(jwt.sign()).await;
    let told = r#"{"error":{"code":"unauthorized","message":"CONJ00016E Token expired"}}"#;
    assert_eq!((reply.status, reply.text().as_str()), (401, told));
}

#[tokio::test]
async fn a_proxy_in_front_refuses_long_targets() {
    let fake = plain().await;
    fake.set_target_limit(Some(100));
    let long = request(
        "GET",
        &format!("/secrets?variable_ids=main:variable:{}", "x".repeat(100)),
        &fake.authorization("admin"),
        "",
    );
    assert_eq!(send(&fake, &long).await.status, 414);
    fake.set_target_limit(None);
    assert_eq!(send(&fake, &long).await.status, 404);
}
