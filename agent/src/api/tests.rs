//! The pure parts of the API: decoding, encoding, matching.

use http::{HeaderMap, HeaderValue, Method, header};
use proptest::prelude::*;

use super::route::{PATHS, Routes};
use super::{answer, body, request};

#[test]
fn percent_escapes_are_decoded_once_and_plus_is_plus() {
    let decode = |text: &str| request::percent_decode(text);
    assert_eq!(decode("a%2Fb+c").as_deref(), Some("a/b+c"));
    assert_eq!(decode("%252F").as_deref(), Some("%2F"));
    assert_eq!(decode("%c3%A9").as_deref(), Some("é"));
    for broken in ["%", "%2", "%zz", "%+1", "a%2", "%ff"] {
        assert_eq!(decode(broken), None, "{broken}");
    }
}

#[test]
fn every_path_has_methods_and_nothing_beside_them_matches() {
    let routes = Routes::new();
    for (path, route) in PATHS {
        let target = path.replace(['{', '}'], "");
        let (found, _) = routes.find(&target).unwrap();
        assert_eq!(found, route);
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE, Method::PATCH] {
            assert_eq!(route.operation(&method).is_some(), route.methods().contains(&method), "{method} {path}");
        }
    }
    for path in ["", "/", "/api", "/api/v1", "/api/v1/", "/api/v1/secrets/a/b", "/api/v2/status", "/api/v1/status/x"] {
        assert!(routes.find(path).is_none(), "{path}");
    }
}

#[test]
fn only_objects_with_known_members_are_bodies() {
    assert!(body::parse::<body::PutBody>(br#"{"value":"x"}"#).is_ok());
    assert!(body::parse::<body::OnboardBody>(b"{}").is_ok());
    assert!(body::parse_optional::<body::RotateBody>(b"").is_ok());
    for wrong in [
        &br#"["x"]"#[..],
        br#"{"value":"x","literal":null}"#,
        br#"{"value":"x"}{}"#,
        br#"{"value":["x"]}"#,
        b"\xef\xbb\xbf{\"value\":\"x\"}",
        b"null",
        b"",
    ] {
        assert!(body::parse::<body::PutBody>(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
    }
    for wrong in
        [&br#"{"secrets":[["a","b"]]}"#[..], br#"{"strategy":"MERGE"}"#, br#"{"secrets":null}"#, br#"{"secrets":{}}"#]
    {
        assert!(body::parse::<body::OnboardBody>(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
    }
    assert!(body::parse::<body::RotateBody>(br#"{"keepPrevious":null}"#).is_err());
}

#[test]
fn an_entity_tag_matches_in_every_way_that_it_may_be_written() {
    let tag = HeaderValue::from_static("\"abc\"");
    let matches = |text: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(text));
        answer::matches(&headers, &tag)
    };
    assert!(matches("\"abc\"") && matches("W/\"abc\"") && matches("\"x\", \"abc\"") && matches("*"));
    assert!(!matches("abc") && !matches("\"abcd\"") && !matches("") && !matches("\"ab\""));
    assert!(!answer::matches(&HeaderMap::new(), &tag));
}

proptest! {
    #[test]
    fn a_value_is_encoded_as_json_readers_expect(text in any::<String>()) {
        let mut encoded = Vec::new();
        crate::json::push_escaped(&mut encoded, &text);
        prop_assert_eq!(encoded.len(), crate::json::escaped_len(&text), "the buffer must not grow");
        let quoted = [b"\"", encoded.as_slice(), b"\""].concat();
        prop_assert_eq!(serde_json::from_slice::<String>(&quoted).unwrap(), text);
    }
}
