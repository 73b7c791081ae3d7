//! The pure parts of the API: decoding, encoding, matching.

use http::{HeaderMap, HeaderValue, Method, header};
use proptest::prelude::*;

use super::route::{PATHS, Routes};
use super::{answer, body, media, request};

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
    assert!(body::parse::<body::OnboardBody>(br#"{"strategy":"mer\u0067e"}"#).is_ok());
    for wrong in [
        &br#"{"secrets":[["a","b"]]}"#[..],
        br#"{"strategy":"MERGE"}"#,
        br#"{"strategy":{"merge":null}}"#,
        br#"{"strategy":null}"#,
        br#"{"secrets":null}"#,
        br#"{"secrets":{}}"#,
    ] {
        assert!(body::parse::<body::OnboardBody>(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
    }
    assert!(body::parse::<body::RotateBody>(br#"{"keepPrevious":null}"#).is_err());
}

#[test]
fn the_most_specific_range_of_accept_decides() {
    let takes = |texts: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(header::ACCEPT, HeaderValue::from_static(text));
        }
        media::check_accept(&headers, media::JSON).is_ok()
    };
    for taken in
        ["", "*/*", "application/*", "Application/JSON; q=0.1", "text/html, */*;q=0.1", "*/*;q=0, application/json"]
    {
        assert!(takes(&[taken]), "{taken}");
    }
    for refused in
        ["text/html", "application/json;q=0", "application/json;q=0, */*", "application/*;q=0.0, */*", "*/*;q=0"]
    {
        assert!(!takes(&[refused]), "{refused}");
    }
    assert!(takes(&[]) && takes(&["text/html", "application/json"]) && !takes(&["application/json;q=0", "*/*"]));
}

#[test]
fn a_body_has_one_type_and_no_encoding() {
    let read = |fields: &[(header::HeaderName, &'static str)]| {
        let mut headers = HeaderMap::new();
        for (name, text) in fields {
            headers.append(name, HeaderValue::from_static(text));
        }
        media::check_content(&headers).is_ok()
    };
    let kind = |text| (header::CONTENT_TYPE, text);
    assert!(read(&[]) && read(&[kind("application/json")]) && read(&[kind("Application/JSON; charset=\"UTF-8\"")]));
    assert!(!read(&[kind("text/plain")]) && !read(&[kind("")]) && !read(&[kind("application/json; charset=latin1")]));
    assert!(!read(&[kind("application/json"), kind("text/plain")]), "two types are two readings");
    assert!(!read(&[kind("application/json"), (header::CONTENT_ENCODING, "gzip")]));
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
