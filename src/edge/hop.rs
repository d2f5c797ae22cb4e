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

static BOTH_WAYS: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
static REQUEST_ONLY: [HeaderName; 4] = [
    header::TE,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("http2-settings"),
];
static RESPONSE_ONLY: [HeaderName; 2] = [
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
];

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
    if !headers.keys().any(is_of_hop) {
        return Hop::default();
    }
    let te_trailers = elements(headers, &header::TE).any(|coding| {
        let name = coding.split(|byte| *byte == b';').next().unwrap_or(coding);
        name.trim_ascii().eq_ignore_ascii_case(b"trailers")
    });
    let upgrade = strip(headers);
    remove(headers, &REQUEST_ONLY);
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
    if !headers.keys().any(is_of_hop) {
        return None;
    }
    let upgrade = strip(headers);
    remove(headers, &RESPONSE_ONLY);
    upgrade
}

/// Takes out of a request's trailers what must stand in a head to be believed (RFC 9110 §6.5.1): a
/// backend that joins the two would be told there who calls, and over which hops.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    let mut unfit = Vec::new();
    for name in trailers.keys() {
        let hop = [&BOTH_WAYS[..], &REQUEST_ONLY].concat().contains(name);
        if hop || is_kept(name.as_str()) {
            unfit.push(name.clone());
        }
    }
    for name in unfit {
        trailers.remove(name);
    }
}

/// Whether a field speaks of its connection, in either direction. Most messages have no such field, and one look at
/// each name they have costs less than to ask the map for each of these.
fn is_of_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "te" | "expect"
            | "upgrade"
            | "connection"
            | "keep-alive"
            | "http2-settings"
            | "proxy-connection"
            | "transfer-encoding"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-authentication-info"
    )
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
    remove(headers, &BOTH_WAYS);
    upgrade
}

/// Removes the fields of `names`. Most messages have none of them, and seeing that costs less than
/// asking the map for each.
fn remove(headers: &mut HeaderMap, names: &[HeaderName]) {
    if headers.keys().any(|name| names.contains(name)) {
        for name in names {
            headers.remove(name);
        }
    }
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
mod tests;
