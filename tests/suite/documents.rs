//! `POST /resolve` and `POST /obfuscate`: whole documents, in and out.

use std::fs;

use cloakroom_tests::agent::{Agent, Options, grant_everything, own_uid};
use cloakroom_tests::wire::{Connection, Response};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::api::{APP, call, id_path};

const P: &str = "$<poc:eni--hyperion:my-app:externalSecrets/a:>";
const Q: &str = "$<poc:eni--hyperion:my-app:externalSecrets/b:0123456789ab>";
const VALUE: &str = "a\"b\\c\n: # 'd' {{x}}";
const SCOPE: &str = "poc/eni--hyperion/my-app";

fn started(extra: &str) -> (Agent, Connection) {
    let limits = format!("limits: {{callerRate: 10000, callerBurst: 20000{extra}}}");
    let agent = Agent::start(Options { extra: limits, ..Options::default() });
    let mut connection = Connection::open(&agent.socket());
    let secrets = json!([
        {"name": "externalSecrets/a", "value": VALUE},
        {"name": "externalSecrets/b", "value": P},
    ]);
    assert_eq!(call(&mut connection, "PUT", APP, &json!({ "secrets": secrets }).to_string()).status, 200);
    (agent, connection)
}

fn resolve(connection: &mut Connection, media: &str, query: &str, document: &str) -> Response {
    let path = format!("/api/v1/resolve{query}");
    connection.request("POST", &path, &[("content-type", media)], document.as_bytes())
}

fn obfuscate(connection: &mut Connection, body: &Value) -> Response {
    call(connection, "POST", "/api/v1/obfuscate", &body.to_string())
}

fn wish(document: &Value, paths: &Value) -> Value {
    json!({"scope": SCOPE, "slot": "externalSecrets", "paths": paths, "document": document})
}

fn text(answer: &Response) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

fn problem(answer: &Response, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{}", text(answer));
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["code"], code);
    body
}

fn slot(connection: &mut Connection) -> Value {
    let answer = call(connection, "GET", &id_path("poc:eni--hyperion:my-app:externalSecrets:"), "");
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    serde_json::from_str(answer["value"].as_str().unwrap()).unwrap()
}

#[test]
fn a_document_comes_back_with_its_placeholders_replaced_as_its_format_writes_them() {
    let (_agent, mut connection) = started("");
    let source = format!("{{ \"k{P}\": [\"x{P}y\", 1.0, {{}}], \"q\": \"{Q}\", \"n\": \"$<no>\" }}\n");
    let answer = resolve(&mut connection, "application/json", "", &source);
    assert_eq!(answer.status, 200);
    let escaped = serde_json::to_string(VALUE).unwrap();
    let value = format!("\"x{}y\"", escaped.trim_matches('"'));
    // The value of `b` is itself a placeholder, and stays what it is.
    assert_eq!(text(&answer), source.replace(&format!("\"x{P}y\""), &value).replace(Q, P));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("age").is_some() && answer.header("cache-status").is_some());
    assert_eq!(answer.header("etag"), None);

    let source = format!("a: {P} # c\n---\nb: |\n  {Q}\n");
    for media in ["application/yaml", "application/x-yaml", "Text/YAML; charset=utf-8", "text/x-yaml", "text/vnd.yaml"]
    {
        let answer = resolve(&mut connection, media, "", &source);
        assert_eq!(text(&answer), format!("a: {escaped} # c\n---\nb: |\n  {P}\n"), "{media}");
        let stated = answer.header("content-type").unwrap();
        let same = media.split(';').next().unwrap().to_lowercase();
        assert!(stated == same || stated == format!("{same}; charset=utf-8"), "{media}: {stated}");
    }
    let answer = resolve(&mut connection, "text/plain", "", &format!("{{\"a\": \"{P}\"}}"));
    assert_eq!(text(&answer), format!("{{\"a\": \"{VALUE}\"}}"), "a text is not looked into");
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    let untouched = resolve(&mut connection, "application/json", "", "[1, \"x\"]");
    assert_eq!((text(&untouched), untouched.header("age")), ("[1, \"x\"]", None));
    // Without a type it is JSON, as everywhere.
    let answer = connection.request("POST", "/api/v1/resolve", &[], format!("\"{Q}\"").as_bytes());
    assert_eq!(text(&answer), format!("\"{P}\""));
}

#[test]
fn paths_limit_what_is_resolved() {
    let (_agent, mut connection) = started("");
    let source = json!({"spec": {"a": Q, "b": [Q, Q], "c": Q}, "a": Q}).to_string();
    let at = |connection: &mut Connection, query: &str| -> Value {
        serde_json::from_str(text(&resolve(connection, "application/json", query, &source))).unwrap()
    };
    let expected = json!({"spec": {"a": P, "b": [P, P], "c": Q}, "a": Q});
    assert_eq!(at(&mut connection, "?paths=/spec/a,/spec/b"), expected);
    assert_eq!(at(&mut connection, "?paths=%2Fspec%2Fa%2C%2Fspec%2Fb"), expected);
    assert_eq!(at(&mut connection, "?paths=/spec/a&paths=/spec/b"), expected);
    assert_eq!(at(&mut connection, "?paths=/*/b/1"), json!({"spec": {"a": Q, "b": [Q, P], "c": Q}, "a": Q}));
    assert_eq!(at(&mut connection, "?paths=/none").to_string(), source);
    for wrong in ["?paths=", "?paths=/a,", "?paths=a", "?paths=/~2", "?path=/a", "?paths=/a&x=1", "?paths=%2"] {
        problem(&resolve(&mut connection, "application/json", wrong, &source), 400, "invalid_query");
    }
    let many = format!("?paths={}", vec!["/a"; 101].join(","));
    problem(&resolve(&mut connection, "application/json", &many, &source), 400, "invalid_query");
    problem(&resolve(&mut connection, "text/plain", "?paths=/a", &source), 422, "invalid_document");
}

#[test]
fn what_is_no_document_of_its_type_is_refused() {
    let (agent, mut connection) = started("");
    for (media, document) in [
        ("application/json", ""),
        ("application/json", "{"),
        ("application/json", "{\"a\":1,\"a\":2}"),
        ("application/json", "[] []"),
        ("application/json", "\u{feff}[]"),
        ("application/json", "\"\\ud800\""),
        ("application/yaml", "a: ["),
        ("application/yaml", "a: 1\na: 2\n"),
        ("application/yaml", "a: *b"),
        ("application/yaml", "a: \"\\ud800\""),
        ("application/yaml", "a\0b"),
    ] {
        let answer = resolve(&mut connection, media, "", document);
        assert!(
            problem(&answer, 400, "malformed_body")["detail"].as_str().unwrap().contains("line 1")
                || document.contains('\n'),
            "{document}"
        );
    }
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for media in ["application/json", "application/yaml"] {
        assert_eq!(resolve(&mut connection, media, "", &deep(32)).status, 200);
        for depth in [33, 100_000] {
            problem(&resolve(&mut connection, media, "", &deep(depth)), 400, "malformed_body");
        }
    }
    let bytes = connection.request("POST", "/api/v1/resolve", &[("content-type", "text/plain")], b"\xff");
    problem(&bytes, 400, "malformed_body");
    for media in [
        "application/xml",
        "application/octet-stream",
        "text/html",
        "application/json; charset=latin1",
        "yaml",
        "",
        "application/json, application/yaml",
    ] {
        problem(&resolve(&mut connection, media, "", "[]"), 415, "unsupported_media_type");
    }
    let post = |headers: &[(&str, &str)]| {
        Connection::open(&agent.socket()).request("POST", "/api/v1/resolve", headers, b"[]").status
    };
    assert_eq!(post(&[("content-type", "application/json"), ("content-encoding", "gzip")]), 415);
    assert_eq!(post(&[("content-type", "application/json"), ("content-type", "text/plain")]), 415);
    assert_eq!(post(&[("content-type", "application/yaml"), ("accept", "application/json")]), 406);
    assert_eq!(post(&[("content-type", "application/yaml"), ("accept", "text/*, application/*;q=0.1")]), 200);
    assert_eq!(post(&[("content-type", "text/yaml"), ("accept", "text/*")]), 200);
    let alias = format!("a: &x [{P}]\nb: *x\n");
    problem(&resolve(&mut connection, "application/yaml", "?paths=/a", &alias), 422, "invalid_document");
}

#[test]
fn i6_one_denied_id_denies_the_document_and_nothing_is_read() {
    let (agent, mut connection) = started("");
    let grants = grant_everything(own_uid()).replace("\"*\"", SCOPE);
    fs::write(agent.grants(), grants).unwrap();
    agent.signal(Signal::SIGHUP);
    cloakroom_tests::agent::eventually(std::time::Duration::from_secs(10), "the new grants", || {
        call(&mut Connection::open(&agent.socket()), "GET", &id_path("poc:::zones:"), "").status == 403
    });
    let before = agent.audit().len();
    let fetches = || {
        let metrics = Connection::open(&agent.admin()).request_plain("GET", "/metrics", &[], b"").body;
        String::from_utf8(metrics).unwrap().lines().filter(|line| line.contains("operation=\"fetch\"")).count()
    };
    let earlier = fetches();
    let denied = resolve(&mut connection, "application/json", "", &format!("[\"{P}\", \"$<poc:::zones/a:>\"]"));
    problem(&denied, 403, "denied");
    assert_eq!(fetches(), earlier);
    let records = agent.audit().split_off(before);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["operation"], "resolve");
    assert_eq!((&records[0]["phase"], &records[0]["decision"]), (&json!("served"), &json!("deny")));
    assert_eq!(records[0]["secrets"], json!(["poc:eni--hyperion:my-app:externalSecrets/a", "poc:::zones/a"]));
    // What is not asked for takes no right.
    let path = "?paths=/0";
    let document = format!("[\"{P}\", \"$<poc:::zones/a:>\"]");
    assert_eq!(resolve(&mut connection, "application/json", path, &document).status, 200);
    let foreign = json!({"scope": "poc", "slot": "zones", "paths": [], "document": {}});
    problem(&obfuscate(&mut connection, &foreign), 403, "denied");
}

#[test]
fn of_a_missing_secret_the_position_among_the_ids_is_named() {
    let (_agent, mut connection) = started("");
    let none = "$<poc:eni--hyperion:my-app:externalSecrets/none:>";
    let answer = resolve(&mut connection, "application/json", "", &format!("[\"{P}{P}{Q}\", \"{P}{none}\"]"));
    assert_eq!(problem(&answer, 404, "not_found")["position"], 2);
    assert!(!text(&answer).contains("none"));
    let below = "$<poc:eni--hyperion:my-app:clientSecret/x:>";
    problem(&resolve(&mut connection, "text/plain", "", below), 422, "invalid_id");
}

#[test]
fn n8_ids_and_answers_are_bounded() {
    let (agent, mut connection) = started("");
    let ids = |count: usize| (0..count).map(|n| format!("$<poc:::zones/{n}:>\n")).collect::<String>();
    problem(&resolve(&mut connection, "text/plain", "", &ids(101)), 413, "too_large");
    problem(&resolve(&mut connection, "text/plain", "", &ids(100)), 404, "not_found");
    let large = json!({ "value": "x".repeat(60 * 1024) }).to_string();
    assert_eq!(call(&mut connection, "PUT", &id_path(&P[2..P.len() - 1]), &large).status, 200);
    for media in ["application/json", "application/yaml", "text/plain"] {
        let document = |count: usize| format!("[{}0]", format!("\"{P}\",").repeat(count));
        let answer = resolve(&mut connection, media, "", &document(136));
        assert_eq!(answer.status, 200, "{media}");
        assert!(answer.body.len() > 136 * 60 * 1024);
        problem(&resolve(&mut connection, media, "", &document(137)), 413, "too_large");
        problem(&resolve(&mut connection, media, "", &document(20_000)), 413, "too_large");
    }
    let body = "x".repeat((1 << 20) + 1);
    problem(&resolve(&mut Connection::open(&agent.socket()), "text/plain", "", &body), 413, "too_large");
}

#[test]
fn n6_every_document_is_on_record_once_or_as_a_pair() {
    let (agent, mut connection) = started("");
    let first = json!([{"pointer": "/a"}]);
    let mut ask = |name: &str, answer: fn(&mut Connection, &Value) -> Response, what: &Value, expected: &[&str]| {
        let answer = answer(&mut connection, what);
        let id = answer.header("x-request-id").unwrap().to_owned();
        let records = agent.audit().into_iter().filter(|record| record["request"] == id);
        let told: Vec<String> = records
            .map(|record| {
                let words =
                    ["phase", "operation", "decision", "result"].map(|word| record[word].as_str().unwrap_or("-"));
                format!("{} {}", words.join(" "), record["secrets"])
            })
            .collect();
        assert_eq!(told, expected, "{name}");
    };
    let resolved: fn(&mut Connection, &Value) -> Response =
        |connection, document| resolve(connection, "application/json", "", &document.to_string());
    let hidden: fn(&mut Connection, &Value) -> Response = obfuscate;
    let a = "[\"poc:eni--hyperion:my-app:externalSecrets/a\"]";
    ask(
        "miss",
        resolved,
        &json!([P, P]),
        &[&format!("attempt resolve allow - {a}"), &format!("outcome resolve allow ok {a}")],
    );
    ask("memory", resolved, &json!(P), &[&format!("served resolve allow ok {a}")]);
    ask("nothing", resolved, &json!([1]), &["served resolve allow ok []"]);
    ask(
        "strings",
        hidden,
        &wish(&json!({"a": "s"}), &first),
        &[&format!("attempt obfuscate allow - {a}"), &format!("outcome obfuscate allow ok {a}")],
    );
    let slot = "[\"poc:eni--hyperion:my-app:externalSecrets\"]";
    ask("no strings", hidden, &wish(&json!({}), &first), &[&format!("served obfuscate allow ok {slot}")]);
    let mut foreign = wish(&json!({"a": "s"}), &first);
    foreign["slot"] = json!("none");
    ask("no slot", hidden, &foreign, &["served obfuscate deny refused [\"poc:eni--hyperion:my-app:none\"]"]);
}

#[test]
fn strings_become_placeholders_and_come_back_as_they_were() {
    let (_agent, mut connection) = started("");
    let document = json!({"spec": {"apis": [
        {"basePath": "/eni/b", "clientSecret": "two\n", "n": 1},
        {"basePath": "/eni/a", "clientSecret": "one", "standing": Q},
    ], "token": "rotate"}, "name": "x"});
    let paths = json!([
        {"pointer": "/spec/apis/*/clientSecret", "key": "{basePath}/clientSecret"},
        {"pointer": "/spec/token"}, {"pointer": "/spec/apis/*/standing"}, {"pointer": "/spec/apis/*/n"},
    ]);
    let answer = obfuscate(&mut connection, &wish(&document, &paths));
    assert_eq!(answer.status, 200, "{}", text(&answer));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let hidden: Value = serde_json::from_str(text(&answer)).unwrap();
    let stored = slot(&mut connection);
    assert_eq!(stored["eni/b/clientSecret"], "two\n");
    assert_eq!(stored["eni/a/clientSecret"], "one");
    assert_eq!(stored["spec/token"], "rotate", "a word of the API is a word here");
    assert_eq!(stored["a"], VALUE, "what was there stays");
    // The placeholders are those that a read gives.
    for (key, place) in [("eni/b/clientSecret", "/spec/apis/0/clientSecret"), ("spec/token", "/spec/token")] {
        let id = format!("poc:eni--hyperion:my-app:externalSecrets/{key}:");
        let current: Value = serde_json::from_slice(&call(&mut connection, "GET", &id_path(&id), "").body).unwrap();
        assert_eq!(hidden.pointer(place).unwrap(), &json!(format!("$<{}>", current["id"].as_str().unwrap())));
    }
    let mut expected = document.clone();
    expected["spec"]["apis"][1]["standing"] = json!(P);
    let back = resolve(&mut connection, "application/json", "", text(&answer));
    assert_eq!(serde_json::from_str::<Value>(text(&back)).unwrap(), expected);
    // Again it changes nothing.
    let again = obfuscate(&mut connection, &wish(&hidden, &paths));
    assert_eq!(serde_json::from_str::<Value>(text(&again)).unwrap(), hidden);
    assert_eq!(slot(&mut connection), stored);
}

#[test]
fn the_document_of_an_obfuscation_stays_byte_for_byte_around_its_strings() {
    let (_agent, mut connection) = started("");
    let body = format!(
        "{{\"paths\":[{{\"pointer\":\"/a\"}}], \"document\" :  {{ \"b\": 1.00, \"a\" : \"s\\u0031\",\"c\":[ ] }} ,\
         \"scope\":\"{SCOPE}\",\"slot\":\"externalSecrets\"}}"
    );
    let answer = call(&mut connection, "POST", "/api/v1/obfuscate", &body);
    let a = call(&mut connection, "GET", &id_path("poc:eni--hyperion:my-app:externalSecrets/a:"), "");
    let a: Value = serde_json::from_slice(&a.body).unwrap();
    assert_eq!(a["value"], "s1");
    assert_eq!(text(&answer), format!("{{ \"b\": 1.00, \"a\" : \"$<{}>\",\"c\":[ ] }}", a["id"].as_str().unwrap()));

    let yaml = "# c\na: &x s2 # d\nb: *x\nc: 12\n";
    let mut body = wish(&json!(yaml), &json!([{"pointer": "/*"}]));
    body["contentType"] = json!("application/yaml");
    let answer = obfuscate(&mut connection, &body);
    assert_eq!(answer.header("content-type"), Some("application/yaml"));
    let placeholder = text(&answer).split('"').nth(1).unwrap().to_owned();
    assert_eq!(text(&answer), format!("# c\na: &x \"{placeholder}\" # d\nb: *x\nc: 12\n"));
    let back = resolve(&mut connection, "application/yaml", "", text(&answer));
    assert_eq!(text(&back), "# c\na: &x \"s2\" # d\nb: *x\nc: 12\n");
    body["document"] = json!({"a": "no text"});
    problem(&obfuscate(&mut connection, &body), 400, "malformed_body");
    for media in ["text/plain", "application/xml", ""] {
        body["contentType"] = json!(media);
        problem(&obfuscate(&mut connection, &body), 415, "unsupported_media_type");
    }
}

#[test]
fn an_obfuscation_stores_everything_or_nothing() {
    let (_agent, mut connection) = started("");
    let before = slot(&mut connection);
    let good = json!({"s1": "one", "s2": "two", "n": "name", "l": ["a", "b"]});
    let path = |pointer: &str, key: &str| json!({"pointer": pointer, "key": key});
    let first = json!({"pointer": "/s1"});
    for (second, position) in [
        (path("/s2", "s1"), Some(1)),
        (path("/l/*", "same"), Some(1)),
        (path("/s2", "{none}"), Some(1)),
        (path("/s2", "{s1}"), Some(1)),
        (path("/s2", "///"), Some(1)),
        (path("/s2", "{"), Some(1)),
        (path("s2", "x"), Some(1)),
        (path("/~", "x"), Some(1)),
    ] {
        let answer = obfuscate(&mut connection, &wish(&good, &json!([first, second])));
        let body = problem(&answer, 422, "invalid_obfuscation");
        assert_eq!(body["position"].as_u64(), position, "{second}");
    }
    let both = json!([{"pointer": "/s1"}, {"pointer": "/s2"}]);
    let long = "x".repeat(64 * 1024 + 1);
    for (value, status, code) in
        [("", 422, "invalid_value"), (" \t\n", 422, "invalid_value"), (long.as_str(), 413, "too_large")]
    {
        let answer = obfuscate(&mut connection, &wish(&json!({"s1": "one", "s2": value}), &both));
        assert_eq!(problem(&answer, status, code)["position"], 1);
    }
    // More than the slot takes, though each string is within its limit.
    let parts: Vec<String> = (0..13).map(|number| format!("{number}{}", "x".repeat(63 * 1024))).collect();
    let answer = obfuscate(&mut connection, &wish(&json!(parts), &json!([{"pointer": "/*"}])));
    problem(&answer, 413, "too_large");
    let many: Vec<String> = (0..101).map(|number| number.to_string()).collect();
    problem(&obfuscate(&mut connection, &wish(&json!(many), &json!([{"pointer": "/*"}]))), 413, "too_large");
    problem(&obfuscate(&mut connection, &wish(&good, &json!(vec![first.clone(); 101]))), 413, "too_large");
    assert_eq!(slot(&mut connection), before);

    for (member, value, status, code) in [
        ("slot", "none", 403, "slot_not_allowed"),
        ("slot", "clientSecret", 422, "invalid_id"),
        ("slot", "a b", 422, "invalid_id"),
        ("scope", "poc/eni--hyperion/none", 404, "not_found"),
        ("scope", "POC", 422, "invalid_id"),
    ] {
        let mut body = wish(&good, &json!([first]));
        body[member] = json!(value);
        let answer = obfuscate(&mut connection, &body);
        problem(&answer, status, code);
    }
    for wrong in [
        json!({}),
        json!({"scope": SCOPE, "slot": "externalSecrets", "paths": []}),
        json!({"scope": SCOPE, "slot": "externalSecrets", "document": {}}),
        json!({"scope": SCOPE, "slot": "externalSecrets", "paths": [["/a"]], "document": {}}),
        json!({"scope": SCOPE, "slot": "externalSecrets", "paths": [{"pointer": "/a", "x": 1}], "document": {}}),
        json!({"scope": SCOPE, "slot": "externalSecrets", "paths": [{"pointer": "/a", "key": null}], "document": {}}),
        json!({"scope": SCOPE, "slot": "externalSecrets", "paths": [], "document": {}, "x": 1}),
    ] {
        problem(&obfuscate(&mut connection, &wrong), 400, "malformed_body");
    }
}

#[test]
fn what_could_not_be_answered_is_not_stored() {
    let (_agent, mut connection) = started(", documentBytes: 1KiB");
    let before = slot(&mut connection);
    let strings = vec!["s"; 20];
    let strings: Vec<Value> = strings.iter().map(|text| json!(text)).collect();
    let answer = obfuscate(&mut connection, &wish(&json!(strings), &json!([{"pointer": "/*"}])));
    problem(&answer, 413, "too_large");
    assert_eq!(slot(&mut connection), before);
}
