//! The head of a request as an upstream gets it.

use http::header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};

use super::plane::Entry;
use crate::config::{Credential, HeaderEdits, PathPattern, Route};
use crate::edge::added::Added;
use crate::edge::credentials::{self, CredentialError};
use crate::edge::hop::Hop;
use crate::router::after_literals;
use crate::upstream::{Announced, BuildHead, Endpoint, compose, encode};

/// What one entry of a chain is asked. It may hold a credential, and has no `Debug`.
pub(super) struct Outgoing {
    method: Method,
    /// Path and query, without the endpoint's base.
    target: String,
    headers: HeaderMap,
    added: Added,
    /// Whether the `Host` among them is ours.
    keeps_host: bool,
}

impl Outgoing {
    /// The request for `entry`, from headers from which everything that concerns only the hop to us
    /// was removed.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] when the upstream's credential cannot be put in.
    pub(super) fn new(
        method: &Method,
        uri: &Uri,
        (mut headers, mut added): (HeaderMap, Added),
        route: &Route,
        entry: &Entry,
    ) -> Result<Self, CredentialError> {
        let mut target = target(uri, route);
        if changes_any(route, entry, &added) {
            added.join(&mut headers);
        }
        apply(&route.request_headers, &mut headers);
        // Last, so that no edit can undo it.
        if let Some(credential) = &entry.upstream.credential {
            credentials::replace(credential, &mut headers, &mut target)?;
        }
        let keeps_host = sets_host(route, entry);
        Ok(Self {
            method: method.clone(),
            target,
            headers,
            added,
            keeps_host,
        })
    }

    fn host<'h>(&'h self, endpoint: &'h Endpoint) -> &'h HeaderValue {
        match self.keeps_host {
            true => self.headers.get(HOST).unwrap_or(&endpoint.authority),
            false => &endpoint.authority,
        }
    }

    /// Names what concerns the hop to the upstream: another protocol that is asked for (RFC 9110
    /// §7.8), and that trailers are welcome (§10.1.4).
    pub(super) fn for_hop(mut self, hop: &Hop) -> Self {
        let connection = match (&hop.upgrade, hop.te_trailers) {
            (Some(_), true) => "upgrade, te",
            (Some(_), false) => "upgrade",
            (None, true) => "te",
            (None, false) => return self,
        };
        self.headers
            .insert(CONNECTION, HeaderValue::from_static(connection));
        if let Some(protocol) = &hop.upgrade {
            self.headers.insert(UPGRADE, protocol.clone());
        }
        self
    }

    /// Asks for the bytes as they are: what is compressed cannot be watched, and compressors hold
    /// events back.
    pub(super) fn uncompressed(mut self) -> Self {
        const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
        self.headers.remove(ACCEPT_ENCODING);
        self.added.push(ACCEPT_ENCODING, IDENTITY);
        self
    }
}

impl BuildHead for Outgoing {
    fn method(&self) -> &Method {
        &self.method
    }

    fn build(&self, endpoint: &Endpoint, body: Announced) -> Vec<u8> {
        encode(
            &self.method,
            (&endpoint.base, &self.target),
            self.host(endpoint),
            (
                self.added.written(),
                self.headers.iter().chain(self.added.unwritten()),
            ),
            body,
        )
    }

    fn parts(&self, endpoint: &Endpoint) -> Result<Request<()>, http::Error> {
        let host = self.host(endpoint);
        let mut headers = self.headers.clone();
        self.added.clone().join(&mut headers);
        compose(&self.method, endpoint, &self.target, host, headers)
    }

    fn upgrades(&self) -> bool {
        self.headers.contains_key(UPGRADE)
    }
}

/// Whether a route or a credential touches a field of ours.
fn changes_any(route: &Route, entry: &Entry, added: &Added) -> bool {
    let edits = &route.request_headers;
    let set = edits.set.iter().map(|(name, _)| name);
    let credential = match &entry.upstream.credential {
        Some(Credential::Header(name, _)) => Some(name),
        _ => None,
    };
    let mut touched = edits.remove.iter().chain(set).chain(credential);
    touched.any(|name| added.get(name).is_some())
}

/// Whether a route or a credential puts in a `Host`; the caller's own is passed over when the head is written.
fn sets_host(route: &Route, entry: &Entry) -> bool {
    let mut set = route.request_headers.set.iter().map(|(name, _)| name);
    match &entry.upstream.credential {
        Some(Credential::Header(name, _)) if *name == HOST => true,
        _ => set.any(|name| *name == HOST),
    }
}

/// Whether the caller says that it wants an event stream.
pub fn accepts_events(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| {
        value
            .as_bytes()
            .windows(b"text/event-stream".len())
            .any(|part| part.eq_ignore_ascii_case(b"text/event-stream"))
    })
}

/// Makes a route's changes: first what is removed, then what is set.
pub(super) fn apply(edits: &HeaderEdits, headers: &mut HeaderMap) {
    for name in &edits.remove {
        headers.remove(name);
    }
    for (name, value) in &edits.set {
        headers.insert(name, value.clone());
    }
}

/// Path and query, with the literal beginning of the route's path replaced by its `rewrite`.
fn target(uri: &Uri, route: &Route) -> String {
    let path = uri.path();
    let mut target = match &route.rewrite {
        None => path.to_owned(),
        Some(rewrite) => rewritten(path, &route.matches.path, rewrite),
    };
    if let Some(query) = uri.query() {
        target.push('?');
        target.push_str(query);
    }
    target
}

fn rewritten(path: &str, pattern: &PathPattern, rewrite: &str) -> String {
    let rest = after_literals(pattern, path);
    let joined = format!("{}{rest}", rewrite.trim_end_matches('/'));
    if joined.is_empty() {
        "/".to_owned()
    } else {
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Segment;

    fn pattern(literals: &[&str], rest: bool) -> PathPattern {
        let segments = literals
            .iter()
            .map(|literal| Segment::Literal((*literal).to_owned()));
        PathPattern {
            segments: segments.collect(),
            rest,
            rest_name: None,
        }
    }

    #[test]
    fn a_rewrite_replaces_what_the_route_names_literally() {
        let cases = [
            ("/v1/chat", &["v1"][..], true, "/api", "/api/chat"),
            ("/v1", &["v1"], true, "/api", "/api"),
            ("/v1/", &["v1"], true, "/api/", "/api/"),
            ("/v1/chat", &["v1"], true, "/", "/chat"),
            ("/v1", &["v1"], true, "/", "/"),
            ("/a/b/c%2Fd", &["a", "b"], true, "/x/y", "/x/y/c%2Fd"),
            ("/exact", &["exact"], false, "/other", "/other"),
            ("/any/thing", &[], true, "/base", "/base/any/thing"),
        ];
        for (path, literals, rest, rewrite, expected) in cases {
            assert_eq!(
                rewritten(path, &pattern(literals, rest), rewrite),
                expected,
                "{path}"
            );
        }
    }

    #[test]
    fn an_event_stream_is_asked_for_in_any_case_and_place() {
        let mut headers = HeaderMap::new();
        assert!(!accepts_events(&headers));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        assert!(!accepts_events(&headers));
        headers.append(
            ACCEPT,
            HeaderValue::from_static("application/json, Text/Event-Stream;q=1"),
        );
        assert!(accepts_events(&headers));
    }
}
