//! Upgrades, good and bad, and origins.

use http::header::{HeaderName, HeaderValue, ORIGIN};
use http::{HeaderMap, Method, StatusCode, Version};

use super::{BadUpgrade, accept, is_upgrade, origin_allowed};

/// The example of RFC 6455 §1.3.
const GOOD: &[(&str, &str)] = &[
    ("host", "server.example.com"),
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for &(name, value) in fields {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers
}

fn with(name: &'static str, value: &'static str) -> HeaderMap {
    let mut headers = headers(GOOD);
    headers.insert(name, HeaderValue::from_static(value));
    headers
}

fn without(name: &str) -> HeaderMap {
    let mut headers = headers(GOOD);
    headers.remove(name);
    headers
}

fn accepted(headers: &HeaderMap) -> Result<HeaderMap, BadUpgrade> {
    accept(&Method::GET, Version::HTTP_11, headers)
}

#[test]
fn the_example_of_the_standard_is_accepted() {
    let answer = accepted(&headers(GOOD)).unwrap();
    assert_eq!(
        answer["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    assert_eq!(answer["upgrade"], "websocket");
    assert_eq!(answer["connection"], "Upgrade");
    let loud = with("upgrade", "h2c, WebSocket");
    assert!(accepted(&loud).is_ok());
    assert!(accepted(&with("connection", "keep-alive, upgrade")).is_ok());
}

#[test]
fn a_bad_upgrade_is_told_what_is_wrong() {
    use BadUpgrade::{Key, Request, Version};
    for (headers, fault) in [
        (without("host"), Request),
        (without("upgrade"), Request),
        (with("upgrade", "websocket2"), Request),
        (with("connection", "keep-alive"), Request),
        (without("sec-websocket-version"), Version),
        (with("sec-websocket-version", "8"), Version),
        (without("sec-websocket-key"), Key),
        (with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"), Key),
        (with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZ!=="), Key),
        (with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZWFh"), Key),
    ] {
        assert_eq!(accepted(&headers), Err(fault), "{headers:?}");
    }
    let mut two = headers(GOOD);
    two.append(
        "sec-websocket-key",
        HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
    );
    assert_eq!(accepted(&two), Err(Key));
    let good = headers(GOOD);
    assert_eq!(
        accept(&Method::POST, http::Version::HTTP_11, &good),
        Err(Request)
    );
    assert_eq!(
        accept(&Method::GET, http::Version::HTTP_10, &good),
        Err(Request)
    );
}

#[test]
fn another_version_is_answered_with_ours() {
    assert_eq!(BadUpgrade::Version.status(), StatusCode::UPGRADE_REQUIRED);
    assert_eq!(BadUpgrade::Version.headers()["sec-websocket-version"], "13");
    assert_eq!(BadUpgrade::Key.status(), StatusCode::BAD_REQUEST);
    assert!(BadUpgrade::Key.headers().is_empty());
}

#[test]
fn an_upgrade_is_seen_by_two_fields() {
    assert!(is_upgrade(&headers(GOOD)));
    assert!(is_upgrade(&with("sec-websocket-version", "8")));
    assert!(!is_upgrade(&without("connection")));
    assert!(!is_upgrade(&with("upgrade", "h2c")));
}

#[test]
fn a_page_of_another_origin_has_to_be_listed() {
    let is_listed = |origin: &HeaderValue| origin == "https://friend.example";
    for (origin, host, allowed) in [
        ("https://here.example", "here.example", true),
        ("http://here.example", "here.example", true),
        ("http://here.example:80", "here.example", true),
        ("https://here.example", "HERE.example:443", true),
        ("http://here.example:8080", "here.example:8080", true),
        ("http://[::1]:3000", "[::1]:3000", true),
        ("https://friend.example", "here.example", true),
        ("https://friend.example:8443", "here.example", false),
        ("https://here.example.evil.example", "here.example", false),
        ("http://here.example:8080", "here.example", false),
        ("https://here.example", "here.example:80", false),
        ("https://evil.example", "here.example", false),
        ("null", "here.example", false),
        ("", "", false),
        ("http://", "", false),
        ("file://here.example", "here.example", false),
    ] {
        let headers = headers(&[("origin", origin)]);
        assert_eq!(
            origin_allowed(&headers, is_listed, host),
            allowed,
            "{origin} {host}"
        );
    }
    assert!(origin_allowed(&HeaderMap::new(), |_| false, "here.example"));
    let any = headers(&[("origin", "null")]);
    assert!(origin_allowed(&any, |_| true, "here.example"));
    let mut two = headers(&[("origin", "https://here.example")]);
    two.append(ORIGIN, HeaderValue::from_static("https://evil.example"));
    assert!(!origin_allowed(&two, |_| true, "here.example"));
}
