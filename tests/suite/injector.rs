//! W1, W3, C1: the webhook's server over real TLS.

use std::time::Duration;

use bytes::Bytes;
use cloakroom_injector::certificate::state::State;
use cloakroom_injector::certificate::{Lifetimes, issue, service_names};
use cloakroom_tests::injector::{Reviewer, WebhookServer, provider, review, trusting};
use http::{Method, StatusCode};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const NAME: &str = "injector.cloakroom.svc";

fn made() -> State {
    let now = jiff::Timestamp::now().as_second();
    issue::everything(&service_names("injector", "cloakroom"), now, Lifetimes::default()).unwrap()
}

fn serve(server: &WebhookServer, state: &State) {
    let checked =
        state.clone().check(&service_names("injector", "cloakroom"), &provider()).map_err(|fault| fault.to_string());
    let checked = checked.unwrap();
    server.serving.serve(checked.leaf.key, checked.leaf.validity);
}

async fn started() -> (WebhookServer, State) {
    let (server, state) = (WebhookServer::start().await, made());
    serve(&server, &state);
    (server, state)
}

async fn raw(server: &WebhookServer, bundle: &str) -> TlsStream<TcpStream> {
    shaken(TcpStream::connect(server.address).await.unwrap(), bundle).await
}

async fn shaken(stream: TcpStream, bundle: &str) -> TlsStream<TcpStream> {
    let connector = TlsConnector::from(std::sync::Arc::new(trusting(bundle)));
    connector.connect(ServerName::try_from(NAME).unwrap(), stream).await.unwrap()
}

#[tokio::test]
async fn a_review_is_answered_with_its_uid_by_both_versions_of_http_and_under_both_names() {
    let (server, state) = started().await;
    for (name, http2) in [(NAME, true), (NAME, false), ("injector.cloakroom.svc.cluster.local", true)] {
        let reviewer = Reviewer::new(server.address, &state.bundle(), name, http2);
        reviewer.review("one").await.unwrap();
        reviewer.review("two").await.unwrap();
    }
    let stranger = Reviewer::new(server.address, &made().bundle(), NAME, true);
    assert!(stranger.review("one").await.is_err(), "another authority of the same kind");
}

#[tokio::test]
async fn w1_what_is_no_review_gets_400_and_what_is_no_path_or_method_gets_its_own_status() {
    let (server, state) = started().await;
    for http2 in [true, false] {
        let reviewer = Reviewer::new(server.address, &state.bundle(), NAME, http2);
        let ask = async |method, path: &str, body: Bytes| reviewer.ask(method, path, body).await.unwrap();
        for body in [Bytes::new(), Bytes::from_static(b"canary"), Bytes::from_static(b"{\"request\":null}")] {
            let (status, said) = ask(Method::POST, "/inject/asked", body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert!(!String::from_utf8_lossy(&said).contains("canary"));
        }
        assert_eq!(ask(Method::GET, "/inject/asked", Bytes::new()).await.0, StatusCode::METHOD_NOT_ALLOWED);
        for path in ["/", "/inject", "/inject/asked/", "/inject/other", "/metrics", "/status"] {
            assert_eq!(ask(Method::POST, path, Bytes::new()).await.0, StatusCode::NOT_FOUND, "{path}");
        }
        // It may hang up before it has been sent all of it; what it does not do is to read it.
        let large = reviewer.ask(Method::POST, "/inject/asked", vec![b' '; 11 << 20]).await;
        assert!(!matches!(&large, Ok((status, _)) if *status != StatusCode::BAD_REQUEST), "{large:?}");
        reviewer.review("after").await.unwrap();
    }
}

#[tokio::test]
async fn w3_two_reviews_of_one_pod_are_answered_alike_whoever_asks() {
    let (server, state) = started().await;
    let reviewer = Reviewer::new(server.address, &state.bundle(), NAME, true);
    let mut dry = review("one");
    dry["request"]["dryRun"] = true.into();
    let wet = reviewer.ask(Method::POST, "/inject/asked", review("one").to_string()).await.unwrap();
    assert_eq!(reviewer.ask(Method::POST, "/inject/asked", dry.to_string()).await.unwrap(), wet);
}

#[tokio::test]
async fn c1_a_handshake_that_stalls_holds_nobody_up() {
    let (server, state) = started().await;
    let mut stalled = Vec::new();
    for count in 0..200 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // Some say nothing, some begin a record.
        if count % 2 == 0 {
            stream.write_all(&[0x16, 3, 1, 1]).await.unwrap();
        }
        stalled.push(stream);
    }
    Reviewer::new(server.address, &state.bundle(), NAME, true).review("one").await.unwrap();
    drop(stalled);
}

#[tokio::test]
async fn c1_a_new_certificate_is_for_new_connections_and_old_ones_go_on() {
    let (server, first) = started().await;
    let kept = Reviewer::new(server.address, &first.bundle(), NAME, true);
    kept.review("one").await.unwrap();
    let second = made();
    serve(&server, &second);
    kept.review("two").await.unwrap();
    assert!(Reviewer::new(server.address, &first.bundle(), NAME, true).review("three").await.is_err());
    Reviewer::new(server.address, &second.bundle(), NAME, true).review("four").await.unwrap();
}

#[tokio::test]
async fn a_review_that_has_begun_ends_while_new_connections_are_refused() {
    let (server, state) = started().await;
    let mut stream = raw(&server, &state.bundle()).await;
    let body = review("one").to_string();
    let head = format!("POST /inject/asked HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {}\r\n\r\n", body.len());
    let (first, rest) = body.split_at(20);
    stream.write_all(format!("{head}{first}").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.stop.cancel();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut said = String::new();
    // The peer may close without a TLS alert.
    drop(stream.read_to_string(&mut said).await);
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("\"uid\":\"one\""), "{said}");
    tokio::time::timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn u3_whoever_connected_just_before_the_end_has_a_first_review_answered() {
    let (server, state) = started().await;
    let connected = TcpStream::connect(server.address).await.unwrap();
    let ready = raw(&server, &state.bundle()).await;
    let idle = raw(&server, &state.bundle()).await;
    server.stop.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    for mut stream in [shaken(connected, &state.bundle()).await, ready] {
        let body = review("one").to_string();
        let head = format!("POST /inject/asked HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut said = String::new();
        drop(stream.read_to_string(&mut said).await);
        assert!(said.starts_with("HTTP/1.1 200") && said.contains("\"uid\":\"one\""), "{said}");
        assert!(said.contains("\r\nconnection: close\r\n"), "so that nobody sends another one here: {said}");
    }
    // Who sends nothing is not waited for any longer.
    tokio::time::timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap();
    drop(idle);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up_before_the_api_server_gives_us_up() {
    let (server, state) = started().await;
    let mut stream = raw(&server, &state.bundle()).await;
    let head = format!("POST /inject/asked HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 100\r\n\r\n{{");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut said = [0; 12];
    let answered = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut said)).await;
    answered.unwrap().unwrap();
    assert_eq!(&said, b"HTTP/1.1 408");
}
