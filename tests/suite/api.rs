//! The HTTP contract: every row of the API, statuses, headers, limits.

use cloakroom_agent::api::OPENAPI;
use cloakroom_tests::agent::{Agent, Options};
use cloakroom_tests::wire::{Connection, Response};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The application that most tests onboard.
pub(crate) const APP: &str = "/api/v1/onboarding/environments/poc/teams/eni--hyperion/apps/my-app";

const SECRET: &str = "poc:eni--hyperion:my-app:externalSecrets/foo/password:";

/// The path of one secret, its id encoded once.
pub(crate) fn id_path(id: &str) -> String {
    format!("/api/v1/secrets/{}", percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC))
}

/// One call with a JSON body where there is one.
pub(crate) fn call(connection: &mut Connection, method: &str, path: &str, body: &str) -> Response {
    let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
    connection.request(method, path, headers, body.as_bytes())
}

fn json_of(answer: &Response) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

fn onboarded() -> (Agent, Connection) {
    let agent = Agent::start(Options {
        extra: "limits: {callerRate: 10000, callerBurst: 20000}".to_owned(),
        ..Options::default()
    });
    let mut connection = Connection::open(&agent.socket());
    let body = json!({"secrets": [{"name": "externalSecrets/foo/password", "value": "s3cr3t"}]}).to_string();
    let answer = call(&mut connection, "PUT", APP, &body);
    assert_eq!(answer.status, 200);
    (agent, connection)
}

fn problem(answer: &Response, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let body = json_of(answer);
    assert_eq!(body["code"], code);
    assert_eq!(body["status"], status);
    assert_eq!(body["type"], format!("urn:cloakroom:problem:{code}"));
    assert_eq!(body["instance"], answer.header("x-request-id").unwrap());
    assert!(body["title"].is_string() && body["detail"].is_string());
}

#[test]
fn a_value_goes_in_and_comes_out_by_id_and_by_placeholder() {
    let (_agent, mut connection) = onboarded();
    let answer = call(&mut connection, "GET", &id_path(SECRET), "");
    assert_eq!(answer.status, 200);
    assert_eq!(json_of(&answer)["value"], "s3cr3t");
    let id = json_of(&answer)["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with(SECRET) && id.len() == SECRET.len() + 12, "{id}");
    let again = call(&mut connection, "GET", &id_path(&format!("$<{id}>")), "");
    assert_eq!(json_of(&again), json_of(&answer));
    assert_eq!(again.header("etag").unwrap(), format!("\"{}\"", &id[SECRET.len()..]));
    assert_eq!(again.header("age"), Some("0"));
    assert!(again.header("cache-status").unwrap().starts_with("cloakroom; hit; ttl="));
    assert_eq!(again.header("cache-control"), Some("no-store"));
    let unchanged = connection.request("GET", &id_path(&id), &[("if-none-match", again.header("etag").unwrap())], b"");
    assert_eq!(unchanged.status, 304);
    assert!(unchanged.body.is_empty());
}

#[test]
fn onboarding_lists_what_is_stored_and_what_was_named() {
    let (_agent, mut connection) = onboarded();
    let answer = call(&mut connection, "PUT", APP, "");
    let items = json_of(&answer);
    let names: Vec<&str> =
        items["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["clientSecret", "rotatedClientSecret", "externalSecrets"]);
    let not_used = call(&mut connection, "GET", &id_path("poc:eni--hyperion:my-app:rotatedClientSecret:"), "");
    assert_eq!(json_of(&not_used)["value"], "NOT_USED");
    let generated = call(&mut connection, "GET", &id_path("poc:eni--hyperion:my-app:clientSecret:"), "");
    let value = json_of(&generated)["value"].as_str().unwrap().to_owned();
    assert!(value.starts_with("trd_") && value.len() == 36, "a generated value has 36 characters");
}

#[test]
fn a_batch_answers_in_the_order_of_the_ids_and_names_only_the_position_of_a_missing_one() {
    let (_agent, mut connection) = onboarded();
    let query = |ids: &[&str]| {
        let pairs: Vec<String> = ids.iter().map(|id| format!("secretId={}", id.replace('/', "%2F"))).collect();
        format!("/api/v1/secrets?{}", pairs.join("&"))
    };
    let token = "poc:eni--hyperion:my-app:rotatedClientSecret:";
    let answer = call(&mut connection, "GET", &query(&[SECRET, token, SECRET]), "");
    assert_eq!(answer.status, 200);
    let values: Vec<Value> = json_of(&answer)["items"].as_array().unwrap().iter().map(|i| i["value"].clone()).collect();
    assert_eq!(values, ["s3cr3t", "NOT_USED", "s3cr3t"]);
    let missing = call(&mut connection, "GET", &query(&[SECRET, "poc:eni--hyperion:my-app:externalSecrets/none:"]), "");
    problem(&missing, 404, "not_found");
    assert_eq!(json_of(&missing)["position"], 1);
    assert!(!String::from_utf8_lossy(&missing.body).contains("none"));
    let many: Vec<&str> = std::iter::repeat_n(SECRET, 101).collect();
    problem(&call(&mut connection, "GET", &query(&many), ""), 413, "too_large");
    assert_eq!(call(&mut connection, "GET", &query(&many[..100]), "").status, 200);
    // `+` is `+`: an id that holds one is found by it.
    let plus = "poc:eni--hyperion:my-app:externalSecrets/a+b:";
    assert_eq!(call(&mut connection, "PUT", &id_path(plus), r#"{"value":"plus"}"#).status, 200);
    let answer = call(&mut connection, "GET", &query(&[plus]), "");
    assert_eq!(json_of(&answer)["items"][0]["value"], "plus");
}

#[test]
fn the_words_that_mean_rotation_do_so_only_where_the_contract_says() {
    let (_agent, mut connection) = onboarded();
    let secret = "poc:eni--hyperion:my-app:clientSecret:";
    let value = |connection: &mut Connection, id: &str| {
        json_of(&call(connection, "GET", &id_path(id), ""))["value"].as_str().unwrap().to_owned()
    };
    for word in ["rotate", "{{rotate}}"] {
        let before = value(&mut connection, secret);
        let body = json!({ "value": word }).to_string();
        assert_eq!(call(&mut connection, "PUT", &id_path(secret), &body).status, 200);
        let after = value(&mut connection, secret);
        assert!(after.starts_with("trd_") && after != before, "{word} generates");
        let body = json!({ "value": word, "literal": true }).to_string();
        assert_eq!(call(&mut connection, "PUT", &id_path(secret), &body).status, 200);
        assert_eq!(value(&mut connection, secret), word, "literal stores the word");
        let body = json!({"strategy": "merge", "secrets": [{"name": "clientSecret", "value": word}]}).to_string();
        assert_eq!(call(&mut connection, "PUT", APP, &body).status, 200);
        assert_eq!(value(&mut connection, secret), word, "onboarding takes the word literally");
    }
    for word in ["Rotate", " rotate", "rotate ", "{{ rotate }}", "{{rotate}} "] {
        let body = json!({ "value": word }).to_string();
        assert_eq!(call(&mut connection, "PUT", &id_path(secret), &body).status, 200);
        assert_eq!(value(&mut connection, secret), word);
    }
}

#[test]
fn rotation_keeps_the_previous_value_where_it_is_told_to() {
    let (_agent, mut connection) = onboarded();
    let secret = "poc:eni--hyperion:my-app:clientSecret:";
    let old = json_of(&call(&mut connection, "GET", &id_path(secret), ""))["value"].clone();
    let path = format!("{}/rotate", id_path(secret));
    let answer = call(&mut connection, "POST", &path, r#"{"keepPrevious":"rotatedClientSecret"}"#);
    assert_eq!(answer.status, 200);
    let previous = json_of(&answer)["previousId"].as_str().unwrap().to_owned();
    assert_eq!(json_of(&call(&mut connection, "GET", &id_path(&previous), ""))["value"], old);
    let plain = call(&mut connection, "POST", &path, "");
    assert!(json_of(&plain).get("previousId").is_none());
    problem(&call(&mut connection, "POST", &path, r#"{"keepPrevious":"externalSecrets"}"#), 422, "invalid_value");
    problem(&call(&mut connection, "POST", &path, r#"{"keepPrevious":"clientSecret"}"#), 422, "invalid_value");
    problem(&call(&mut connection, "POST", &path, r#"{"keepPrevious":"other"}"#), 403, "slot_not_allowed");
    let map = format!("{}/rotate", id_path("poc:eni--hyperion:my-app:externalSecrets:"));
    problem(&call(&mut connection, "POST", &map, ""), 422, "invalid_value");
}

#[test]
fn a_deleted_secret_is_absent_and_a_deleted_scope_takes_no_writes() {
    let (_agent, mut connection) = onboarded();
    assert_eq!(call(&mut connection, "GET", &id_path(SECRET), "").status, 200);
    assert_eq!(call(&mut connection, "DELETE", &id_path(SECRET), "").status, 204);
    problem(&call(&mut connection, "GET", &id_path(SECRET), ""), 404, "not_found");
    problem(&call(&mut connection, "DELETE", &id_path(SECRET), ""), 404, "not_found");
    assert_eq!(call(&mut connection, "DELETE", APP, "").status, 204);
    problem(&call(&mut connection, "DELETE", APP, ""), 404, "not_found");
    problem(&call(&mut connection, "PUT", &id_path(SECRET), r#"{"value":"x"}"#), 404, "not_found");
}

#[test]
fn strict_checksums_guard_reads_and_writes() {
    let (_agent, mut connection) = onboarded();
    let current = json_of(&call(&mut connection, "GET", &id_path(SECRET), ""))["id"].as_str().unwrap().to_owned();
    let stale = format!("{SECRET}000000000000");
    let strict = |id: &str| format!("{}?checksum=strict", id_path(id));
    assert_eq!(call(&mut connection, "GET", &strict(&current), "").status, 200);
    problem(&call(&mut connection, "GET", &strict(&stale), ""), 409, "checksum_differs");
    assert_eq!(call(&mut connection, "GET", &id_path(&stale), "").status, 200, "lenient by default");
    problem(&call(&mut connection, "PUT", &strict(&stale), r#"{"value":"x"}"#), 409, "checksum_differs");
    problem(&call(&mut connection, "DELETE", &strict(&stale), ""), 409, "checksum_differs");
    assert_eq!(call(&mut connection, "PUT", &strict(&current), r#"{"value":"new"}"#).status, 200);
    problem(&call(&mut connection, "PUT", &strict(&current), r#"{"value":"newer"}"#), 409, "checksum_differs");
}

#[test]
fn unknown_slots_are_refused_and_sub_keys_of_scalars_are_invalid() {
    let (_agent, mut connection) = onboarded();
    let unknown = id_path("poc:eni--hyperion:my-app:someSecret:");
    problem(&call(&mut connection, "PUT", &unknown, r#"{"value":"x"}"#), 403, "slot_not_allowed");
    problem(&call(&mut connection, "GET", &unknown, ""), 404, "not_found");
    let body = r#"{"secrets":[{"name":"someSecret","value":"x"}]}"#;
    let refused = call(&mut connection, "PUT", APP, body);
    problem(&refused, 403, "slot_not_allowed");
    let detail = json_of(&refused)["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("secret someSecret is not allowed for onboarding"), "as in the reference: {detail}");
    let sub_key = id_path("poc:eni--hyperion:my-app:clientSecret/x:");
    problem(&call(&mut connection, "GET", &sub_key, ""), 422, "invalid_id");
    problem(&call(&mut connection, "PUT", &sub_key, r#"{"value":"x"}"#), 422, "invalid_id");
}

#[test]
fn a_refused_onboarding_request_says_which_entry_and_why() {
    let (_agent, mut connection) = onboarded();
    for (entry, code, reason) in [
        (r#"{"name":"externalSecrets/a b","value":"x"}"#, "invalid_onboarding", "the sub-key is segments of"),
        (r#"{"name":"externalSecrets","value":"text"}"#, "invalid_onboarding", "a flat JSON object of strings"),
        (r#"{"name":"rotatedClientSecret","value":"\t"}"#, "invalid_onboarding", "only white space"),
        (r#"{"name":"clientSecret","value":"twice"}"#, "invalid_onboarding", "stands twice"),
    ] {
        let body = format!(r#"{{"secrets":[{{"name":"clientSecret","value":"s3cr3t"}},{entry}]}}"#);
        let answer = call(&mut connection, "PUT", APP, &body);
        problem(&answer, 422, code);
        let problem = json_of(&answer);
        assert_eq!(problem["position"], 1, "{entry}");
        assert!(problem["detail"].as_str().unwrap().contains(reason), "{entry}: {}", problem["detail"]);
    }
}

#[test]
fn s6_json_is_taken_strictly_or_not_at_all() {
    let (agent, mut connection) = onboarded();
    let before = agent.status_kb("VmRSS");
    let path = id_path(SECRET);
    let many_keys = {
        let mut text = String::from(r#"{"value":"x""#);
        let mut index = 0;
        while text.len() < 1024 * 1024 - 40 {
            text.push_str(&format!(",\"k{index}\":0"));
            index += 1;
        }
        text + "}"
    };
    let deep = format!(r#"{{"value":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let deep_unknown = format!(r#"{{"other":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for (what, body) in [
        ("no JSON", "value=x"),
        ("empty", " "),
        ("duplicate key", r#"{"value":"a","value":"b"}"#),
        ("escaped duplicate key", r#"{"value":"a","\u0076alue":"b"}"#),
        ("unknown member", r#"{"value":"a","other":1}"#),
        ("wrong type", r#"{"value":7}"#),
        ("null", r#"{"value":null}"#),
        ("array", r#"["a"]"#),
        ("unpaired surrogate", r#"{"value":"\ud800"}"#),
        ("trailing bytes", r#"{"value":"a"}x"#),
        ("two documents", r#"{"value":"a"}{"value":"b"}"#),
        ("byte order mark", "\u{feff}{\"value\":\"a\"}"),
        ("a control character", "{\"value\":\"\u{1}\"}"),
        ("depth", deep.as_str()),
        ("depth in an unknown member", deep_unknown.as_str()),
        ("keys", many_keys.as_str()),
    ] {
        let answer = call(&mut connection, "PUT", &path, body);
        assert_eq!(answer.status, 400, "{what}");
        problem(&answer, 400, "malformed_body");
        connection = Connection::open(&agent.socket());
    }
    let not_utf8 = connection.request("PUT", &path, &[("content-type", "application/json")], b"{\"value\":\"\xff\"}");
    problem(&not_utf8, 400, "malformed_body");
    let over = format!(r#"{{"value":"{}"}}"#, "x".repeat(1024 * 1024));
    let answer = Connection::open(&agent.socket()).request(
        "PUT",
        &path,
        &[("content-type", "application/json")],
        over.as_bytes(),
    );
    problem(&answer, 413, "too_large");
    let unchanged = call(&mut Connection::open(&agent.socket()), "GET", &path, "");
    assert_eq!(json_of(&unchanged)["value"], "s3cr3t");
    let grown = agent.status_kb("VmHWM").saturating_sub(before);
    assert!(grown <= 8 * 1024, "resident memory grew by {grown} kB for bodies of 1 MiB");
}

#[test]
fn s5_paths_are_decoded_once_and_only_in_their_parameters() {
    let (agent, _) = onboarded();
    for (target, expected) in [
        ("//api/v1/secrets", vec![404]),
        ("/api/v1/../v1/status", vec![404]),
        ("/api/v1/%2e%2e/v1/status", vec![404]),
        ("/api/v1/status;a", vec![404]),
        ("/api/v1/status/", vec![404]),
        ("/api/v1/secrets/", vec![404]),
        ("/api%2Fv1%2Fstatus", vec![404]),
        ("/api/v1/secrets/poc:eni--hyperion:my-app:externalSecrets%252Ffoo%252Fpassword:", vec![422]),
        ("/api/v1/secrets/poc:eni--hyperion:my-app:clientSecret:;a", vec![422]),
        ("/api/v1/secrets/%2e%2e", vec![422]),
        ("/api/v1/secrets/%zz", vec![422]),
        ("/api/v1/secrets/%ff", vec![422]),
        ("/api/v1/secrets/a%00b", vec![422]),
        ("http://localhost/api/v1/status", vec![400]),
        ("/api/v1/status?x=1", vec![400]),
        ("/api/v1/secrets?secretId=%zz", vec![400]),
        ("/api/v1/secrets", vec![400]),
        ("/", vec![404]),
        ("*", vec![400, 404]),
    ] {
        let answer = Connection::open(&agent.socket()).request("GET", target, &[], b"");
        assert!(expected.contains(&answer.status), "{target}: {} instead of {expected:?}", answer.status);
        assert!(!String::from_utf8_lossy(&answer.body).contains("%2e"), "{target} is echoed");
    }
    for (method, target, headers) in [
        ("CONNECT", "localhost:80", vec![]),
        ("TRACE", "/api/v1/status", vec![]),
        ("GET", "/api/v1/status", vec![("upgrade", "h2c"), ("connection", "upgrade, http2-settings")]),
        ("BREW", "/api/v1/status", vec![]),
    ] {
        let answer = Connection::open(&agent.socket()).request(method, target, &headers, b"");
        assert!([400, 404, 405].contains(&answer.status), "{method} {target}: {}", answer.status);
    }
}

#[test]
fn what_is_not_json_is_neither_served_nor_read() {
    let (agent, mut connection) = onboarded();
    let path = id_path(SECRET);
    let get = |accept: &str| Connection::open(&agent.socket()).request("GET", &path, &[("accept", accept)], b"").status;
    assert_eq!(get("text/html"), 406);
    assert_eq!(get("application/json;q=0"), 406);
    assert_eq!(get("text/html, application/json;q=0.5"), 200);
    assert_eq!(get("*/*"), 200);
    let put = |headers: &[(&str, &str)]| {
        Connection::open(&agent.socket()).request("PUT", &path, headers, br#"{"value":"x"}"#).status
    };
    assert_eq!(put(&[("content-type", "application/x-www-form-urlencoded")]), 415);
    assert_eq!(put(&[("content-type", "application/json; charset=latin1")]), 415);
    assert_eq!(put(&[("content-type", "application/json"), ("content-encoding", "gzip")]), 415);
    assert_eq!(put(&[("content-type", "application/json; charset=utf-8")]), 200);
    assert_eq!(put(&[]), 200);
    problem(&call(&mut connection, "PATCH", &path, ""), 405, "method_not_allowed");
}

#[test]
fn blank_and_oversized_values_are_refused() {
    let (_agent, mut connection) = onboarded();
    let path = id_path(SECRET);
    for blank in ["", " ", "\t\n\r \u{b}\u{c}"] {
        let body = json!({ "value": blank }).to_string();
        problem(&call(&mut connection, "PUT", &path, &body), 422, "invalid_value");
    }
    let full = "x".repeat(64 * 1024);
    let body = json!({ "value": full }).to_string();
    assert_eq!(call(&mut connection, "PUT", &path, &body).status, 200);
    assert_eq!(json_of(&call(&mut connection, "GET", &path, ""))["value"], full);
    let body = json!({ "value": full + "x" }).to_string();
    problem(&call(&mut connection, "PUT", &path, &body), 413, "too_large");
}

#[test]
fn every_value_that_json_can_carry_and_that_is_not_blank_comes_back_byte_identical() {
    let (_agent, connection) = onboarded();
    let connection = std::cell::RefCell::new(connection);
    let path = id_path(SECRET);
    let round_trip = |value: &str| {
        let body = json!({ "value": value, "literal": true }).to_string();
        let mut connection = connection.borrow_mut();
        let answer = call(&mut connection, "PUT", &path, &body);
        assert_eq!(answer.status, 200, "{value:?}: {}", String::from_utf8_lossy(&answer.body));
        let answer = call(&mut connection, "GET", &path, "");
        assert_eq!(json_of(&answer)["value"].as_str().unwrap(), value);
    };
    for value in [
        "\0",
        "a\0b",
        "\"",
        "\\",
        "\u{1f}",
        "\u{7f}",
        "a\r\nb\r\n",
        " leading and trailing ",
        "{{ secret() }}",
        "$<poc:::zones:>",
        "null",
        "{\"a\":1}",
        "\u{2028}\u{2029}",
        "\u{fffe}",
        "🧥🎫",
        "é e\u{301}",
        "!template!x",
    ] {
        round_trip(value);
    }
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 128, ..ProptestConfig::default() });
    let texts =
        proptest::collection::vec(any::<char>(), 1..200).prop_map(|chars| chars.into_iter().collect::<String>());
    let result = runner.run(&texts, |text| {
        prop_assume!(!text.bytes().all(|b| matches!(b, b' ' | b'\t'..=b'\r')));
        round_trip(&text);
        Ok(())
    });
    assert!(result.is_ok(), "{}", result.unwrap_err());
}

#[test]
fn the_served_document_is_the_snapshot_and_lists_every_route() {
    let (_agent, mut connection) = onboarded();
    let answer = call(&mut connection, "GET", "/api/openapi.json", "");
    assert_eq!(answer.body, OPENAPI.as_bytes());
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        let target = path
            .replace("{id}", "poc:::zones:")
            .replace("{env}", "poc")
            .replace("{team}", "team")
            .replace("{app}", "app");
        let methods: Vec<String> = ["get", "head", "put", "post", "delete"]
            .iter()
            .filter(|method| item.get(**method).is_some())
            .map(|method| method.to_uppercase())
            .collect();
        let answer = call(&mut connection, "PATCH", &target, "");
        assert_eq!(answer.status, 405, "{path}");
        assert_eq!(answer.header("allow").unwrap(), methods.join(", "), "{path}");
    }
    insta::assert_snapshot!("openapi", OPENAPI);
}

#[test]
fn every_answer_carries_our_request_id_and_never_the_callers() {
    let (agent, _) = onboarded();
    let mut seen = std::collections::HashSet::new();
    for (method, target) in [("GET", "/api/v1/status"), ("GET", "/nowhere"), ("PATCH", "/api/v1/status")] {
        let answer = Connection::open(&agent.socket()).request(method, target, &[("x-request-id", "mine")], b"");
        let id = answer.header("x-request-id").unwrap();
        assert!(id.len() == 24 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        assert!(seen.insert(id.to_owned()), "an id twice");
    }
}

#[test]
fn the_admin_listener_answers_probes_and_metrics_and_nothing_else() {
    let (agent, _) = onboarded();
    let get = |path: &str| Connection::open(&agent.admin()).request_plain("GET", path, &[], b"");
    assert_eq!(get("/livez").status, 200);
    assert_eq!(get("/readyz").status, 200);
    assert_eq!(get("/api/v1/status").status, 404);
    let metrics = String::from_utf8(get("/metrics").body).unwrap();
    let names: std::collections::BTreeSet<&str> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    insta::assert_snapshot!("metrics", names.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn n8_a_value_over_the_limit_is_refused_on_every_way_in() {
    let (_agent, mut connection) = onboarded();
    let long = "x".repeat(64 * 1024 + 1);
    let value = serde_json::json!({ "value": long }).to_string();
    assert_eq!(call(&mut connection, "PUT", &id_path(SECRET), &value).status, 413);
    let entry = serde_json::json!({"secrets": [{"name": "externalSecrets/long", "value": long}]}).to_string();
    assert_eq!(call(&mut connection, "PUT", APP, &entry).status, 413);
}

#[test]
fn n4_bytes_that_are_no_text_are_refused_and_not_repaired() {
    for bytes in [vec![0xff], b"a\xc3".to_vec(), vec![0xed, 0xa0, 0x80]] {
        assert!(cloakroom_agent::secret::SecretValue::from_bytes(bytes).is_err());
    }
    let kept = cloakroom_agent::secret::SecretValue::from_bytes("\u{feff}e\u{301}\0".into()).unwrap();
    assert_eq!(kept.expose(), "\u{feff}e\u{301}\0");
}
