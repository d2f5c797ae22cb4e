//! Fields that speak of one connection only, and end with it (RFC 9110 §7.6.1).
//!
//! `Connection` lets a sender name further fields to be taken out. A client must not use that to
//! take out what others rely on: the fields by which messages are framed and addressed, by which
//! callers prove themselves, and by which proxies say whom they serve. Those stay, whatever
//! `Connection` says; RFC 9110 §7.6.1 forbids naming fields that are meant for the recipient anyway.

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

use super::elements;

/// What a request asked of this connection, for those who make the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hop {
    /// The protocol asked for by `Upgrade`, if the client offers to switch. Never HTTP/2 over
    /// cleartext nor TLS: through them requests would pass unseen.
    pub upgrade: Option<HeaderValue>,
    /// Whether the client takes trailers; `TE: trailers` then stays among the fields, and whoever
    /// writes them adds `Connection: te` (RFC 9110 §10.1.4).
    pub te_trailers: bool,
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Fields, and beginnings of fields, that `Connection` cannot take out.
const KEPT: &[&str] = &[
    "age",
    "allow",
    "api-key",
    "authorization",
    "cache-control",
    "cookie",
    "date",
    "etag",
    "expires",
    "forwarded",
    "host",
    "idempotency-key",
    "last-event-id",
    "last-modified",
    "location",
    "origin",
    "range",
    "referer",
    "retry-after",
    "server",
    "set-cookie",
    "traceparent",
    "tracestate",
    "trailer",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
    "x-api-key",
    "x-goog-api-key",
    "x-real-ip",
    "x-request-id",
];
const KEPT_PREFIXES: &[&str] = &[
    "accept",
    "access-control-",
    "content-",
    "if-",
    "sec-",
    "x-accel-",
    "x-forwarded-",
];

/// Takes out of a request what is of the client's connection only.
///
/// `Expect` goes too: the wait for `100 Continue` is between the client and us. `Trailer` stays,
/// and `TE: trailers`; `Proxy-Authorization` is addressed to us (RFC 9110 §11.7.2) and goes.
pub fn strip_request(headers: &mut HeaderMap) -> Hop {
    let te_trailers = elements(headers, &header::TE).any(|coding| {
        let name = coding.split(|byte| *byte == b';').next().unwrap_or(coding);
        name.trim_ascii().eq_ignore_ascii_case(b"trailers")
    });
    let upgrade = strip(headers);
    for name in [
        header::TE,
        header::EXPECT,
        header::PROXY_AUTHORIZATION,
        HTTP2_SETTINGS,
    ] {
        headers.remove(name);
    }
    if te_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    Hop {
        upgrade,
        te_trailers,
    }
}

/// Takes out of a response what is of the upstream's connection only; gives the protocol that a
/// `101 Switching Protocols` switches to.
pub fn strip_response(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let upgrade = strip(headers);
    for name in [header::PROXY_AUTHENTICATE, PROXY_AUTHENTICATION_INFO] {
        headers.remove(name);
    }
    upgrade
}

/// What both directions have in common.
fn strip(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut upgrade = None;
    if headers.contains_key(header::CONNECTION) {
        let options = || elements(headers, &header::CONNECTION);
        if options().any(|option| option.eq_ignore_ascii_case(b"upgrade")) {
            upgrade = offered(headers);
        }
        // `TE` is read before, and decided on its own.
        let named: Vec<HeaderName> = options()
            .filter_map(|option| HeaderName::from_bytes(option).ok())
            .collect();
        for name in named {
            if !is_kept(name.as_str()) {
                headers.remove(name);
            }
        }
    }
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        KEEP_ALIVE,
        PROXY_CONNECTION,
    ] {
        headers.remove(name);
    }
    upgrade
}

/// The protocol in `Upgrade`, unless it is one that would carry requests past us.
fn offered(headers: &HeaderMap) -> Option<HeaderValue> {
    let hidden = |protocol: &[u8]| {
        let name = protocol
            .split(|byte| *byte == b'/')
            .next()
            .unwrap_or(protocol);
        [&b"h2c"[..], b"h2", b"http", b"tls"]
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other))
    };
    if elements(headers, &header::UPGRADE).any(hidden) {
        return None;
    }
    headers
        .get(header::UPGRADE)
        .filter(|value| !value.is_empty())
        .cloned()
}

fn is_kept(name: &str) -> bool {
    KEPT.binary_search(&name).is_ok() || KEPT_PREFIXES.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
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
}
