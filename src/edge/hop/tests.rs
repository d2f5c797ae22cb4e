//! What goes, what stays whatever `Connection` says, and what is asked for again.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    headers
}

fn left(lines: &[(&str, &str)]) -> (HeaderMap, Hop) {
    let mut headers = map(lines);
    let hop = strip_request(&mut headers);
    (headers, hop)
}

#[test]
fn the_list_is_sorted() {
    assert!(KEPT.is_sorted());
}

#[test]
fn what_is_of_the_connection_goes() {
    let (headers, hop) = left(&[
        ("connection", "Keep-Alive, X-Own,, x-Other"),
        ("Connection", "close , x-third"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic eA=="),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("expect", "100-continue"),
        ("te", "gzip;q=0.5"),
        ("x-own", "1"),
        ("x-own", "2"),
        ("x-other", "1"),
        ("x-third", "1"),
        ("x-fourth", "1"),
        ("trailer", "x-sum"),
    ]);
    assert_eq!(headers, map(&[("x-fourth", "1"), ("trailer", "x-sum")]));
    assert_eq!(hop, Hop::default());
}

#[test]
fn connection_cannot_take_out_what_others_rely_on() {
    let names = [
        "host",
        "content-length",
        "content-type",
        "authorization",
        "cookie",
        "x-forwarded-for",
        "forwarded",
        "via",
        "x-request-id",
        "x-api-key",
        "traceparent",
        "accept",
        "cache-control",
        "last-event-id",
        "sec-websocket-key",
        "x-real-ip",
        "trailer",
    ];
    for name in names {
        let kept = map(&[(name, "1")]);
        assert_eq!(left(&[("connection", name), (name, "1")]).0, kept, "{name}");
        let mut headers = map(&[("connection", &name.to_uppercase()), (name, "1")]);
        assert_eq!(strip_response(&mut headers), None);
        assert_eq!(headers, kept, "{name}");
    }
}

#[test]
fn trailers_are_asked_for_again() {
    for te in ["trailers", "gzip, Trailers", "trailers;q=0.1"] {
        let (headers, hop) = left(&[("te", te), ("connection", "te")]);
        assert!(hop.te_trailers, "{te}");
        assert_eq!(headers, map(&[("te", "trailers")]));
    }
    assert!(!left(&[("te", "x-trailers")]).1.te_trailers);
}

#[test]
fn an_upgrade_needs_both_fields_and_stays_visible() {
    let upgrade = |lines: &[(&str, &str)]| left(lines).1.upgrade;
    let both = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
    ];
    assert_eq!(upgrade(&both).unwrap(), "websocket");
    assert!(left(&both).0.is_empty());
    assert_eq!(upgrade(&both[..1]), None);
    assert_eq!(upgrade(&both[1..]), None);
    for hidden in ["h2c", "H2C", "HTTP/2.0", "TLS/1.0", "websocket, h2c"] {
        let (headers, hop) = left(&[
            ("connection", "upgrade, http2-settings"),
            ("upgrade", hidden),
            ("http2-settings", "AAMAAABk"),
        ]);
        assert_eq!((headers.len(), hop.upgrade), (0, None), "{hidden}");
    }
    let mut switched = map(&[
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", "x"),
    ]);
    assert_eq!(strip_response(&mut switched).unwrap(), "websocket");
    assert_eq!(switched, map(&[("sec-websocket-accept", "x")]));
}

#[test]
fn of_a_response() {
    let mut headers = map(&[
        ("connection", "close, x-own"),
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "Basic"),
        ("proxy-authentication-info", "x"),
        ("transfer-encoding", "chunked"),
        ("x-own", "1"),
        ("content-length", "3"),
        ("trailer", "x-sum"),
        ("www-authenticate", "Bearer"),
    ]);
    assert_eq!(strip_response(&mut headers), None);
    let kept = [
        ("content-length", "3"),
        ("trailer", "x-sum"),
        ("www-authenticate", "Bearer"),
    ];
    assert_eq!(headers, map(&kept));
}

proptest! {
    /// However a list is cut into lines, spaced and cased, exactly the named fields go.
    #[test]
    fn every_named_field_goes(
        named in prop::collection::btree_set("[a-y]{1,5}", 0..6),
        breaks in any::<u8>(),
        junk in prop::collection::vec("[ -~]{0,12}", 0..3),
    ) {
        let mut headers = HeaderMap::new();
        let mut line = String::from(",");
        for (at, name) in named.iter().enumerate() {
            headers.append(format!("x-{name}").parse::<HeaderName>().unwrap(), HeaderValue::from_static("1"));
            headers.append(format!("z-{name}").parse::<HeaderName>().unwrap(), HeaderValue::from_static("1"));
            let upper = name.to_uppercase();
            line.push_str(&format!(" \tX-{upper} ,"));
            if breaks >> (at % 8) & 1 == 1 {
                headers.append("connection", std::mem::take(&mut line).parse().unwrap());
            }
        }
        headers.append("connection", line.parse().unwrap());
        for line in junk {
            headers.append("connection", format!("\"{line}\"").parse().unwrap());
        }
        strip_request(&mut headers);
        let left: std::collections::BTreeSet<String> = headers.keys().map(|name| name.as_str()[2..].to_owned()).collect();
        prop_assert!(headers.keys().all(|name| name.as_str().starts_with("z-")));
        prop_assert_eq!(left, named);
    }
}

/// The quick look must see every field that the slow one would take out.
#[test]
fn no_field_of_a_connection_is_overlooked() {
    let names = BOTH_WAYS.iter().chain(&REQUEST_ONLY).chain(&RESPONSE_ONLY);
    for name in names {
        assert!(is_of_hop(name), "{name}");
        let lines = map(&[(name.as_str(), "a"), ("accept", "b")]);
        let (mut request, mut response) = (lines.clone(), lines);
        strip_request(&mut request);
        strip_response(&mut response);
        let is_gone = |headers: &HeaderMap| !headers.contains_key(name);
        assert!(is_gone(&request) || is_gone(&response), "{name}");
    }
}
