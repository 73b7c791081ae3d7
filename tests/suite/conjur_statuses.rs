//! B2: what a caller of a whole agent hears while Conjur fails: the status, when to come again, and no word of Conjur's.

use std::path::Path;

use cloakroom_tests::agent::{Agent, Options};
use cloakroom_tests::conjur::{Fault, Kind};
use cloakroom_tests::conjur_agent::{ALL, SERVICE, prepared, scope_in};
use cloakroom_tests::wire::Connection;
use tempfile::TempDir;

use crate::api::{call, id_path};

const ID: &str = "poc:team:app:clientSecret:";

/// Something that only the double says.
const TEXT: &str = "CONJ00099E told by the double";

fn said(code: u16) -> Fault {
    Fault::json(code, &format!(r#"{{"error":{{"code":"x","message":"{TEXT}"}}}}"#))
}

fn options(url: &str, directory: &Path) -> Options {
    let sources = format!(
        "backend: {{kind: conjur, conjur: {{url: \"{url}\", account: main, caFile: {}, authn: {{jwt: {{serviceId: {SERVICE}, \
         tokenFile: {}}}}}, lease: {{mode: none}}}}}}\nidentity: {{kind: uid}}\npermissions: {{kind: file, file: {}}}",
        directory.join("ca.pem").display(),
        directory.join("token").display(),
        directory.join("grants.yaml").display(),
    );
    let extra = "cache: {ttl: 0s}\nlimits: {backendTimeout: 3s}".to_owned();
    Options { sources: Some(sources), extra, ..Options::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_a_caller_hears_the_status_of_the_table_and_nothing_that_conjur_said() {
    let fake = prepared(&[("agent", ALL)]).await;
    scope_in(&fake, "poc/team/app");
    fake.set_value("controlplane/poc/team/app/clientSecret", "value");
    let directory = TempDir::new().unwrap();
    let options = options(&fake.url(), directory.path());
    std::fs::write(directory.path().join("ca.pem"), fake.ca_pem()).unwrap();
    std::fs::write(directory.path().join("token"), fake.jwt("poc", "agent").sign()).unwrap();
    std::fs::write(directory.path().join("grants.yaml"), &options.grants).unwrap();
    let agent = Agent::start(options);
    let mut connection = Connection::open(&agent.socket());
    assert_eq!(call(&mut connection, "GET", &id_path(ID), "").status, 200, "{}", agent.log());
    let cases = [
        ("GET", Kind::Read, Fault::later(503, 7), 503, Some("7")),
        ("GET", Kind::Read, Fault::later(429, 7), 503, Some("7")),
        ("GET", Kind::Read, said(500), 503, Some("1")),
        ("GET", Kind::Read, Fault::Reset, 503, Some("1")),
        ("GET", Kind::Read, Fault::Hang, 503, Some("1")),
        ("GET", Kind::Read, Fault::Html, 502, None),
        ("GET", Kind::Read, said(401), 502, None),
        ("GET", Kind::Read, said(409), 502, None),
        ("GET", Kind::Read, said(403), 403, None),
        ("GET", Kind::Read, said(404), 404, None),
        ("PUT", Kind::Write, Fault::later(429, 7), 503, Some("7")),
        ("PUT", Kind::Write, said(500), 503, Some("1")),
        ("PUT", Kind::Write, said(401), 502, None),
        ("PUT", Kind::Write, said(409), 502, None),
        ("PUT", Kind::Write, said(403), 403, None),
        ("PUT", Kind::Write, said(404), 404, None),
        ("PUT", Kind::Write, Fault::Reset, 504, None),
        ("PUT", Kind::Write, Fault::Hang, 504, None),
        ("PUT", Kind::Write, Fault::StopAfterEffect, 200, None),
    ];
    for (at, (method, kind, fault, status, after)) in cases.into_iter().enumerate() {
        let name = format!("{method} {fault:?}");
        fake.fail(kind, fault);
        let body = if method == "PUT" { format!(r#"{{"value":"new {at}"}}"#) } else { String::new() };
        let answer = call(&mut connection, method, &id_path(ID), &body);
        assert_eq!((answer.status, answer.header("retry-after")), (status, after), "{name}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("CONJ00099E"), "{name}");
        fake.clear_faults();
        assert_eq!(call(&mut connection, "GET", &id_path(ID), "").status, 200, "{name}: the moment after");
    }
    assert!(!agent.log().contains("CONJ00099E"), "the log repeats what Conjur said");
}
