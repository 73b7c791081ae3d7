//! What becomes of requests and answers: exact bytes out, exact bytes in, and the exit status of a refusal.

use std::fs;

use tempfile::TempDir;

use super::support::{ESCAPED, FakeAgent, ID, cloakroom, code, printed, run_with, said};

// === values ===

#[test]
fn get_prints_exactly_the_value() {
    for value in ["s3cr3t", "", " two\nlines\r\n", "nul \0, ü, \u{1f511}, \u{1b}[2J"] {
        let agent = FakeAgent::answering("200", serde_json::json!({"id": "i", "value": value}).to_string());
        let output = agent.run(&["get", &format!("$<{ID}>")]);
        assert_eq!((code(&output), printed(&output).as_str()), (0, value), "{}", said(&output));
        let (line, body) = agent.request();
        assert_eq!(line, format!("GET /api/v1/secrets/%24%3C{ESCAPED}%3E HTTP/1.1"));
        assert_eq!(body, "");
    }
}

#[test]
fn get_with_json_prints_the_answer_of_the_api() {
    let agent = FakeAgent::answering("200", r#"{"id":"i",  "value":"v"}"#);
    assert_eq!(printed(&agent.run(&["get", ID, "--json"])), "{\"id\":\"i\",  \"value\":\"v\"}\n");
}

#[test]
fn put_sends_exactly_what_it_read() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("value");
    for value in ["", "\n", " s3cr3t \r\n", "\"\\ \0 ü", &"\u{1}x".repeat(50_000)] {
        fs::write(&file, value).unwrap();
        for source in [vec!["-"], vec!["--file", file.to_str().unwrap()]] {
            let agent = FakeAgent::answering("200", r#"{"id":"a:b:c:d:new"}"#);
            let output = run_with(agent.command(&[vec!["put", ID], source].concat()), value.as_bytes());
            assert_eq!((code(&output), printed(&output).as_str()), (0, "a:b:c:d:new\n"), "{}", said(&output));
            let (line, body) = agent.request();
            assert_eq!(line, format!("PUT /api/v1/secrets/{ESCAPED} HTTP/1.1"));
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body, serde_json::json!({ "value": value }));
        }
    }
}

#[test]
fn put_takes_a_value_that_looks_like_an_option_and_the_literal_word() {
    let agent = FakeAgent::answering("200", r#"{"id":"i"}"#);
    assert_eq!(code(&agent.run(&["put", ID, "--literal", "--value", "--rotate"])), 0);
    assert_eq!(agent.request().1, r#"{"value":"--rotate","literal":true}"#);
}

#[test]
fn a_value_that_is_no_text_is_1_and_not_sent() {
    let nobody = TempDir::new().unwrap().path().join("agent.sock");
    let mut put = cloakroom(["put", ID, "-", "--socket"]);
    put.arg(nobody);
    let output = run_with(put, b"\xff");
    assert_eq!(code(&output), 1);
    let expected = "cloakroom: standard input is not UTF-8 text: \
                    values are text; encode the bytes, for example as base64\n";
    assert_eq!(said(&output), expected);
}

#[test]
fn rotate_prints_both_ids() {
    let agent = FakeAgent::answering("200", r#"{"id":"new","previousId":"old"}"#);
    let output = agent.run(&["rotate", ID, "--keep-previous", "rotatedClientSecret"]);
    assert_eq!((code(&output), printed(&output).as_str()), (0, "new\nold\n"));
    let (line, body) = agent.request();
    assert_eq!(line, format!("POST /api/v1/secrets/{ESCAPED}/rotate HTTP/1.1"));
    assert_eq!(body, r#"{"keepPrevious":"rotatedClientSecret"}"#);

    let agent = FakeAgent::answering("200", r#"{"id":"new"}"#);
    assert_eq!(printed(&agent.run(&["rotate", ID])), "new\n");
    assert_eq!(agent.request().1, "{}");
}

#[test]
fn delete_and_offboard_print_nothing_to_a_pipe() {
    for (arguments, path) in [
        (vec!["delete", ID], format!("secrets/{ESCAPED}")),
        (vec!["offboard", "environment", "poc"], "onboarding/environments/poc".to_owned()),
        (vec!["offboard", "team", "poc", "a--b"], "onboarding/environments/poc/teams/a%2D%2Db".to_owned()),
        (vec!["offboard", "app", "poc", "t", "../x"], "onboarding/environments/poc/teams/t/apps/%2E%2E%2Fx".to_owned()),
    ] {
        let agent = FakeAgent::answering("204", "");
        let output = agent.run(&arguments);
        assert_eq!((code(&output), printed(&output).as_str()), (0, ""), "{}", said(&output));
        assert_eq!(agent.request().0, format!("DELETE /api/v1/{path} HTTP/1.1"));
    }
}

#[test]
fn onboard_sends_values_and_files_and_prints_names_with_ids() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("key");
    fs::write(&file, "k\n").unwrap();
    let from_file = format!("m/b=@{}", file.display());
    let agent = FakeAgent::answering("200", r#"{"items":[{"name":"a","id":"1"},{"name":"m/b","id":"2"}]}"#);
    let mut command = agent.command(&["onboard", "app", "poc", "t", "x", "--strategy", "merge"]);
    let output = command.args(["--secret", "a=-b=c", "--secret", &from_file]).output().unwrap();
    assert_eq!((code(&output), printed(&output).as_str()), (0, "a  1\nm/b  2\n"), "{}", said(&output));
    let (line, body) = agent.request();
    assert_eq!(line, "PUT /api/v1/onboarding/environments/poc/teams/t/apps/x HTTP/1.1");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let secrets = serde_json::json!([{"name": "a", "value": "-b=c"}, {"name": "m/b", "value": "k\n"}]);
    assert_eq!(body, serde_json::json!({"strategy": "merge", "secrets": secrets}));
}

// === refusals ===

#[test]
fn a_refusal_becomes_its_exit_status_and_its_detail() {
    for (status, expected) in [
        ("400", 1),
        ("401", 3),
        ("403", 3),
        ("404", 4),
        ("409", 1),
        ("413", 1),
        ("422", 1),
        ("429", 5),
        ("500", 1),
        ("502", 1),
        ("503", 5),
        ("504", 5),
    ] {
        let agent = FakeAgent::answering(status, r#"{"detail":"the reason","instance":"r-2","position":7}"#);
        let output = agent.run(&["get", ID]);
        assert_eq!(code(&output), expected, "{status}");
        assert_eq!(printed(&output), "");
        let said = said(&output);
        let start = "cloakroom: the reason, at position 7 of the request (request r-2)";
        assert!(said.starts_with(start) && said.ends_with('\n'), "{said}");
        assert_eq!(said.lines().count(), 1);
    }
}

#[test]
fn only_a_missing_right_is_answered_with_where_rights_are_shown() {
    for (code, shown) in [("denied", true), ("slot_not_allowed", false)] {
        let agent = FakeAgent::answering("403", format!(r#"{{"detail":"the reason","code":"{code}"}}"#));
        let output = agent.run(&["get", ID]);
        assert_eq!(said(&output).contains("whoami"), shown, "{}", said(&output));
    }
}

#[test]
fn an_answer_that_is_none_of_ours_is_a_failure_without_its_text() {
    let agent = FakeAgent::answering("200", r#"{"id":"i","value":["s3cr3t"]}"#);
    let output = agent.run(&["get", ID]);
    assert_eq!((code(&output), printed(&output).as_str()), (1, ""));
    assert!(!said(&output).contains("s3cr3t"), "{}", said(&output));

    let agent = FakeAgent::answering("400", "");
    let output = agent.run(&["get", ID]);
    assert_eq!(code(&output), 1);
    assert!(said(&output).contains("400") && said(&output).contains("r-1"), "{}", said(&output));
}

// === the agent about itself ===

#[test]
fn ready_is_0_or_5() {
    let agent = FakeAgent::answering("200", "{}");
    let output = agent.run(&["ready"]);
    assert_eq!((code(&output), printed(&output).as_str()), (0, ""));
    assert_eq!(agent.request().0, "GET /api/v1/status HTTP/1.1");
    let agent = FakeAgent::answering("403", r#"{"detail":"no"}"#);
    let output = agent.run(&["ready"]);
    assert_eq!((code(&output), printed(&output).as_str()), (5, ""));
    assert!(said(&output).starts_with("cloakroom: not ready: no (request r-1): "), "{}", said(&output));
}

#[test]
fn ready_waits_for_required_files_where_it_is_asked_to() {
    let settled = r#"{"name":"a","required":true,"settled":true},{"name":"b","required":false,"settled":false}"#;
    for (files, exit) in [
        (String::new(), 0),
        (settled.to_owned(), 0),
        (format!(r#"{settled},{{"name":"c","required":true,"settled":false}}"#), 5),
        (format!(r#"{settled},{{"name":"c"}}"#), 5),
    ] {
        let agent = FakeAgent::answering("200", format!(r#"{{"files":[{files}]}}"#));
        let output = agent.run(&["ready", "--files"]);
        assert_eq!(code(&output), exit, "{files}: {}", said(&output));
        assert_eq!(said(&output).contains("no file yet for c"), exit == 5, "{}", said(&output));
    }
    let agent = FakeAgent::answering("200", "{}");
    assert_eq!(code(&agent.run(&["ready", "--files"])), 5, "an agent that says nothing of files is not ready");
}

#[test]
fn whoami_asks_for_a_scope() {
    let agent = FakeAgent::answering("200", r#"{"subject":"uid:1","pod":null,"rights":{"secrets_read":true}}"#);
    let output = agent.run(&["whoami", "--scope", "poc/eni--hyperion/my-app"]);
    assert_eq!(printed(&output), "rights.secrets_read  true\nsubject              uid:1\n");
    assert_eq!(agent.request().0, "GET /api/v1/whoami?scope=poc%2Feni%2D%2Dhyperion%2Fmy%2Dapp HTTP/1.1");
}

#[test]
fn status_is_one_fact_a_line_or_json() {
    let body = concat!(
        r#"{"version":"0.1.0","backend":{"kind":"embedded","state":"up"},"#,
        r#""cache":{"hits":3},"files":[],"warnings":["one","two"]}"#
    );
    let agent = FakeAgent::answering("200", body);
    let lines = [
        "backend.kind   embedded",
        "backend.state  up",
        "cache.hits     3",
        "version        0.1.0",
        "warnings       one",
    ];
    assert_eq!(printed(&agent.run(&["status"])), format!("{}\nwarnings       two\n", lines.join("\n")));
    let agent = FakeAgent::answering("200", body);
    assert_eq!(printed(&agent.run(&["status", "--json"])), format!("{body}\n"));
}
