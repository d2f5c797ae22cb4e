//! What strangers and trusted proxies bring, and what leaves.
#![allow(clippy::unwrap_used)]

use super::*;

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    headers
}

const SENT: &[(&str, &str)] = &[
    ("x-forwarded-for", "10.0.0.1"),
    ("x-forwarded-for", "10.0.0.2"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "shop.example"),
    ("x-forwarded-port", "443"),
    ("x-real-ip", "10.0.0.1"),
    ("forwarded", "for=10.0.0.1;proto=https"),
    ("via", "1.0 cache"),
    ("accept", "*/*"),
];

fn applied(sent: &[(&str, &str)], peer: &str, trusted: bool, host: &str) -> HeaderMap {
    let host = HeaderValue::from_bytes(host.as_bytes()).unwrap();
    let (mut headers, mut added) = (map(sent), Added::default());
    Forwarding {
        peer: &Peer::new(peer.parse().unwrap()),
        trusted,
        host: Some(&host),
        http_version: Version::HTTP_11,
    }
    .apply(&mut headers, &mut added);
    added.join(&mut headers);
    headers
}

#[test]
fn a_stranger_is_not_believed() {
    let wanted = map(&[
        ("accept", "*/*"),
        ("x-forwarded-for", "192.0.2.9"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "api.example"),
        ("forwarded", "for=192.0.2.9;host=api.example;proto=http"),
        ("via", "1.0 cache, 1.1 deltaway"),
    ]);
    assert_eq!(applied(SENT, "192.0.2.9", false, "api.example"), wanted);
}

#[test]
fn a_trusted_proxy_is_added_to() {
    let wanted = map(&[
        ("accept", "*/*"),
        ("x-forwarded-for", "10.0.0.1, 10.0.0.2, 192.0.2.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-port", "443"),
        ("x-real-ip", "10.0.0.1"),
        (
            "forwarded",
            "for=10.0.0.1;proto=https, for=192.0.2.9;host=api.example;proto=http",
        ),
        ("via", "1.0 cache, 1.1 deltaway"),
    ]);
    assert_eq!(applied(SENT, "192.0.2.9", true, "api.example"), wanted);
    let bare = applied(&[], "::ffff:192.0.2.9", true, "api.example");
    assert_eq!(bare["x-forwarded-for"], "192.0.2.9");
    assert_eq!(bare["x-forwarded-proto"], "http");
}

#[test]
fn quotes_where_the_grammar_asks_for_them() {
    let forwarded = |host: &str| applied(&[], "2001:db8::1", false, host)["forwarded"].clone();
    assert_eq!(
        forwarded("a:80"),
        r#"for="[2001:db8::1]";host="a:80";proto=http"#
    );
    assert_eq!(
        forwarded(r#"a"\;for=b"#),
        r#"for="[2001:db8::1]";host="a\"\\;for=b";proto=http"#
    );
    assert_eq!(forwarded("\u{e9}"), r#"for="[2001:db8::1]";proto=http"#);
    let headers = applied(&[], "2001:db8::1", false, "a");
    assert_eq!(headers["x-forwarded-for"], "2001:db8::1");
}

#[test]
fn the_next_request_may_be_for_another_host() {
    let peer = Peer::new(IpAddr::from([127, 0, 0, 1]));
    let forwarded = |host: Option<&str>| {
        let host = host.map(|host| HeaderValue::from_str(host).unwrap());
        let lines = peer.told(host.as_ref(), Version::HTTP_11);
        lines.fields()[1].1.clone()
    };
    for _ in 0..2 {
        assert_eq!(forwarded(Some("a")), "for=127.0.0.1;host=a;proto=http");
        assert_eq!(forwarded(Some("b")), "for=127.0.0.1;host=b;proto=http");
        assert_eq!(forwarded(Some("b")), "for=127.0.0.1;host=b;proto=http");
        assert_eq!(forwarded(None), "for=127.0.0.1;proto=http");
    }
}

#[test]
fn without_a_host() {
    let (mut headers, mut added) = (HeaderMap::new(), Added::default());
    let peer = Peer::new(IpAddr::from([127, 0, 0, 1]));
    Forwarding {
        peer: &peer,
        trusted: false,
        host: None,
        http_version: Version::HTTP_10,
    }
    .apply(&mut headers, &mut added);
    added.join(&mut headers);
    assert_eq!(headers["forwarded"], "for=127.0.0.1;proto=http");
    assert_eq!(headers["via"], "1.0 deltaway");
    assert!(!headers.contains_key("x-forwarded-host"));
}

#[test]
fn who_is_trusted() {
    let nets = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    for (peer, wanted) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("fd00::1", true),
        ("11.0.0.1", false),
        ("fe80::1", false),
    ] {
        assert_eq!(is_trusted(peer.parse().unwrap(), &nets), wanted, "{peer}");
    }
    assert!(!is_trusted(IpAddr::from([127, 0, 0, 1]), &[]));
}
