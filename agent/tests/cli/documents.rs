//! What becomes of whole documents, and of a stream of changes: exact bytes out, exact bytes in.

use std::fs;

use tempfile::TempDir;

use super::support::{ESCAPED, FakeAgent, ID, code, printed, run_with, said};

#[test]
fn resolve_sends_exactly_what_it_read_and_prints_exactly_what_it_got() {
    let directory = TempDir::new().unwrap();
    for (name, arguments, media) in [
        ("a.json", vec![], "application/json"),
        ("a.YML", vec![], "application/yaml"),
        ("a.yaml", vec!["--content-type", "text"], "text/plain"),
        ("a.txt", vec![], "text/plain"),
        ("a.conf", vec!["--content-type", "application/yaml"], "application/yaml"),
    ] {
        let file = directory.path().join(name);
        fs::write(&file, "{\"a\": 1}\r\n").unwrap();
        let agent = FakeAgent::answering("200", "the answer, ü\n");
        let output = agent.run(&[vec!["resolve"], arguments, vec![file.to_str().unwrap()]].concat());
        assert_eq!((code(&output), printed(&output).as_str()), (0, "the answer, ü\n"), "{name}: {}", said(&output));
        let (line, head, body) = agent.request_with_head();
        assert_eq!((line.as_str(), body.as_str()), ("POST /api/v1/resolve HTTP/1.1", "{\"a\": 1}\r\n"), "{name}");
        assert!(head.contains(&format!("content-type: {media}\r\n")), "{name}: {head}");
        assert!(head.contains(&format!("accept: {media}\r\n")), "{name}: {head}");
    }
    for arguments in [vec!["resolve"], vec!["resolve", "-"]] {
        let agent = FakeAgent::answering("200", "x");
        let output = run_with(agent.command(&arguments), b"[]");
        assert_eq!(printed(&output), "x", "{}", said(&output));
        let (_, head, body) = agent.request_with_head();
        assert!(head.contains("content-type: application/json\r\n") && body == "[]");
    }
}

#[test]
fn resolve_at_paths_names_them() {
    let agent = FakeAgent::answering("200", "x");
    let output = run_with(agent.command(&["resolve", "--path", "/a b", "--path", "/*/c~1d"]), b"[]");
    assert_eq!(code(&output), 0);
    assert_eq!(agent.request().0, "POST /api/v1/resolve?paths=%2Fa%20b,%2F%2A%2Fc%7E1d HTTP/1.1");
}

#[test]
fn obfuscate_sends_json_as_it_is_and_yaml_as_its_text() {
    let directory = TempDir::new().unwrap();
    let common = ["obfuscate", "--scope", "poc", "--slot", "zones", "--path", "/a=x={b}", "--path", "/*"];
    let head =
        r#"{"scope":"poc","slot":"zones","paths":[{"pointer":"/a","key":"x={b}"},{"pointer":"/*"}],"contentType":"#;
    for (name, text, rest) in [
        ("a.json", " {\"b\" : 1.00}\n", r#""application/json","document":{"b" : 1.00}}"#),
        ("a.yaml", "b: \"1\" # c\n", r#""application/yaml","document":"b: \"1\" # c\n"}"#),
    ] {
        let file = directory.path().join(name);
        fs::write(&file, text).unwrap();
        let agent = FakeAgent::answering("200", "the answer");
        let output = agent.run(&[&common[..], &[file.to_str().unwrap()]].concat());
        assert_eq!((code(&output), printed(&output).as_str()), (0, "the answer"), "{}", said(&output));
        assert_eq!(agent.request(), ("POST /api/v1/obfuscate HTTP/1.1".to_owned(), format!("{head}{rest}")));
    }
    let file = directory.path().join("broken.json");
    fs::write(&file, "{\"s3cr3t\": s3cr3t}").unwrap();
    let agent = FakeAgent::answering("200", "never");
    let output = agent.run(&[&common[..], &[file.to_str().unwrap()]].concat());
    assert_eq!(code(&output), 1);
    assert!(said(&output).contains("is no JSON: line 1") && !said(&output).contains("s3cr3t"), "{}", said(&output));
}

#[test]
fn a_refused_document_says_why() {
    for (status, exit) in [("400", 1), ("403", 3), ("404", 4), ("422", 1), ("503", 5)] {
        let problem = r#"{"detail":"so it is","code":"c","position":2,"instance":"r"}"#;
        let agent = FakeAgent::answering(status, problem);
        let output = run_with(agent.command(&["resolve"]), b"[]");
        assert_eq!((code(&output), printed(&output).as_str()), (exit, ""), "{status}");
        assert!(said(&output).starts_with("cloakroom: so it is, at position 2 of the request"), "{}", said(&output));
    }
}

#[test]
fn watch_prints_an_id_a_line_and_is_5_when_the_agent_ends_it() {
    let events = ":\n\ndata: {\"id\":\"a:b:c:d:1\"}\n\nevent: deleted\ndata: {\"id\":\"a:b:c:d:\"}\n\n";
    for (json, expected) in [
        (&["watch", ID][..], "a:b:c:d:1\na:b:c:d:\n"),
        (&["watch", ID, "--json"], "{\"id\":\"a:b:c:d:1\"}\n{\"id\":\"a:b:c:d:\"}\n"),
    ] {
        let agent = FakeAgent::answering("200", events);
        let output = agent.run(json);
        assert_eq!((code(&output), printed(&output).as_str()), (5, expected));
        assert!(said(&output).starts_with("cloakroom: the agent has ended the stream: "), "{}", said(&output));
        let (line, head, _) = agent.request_with_head();
        assert_eq!(line, format!("GET /api/v1/secrets/{ESCAPED}/events HTTP/1.1"));
        assert!(head.contains("accept: text/event-stream\r\n"), "{head}");
    }
    let agent = FakeAgent::answering("403", r#"{"detail":"no"}"#);
    assert_eq!(code(&agent.run(&["watch", ID])), 3);
}
