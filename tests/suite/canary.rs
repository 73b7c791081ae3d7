//! X5: no value appears anywhere but in answers.

use std::fs;
use std::io::Write as _;

use base64::Engine as _;
use cloakroom_agent::config::{LogConfig, LogFormat};
use cloakroom_agent::secret::SecretValue;
use cloakroom_tests::agent::{Agent, Options, binary};
use cloakroom_tests::canary::{Canary, Sink, sweep};
use cloakroom_tests::wire::Connection;
use serde_json::json;

use crate::api::{APP, call, id_path};

/// The sinks of a running agent.
fn sinks(agent: &Agent) -> Vec<Sink> {
    let mut sinks = Sink::files(agent.directory(), &[]);
    let get = |socket: &std::path::Path, path: &str| Connection::open(socket).request_plain("GET", path, &[], b"").body;
    sinks.push(Sink::new("/metrics", get(&agent.admin(), "/metrics")));
    sinks.push(Sink::new("/status", get(&agent.socket(), "/api/v1/status")));
    sinks.push(Sink::new("/whoami", get(&agent.socket(), "/api/v1/whoami")));
    for name in ["cmdline", "environ", "comm", "status"] {
        let content = fs::read(format!("/proc/{}/{name}", agent.pid())).unwrap();
        sinks.push(Sink::new(format!("/proc/PID/{name}"), content));
    }
    sinks
}

#[test]
fn x5_no_canary_reaches_a_sink_at_trace_level() {
    let agent = Agent::start(Options {
        log: "trace",
        extra: "limits: {callerRate: 100000, callerBurst: 200000}".to_owned(),
        ..Options::default()
    });
    let canaries: Vec<Canary> = (0..20).map(Canary::new).collect();
    let [stored, generated_over, onboarded, merged, as_id, as_placeholder, as_query, as_field, as_key, malformed, ..] =
        canaries.as_slice()
    else {
        panic!("there are twenty")
    };
    let mut problems = Vec::new();
    let mut ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        let answer = Connection::open(&agent.socket()).try_request(method, path, headers, body.as_bytes());
        if let Some(answer) = answer.filter(|answer| answer.status >= 400) {
            problems.push(Sink::new(format!("the problem of {method}"), answer.body));
        }
    };
    let secret = id_path("poc:eni--hyperion:my-app:externalSecrets/a:");
    let client = id_path("poc:eni--hyperion:my-app:clientSecret:");
    let body = |canary: &Canary| json!({ "value": canary.text() }).to_string();
    ask("PUT", APP, &[], &json!({"secrets": [{"name": "externalSecrets/a", "value": onboarded.text()}]}).to_string());
    ask(
        "PUT",
        APP,
        &[],
        &json!({"strategy": "merge", "secrets": [{"name": "externalSecrets/b", "value": merged.text()}]}).to_string(),
    );
    ask("PUT", &secret, &[], &body(stored));
    ask("PUT", &client, &[], &body(generated_over));
    ask("GET", &secret, &[], "");
    ask("GET", &secret, &[], "");
    ask("GET", "/api/v1/secrets?secretId=poc:eni--hyperion:my-app:externalSecrets%2Fa:", &[], "");
    ask("POST", &format!("{client}/rotate"), &[], r#"{"keepPrevious":"rotatedClientSecret"}"#);
    // Values where they do not belong.
    ask("GET", &id_path(as_id.text()), &[], "");
    ask("GET", &id_path(&format!("$<{}>", as_placeholder.text())), &[], "");
    ask("GET", &id_path(&format!("poc:eni--hyperion:my-app:externalSecrets/{}:", as_id.text())), &[], "");
    let encoded = percent_encoding::utf8_percent_encode(as_query.text(), percent_encoding::NON_ALPHANUMERIC);
    ask("GET", &format!("/api/v1/status?{encoded}={encoded}"), &[], "");
    ask("GET", &format!("/api/v1/secrets?secretId={encoded}"), &[], "");
    ask("GET", &format!("/{encoded}"), &[], "");
    let plain = as_field.text().replace('é', "e");
    for field in ["x-canary", "accept", "content-type", "if-none-match", "x-request-id", "origin"] {
        ask("PUT", &secret, &[(field, &plain)], &body(stored));
    }
    ask("PUT", APP, &[], &json!({"secrets": [{"name": as_key.text(), "value": "x"}]}).to_string());
    ask("PUT", APP, &[], &json!({as_key.text(): "x"}).to_string());
    ask(
        "PUT",
        &id_path("poc:eni--hyperion:my-app:externalSecrets:"),
        &[],
        &json!({"value": malformed.text()}).to_string(),
    );
    ask(
        "PUT",
        &id_path("poc:eni--hyperion:my-app:externalSecrets:"),
        &[],
        &json!({"value": json!({"a b": malformed.text()}).to_string()}).to_string(),
    );
    ask("PUT", &secret, &[], &format!("{{\"value\":\"{}\"", malformed.text()));
    ask("PUT", &secret, &[], &json!({"value": "x", "other": malformed.text()}).to_string());
    ask("PUT", &secret, &[], &json!([malformed.text()]).to_string());
    ask("PUT", &secret, &[], &json!({"value": {"deep": malformed.text()}}).to_string());
    ask("PUT", &secret, &[], &json!({"value": malformed.text().repeat(2000)}).to_string());
    ask("PUT", &id_path("poc:eni--hyperion:my-app:none:"), &[], &body(malformed));
    ask("PUT", &id_path("other:team:app:clientSecret:"), &[], &body(malformed));
    for (number, canary) in canaries.iter().enumerate().skip(10) {
        let path = id_path(&format!("poc:eni--hyperion:my-app:externalSecrets/c{number}:"));
        ask("PUT", &path, &[], &body(canary));
        ask("GET", &format!("{path}?checksum=strict"), &[], "");
        ask("DELETE", &path, &[], "");
    }
    // In documents, well-formed or not, at every place of them.
    let [hidden, in_document, in_yaml] = [&canaries[10], &canaries[11], &canaries[12]];
    let wish = |document: serde_json::Value, pointer: &str, key: &str| {
        let paths = json!([{"pointer": pointer, "key": key}]);
        json!({"scope": "poc/eni--hyperion/my-app", "slot": "externalSecrets", "paths": paths, "document": document})
            .to_string()
    };
    let plain = json!({"s": hidden.text(), "n": "name"});
    for (pointer, key) in [("/s", "hidden"), ("/s", "{s}"), ("/s", "{none}"), ("/*", "same"), (malformed.text(), "x")] {
        ask("POST", "/api/v1/obfuscate", &[], &wish(plain.clone(), pointer, key));
    }
    ask("POST", "/api/v1/obfuscate", &[], &wish(json!({in_document.text(): ""}), "/*", "blank"));
    ask("POST", "/api/v1/obfuscate", &[], &json!({"scope": in_document.text(), "document": 1}).to_string());
    let placeholder = "$<poc:eni--hyperion:my-app:externalSecrets/hidden:>";
    let text = in_yaml.text().replace(['\'', '\n'], "");
    for (media, document) in [
        ("application/json", json!({in_document.text(): placeholder}).to_string()),
        ("application/json", format!("{{\"{0}\":1,\"{0}\":2}}", in_document.text().replace('"', ""))),
        (
            "application/json",
            json!([in_document.text(), "$<poc:eni--hyperion:my-app:externalSecrets/no:>"]).to_string(),
        ),
        ("application/json", format!("[\"{}", in_document.text())),
        ("application/yaml", format!("a: {placeholder}\nb: '{text}'\nb: 1\n")),
        ("application/yaml", format!("a: '{text}'\nb: *none\n")),
        ("application/yaml", format!("a: &x ['{text}', {placeholder}]\nb: *x\n")),
        ("text/plain", format!("{text} $<{}>", in_document.text())),
        (text.as_str(), "[]".to_owned()),
    ] {
        for query in ["", "?paths=/a"] {
            ask("POST", &format!("/api/v1/resolve{query}"), &[("content-type", media)], &document);
        }
    }
    ask("POST", &format!("/api/v1/resolve?paths={encoded}"), &[], "[]");
    ask("GET", &format!("{}/events", id_path(as_id.text())), &[], "");
    // The client's side: a value that is typed where an id belongs.
    let output = std::process::Command::new(binary())
        .args(["--socket"])
        .arg(agent.socket())
        .args(["get", as_id.text()])
        .env_clear()
        .output()
        .unwrap();
    problems.push(Sink::new("the client's stderr", output.stderr));
    assert_eq!(call(&mut Connection::open(&agent.socket()), "GET", "/api/v1/status", "").status, 200);
    let mut sinks = sinks(&agent);
    assert!(problems.len() > 15, "only {} problems were caused", problems.len());
    sinks.extend(problems);
    for name in ["audit.jsonl", "stderr", "store.redb"] {
        let found = sinks.iter().find(|sink| sink.name.ends_with(name)).unwrap();
        assert!(!found.content.is_empty(), "{name} is empty, so the sweep sees nothing");
    }
    assert_eq!(sweep(&canaries, &sinks), Vec::<String>::new());
}

/// The process that the next test looks at; nothing to do where the environment does not ask for it.
#[test]
fn a_process_panics_over_a_value_where_the_environment_asks_for_it() {
    let Some(value) = std::env::var_os("CLOAKROOM_PANIC_OVER") else { return };
    let settings = LogConfig { level: Some("trace"), format: LogFormat::Json };
    let flush = cloakroom_agent::telemetry::init(&settings, None).unwrap();
    let payload = value.into_string().unwrap();
    assert!(std::panic::catch_unwind(move || panic!("cannot store {payload}")).is_err());
    drop(flush);
}

#[test]
fn n5_x2_a_panic_over_a_value_leaves_its_place_in_the_log_and_nothing_of_the_value() {
    let canary = Canary::new(3);
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "canary::a_process_panics_over_a_value_where_the_environment_asks_for_it", "--nocapture"])
        .env("CLOAKROOM_PANIC_OVER", canary.text())
        .env("RUST_BACKTRACE", "full")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("something panicked") && said.contains("suite/canary.rs"), "the place is told: {said}");
    let sinks = [Sink::new("stderr", output.stderr), Sink::new("stdout", output.stdout)];
    assert_eq!(sweep(&[canary], &sinks), Vec::<String>::new());
}

/// `Type::here` is ambiguous, and so no program, for a type that has the named trait.
macro_rules! lacks {
    ($type:ty: $($bound:tt)+) => {{
        trait Ambiguous<Marker> {
            fn here() {}
        }
        struct Has;
        impl<T: ?Sized> Ambiguous<()> for T {}
        impl<T: $($bound)+> Ambiguous<Has> for T {}
        <$type as Ambiguous<_>>::here();
    }};
}

#[test]
fn n5_a_value_has_no_text_form_and_no_copy_that_nobody_asked_for() {
    // This test fails by not compiling.
    lacks!(SecretValue: std::fmt::Debug);
    lacks!(SecretValue: std::fmt::Display);
    lacks!(SecretValue: Clone);
    lacks!(SecretValue: serde::Serialize);
    lacks!(SecretValue: AsRef<str>);
    lacks!(SecretValue: std::ops::Deref);
    lacks!(cloakroom_agent::cache::Entry: std::fmt::Debug);
    lacks!(cloakroom_agent::cache::Served: std::fmt::Debug);
    lacks!(cloakroom_agent::backend::Fetched: std::fmt::Debug);
    lacks!(cloakroom_agent::backend::Put: std::fmt::Debug);
}

#[test]
fn x5_a_canary_that_is_planted_in_a_sink_is_found_in_every_encoding() {
    let canary = Canary::new(7);
    let raw = canary.text().to_owned();
    let html = raw.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").replace('\'', "&#39;");
    let hex: String = raw.bytes().map(|byte| format!("{byte:02x}")).collect();
    let engine = base64::engine::general_purpose::STANDARD;
    let mut encoded = vec![
        raw.clone(),
        hex.to_uppercase(),
        hex,
        html,
        serde_json::to_string(&raw).unwrap(),
        percent_encoding::utf8_percent_encode(&raw, percent_encoding::NON_ALPHANUMERIC).to_string(),
    ];
    for before in ["", "x", "xy"] {
        encoded.push(engine.encode(format!("{before}{raw}")));
        encoded.push(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{before}{raw} and more")));
    }
    for text in encoded {
        let line = format!("{{\"level\":\"INFO\",\"message\":\"{text}\"}}\n");
        let planted = Sink::new("a log", line.clone().into_bytes());
        assert_eq!(sweep(std::slice::from_ref(&canary), &[planted]).len(), 1, "{text}");
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(line.as_bytes()).unwrap();
        let planted = Sink::new("a packed log", packed.finish().unwrap());
        assert_eq!(sweep(std::slice::from_ref(&canary), &[planted]).len(), 1, "{text}, packed");
    }
    // And in the files of a directory.
    let directory = tempfile::TempDir::new().unwrap();
    fs::create_dir(directory.path().join("below")).unwrap();
    fs::write(directory.path().join("below/audit.jsonl"), raw).unwrap();
    fs::write(directory.path().join("clean"), "nothing").unwrap();
    let hits = sweep(&[canary], &Sink::files(directory.path(), &[]));
    assert_eq!(hits.len(), 1, "{hits:?}");
}
