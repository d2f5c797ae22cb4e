//! When two requests are the same.

use http::{HeaderMap, HeaderName};
use sha2::{Digest as _, Sha256};

use super::order::Order;
use crate::config::Share;
use crate::edge::auth;
use crate::edge::forwarded::X_FORWARDED_HOST;
use crate::hub::Unnumbered;

/// A hash that stands for a request, or for who makes it.
pub(super) type Digest = [u8; 32];

/// Fields that differ from one try to the next, or from one hop to the next, and change nothing in the answer.
const NOISE: [&str; 38] = [
    "accept-encoding",
    "api-key",
    "authorization",
    "baggage",
    "cdn-loop",
    "cf-connecting-ip",
    "cf-ray",
    "connection",
    "content-length",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "idempotency-key",
    "newrelic",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "true-client-ip",
    "uber-trace-id",
    "user-agent",
    "via",
    "x-api-key",
    "x-client-ip",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-goog-api-key",
    "x-real-ip",
    "x-request-id",
    "x-request-start",
    "x-vercel-id",
    "x-amz-cf-id",
    "b3",
];
/// The same, by the beginnings of their names.
const NOISY: [&str; 8] = [
    "fly-",
    "sentry-",
    "x-amzn-trace-",
    "x-azure-",
    "x-b3-",
    "x-datadog-",
    "x-envoy-",
    "x-stainless-",
];

/// What `order` asks for, whoever asks.
pub(super) fn asked(order: &Order) -> Digest {
    let mut hash = Parts::default();
    hash.add(order.route.config.name.as_bytes());
    hash.add(order.parts.method.as_str().as_bytes());
    let target = order
        .parts
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    hash.add(target.as_bytes());
    hash.add_fields(&order.parts.headers);
    hash.add(order.kept.as_deref().unwrap_or_default());
    hash.finish()
}

/// Who asks, as the upstream knows it: whom the gateway knows as `owner`, with what credentials are left for the
/// upstream. Several may come by one key to the gateway, and each get an answer of its own.
pub(super) fn asker(owner: Option<&Digest>, headers: &HeaderMap) -> Option<Digest> {
    let owner = owner?;
    let mut hash = Parts::default();
    hash.add(b"asker");
    hash.add(owner);
    hash.add(&auth::identity(None, headers).unwrap_or_default());
    Some(hash.finish())
}

/// What two requests must have in common to be one feed.
pub(super) fn feed(order: &Order, share: &Share) -> Digest {
    let headers = &order.parts.headers;
    let mut hash = Parts::default();
    hash.add(order.route.config.name.as_bytes());
    let target = order.parts.uri.path_and_query();
    hash.add(target.map_or("", |target| target.as_str()).as_bytes());
    let host = headers.get(X_FORWARDED_HOST);
    hash.add(
        &host
            .map_or(&b""[..], |host| host.as_bytes())
            .to_ascii_lowercase(),
    );
    for name in &share.key_headers {
        hash.add_values(headers, name);
    }
    if !share.public {
        hash.add(&auth::identity(order.principal.as_ref(), headers).unwrap_or_default());
        // Who was let in by one key may show the upstream another.
        hash.add(&auth::identity(None, headers).unwrap_or_default());
    }
    hash.finish()
}

/// What a caller named itself.
pub(super) fn named(route: &str, owner: Option<&Digest>, key: &[u8]) -> Digest {
    let mut hash = Parts::default();
    hash.add(b"named");
    hash.add(route.as_bytes());
    hash.add(owner.map_or(&[], |owner| owner));
    hash.add(key);
    hash.finish()
}

/// What is published.
pub(super) fn published(events: &[Unnumbered]) -> Digest {
    let mut hash = Parts::default();
    for event in events {
        hash.add(event.frame.as_bytes());
        hash.add(event.alias.as_deref().unwrap_or_default().as_bytes());
    }
    hash.finish()
}

/// What a caller has in flight.
pub(super) fn in_flight(asked: &Digest, owner: Option<&Digest>) -> Digest {
    let mut hash = Parts::default();
    hash.add(b"in flight");
    hash.add(owner.map_or(&[], |owner| owner));
    hash.add(asked);
    hash.finish()
}

/// A hash over parts, none of which can be taken for part of another.
#[derive(Default)]
struct Parts(Sha256);

impl Parts {
    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// The fields that matter, in the order of their names.
    fn add_fields(&mut self, headers: &HeaderMap) {
        let mut names: Vec<&HeaderName> = headers
            .keys()
            .filter(|name| matters(name.as_str()))
            .collect();
        names.sort_by_key(|name| name.as_str());
        for name in names {
            self.add(name.as_str().as_bytes());
            self.add_values(headers, name);
        }
    }

    /// All values of a field, and how many they are: a value is no next field's name.
    fn add_values(&mut self, headers: &HeaderMap, name: &HeaderName) {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        self.add(&(values.len() as u64).to_le_bytes());
        for value in values {
            self.add(value.as_bytes());
        }
    }

    fn finish(self) -> Digest {
        self.0.finalize().into()
    }
}

fn matters(name: &str) -> bool {
    !NOISE.contains(&name) && !NOISY.iter().any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_no_next_fields_name() {
        let hash = |fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, http::HeaderValue::from_static(value));
            }
            let mut parts = Parts::default();
            parts.add_fields(&headers);
            parts.finish()
        };
        let apart = [("a", "x"), ("b", "y")];
        assert_ne!(hash(&apart), hash(&[("a", "x"), ("a", "b"), ("a", "y")]));
        assert_eq!(hash(&apart), hash(&[("b", "y"), ("a", "x")]));
    }

    #[test]
    fn what_an_sdk_counts_makes_no_difference() {
        for name in [
            "x-stainless-retry-count",
            "traceparent",
            "x-request-id",
            "x-forwarded-for",
            "x-amzn-trace-id",
            "cf-ray",
            "x-cloud-trace-context",
        ] {
            assert!(!matters(name), "{name}");
        }
        for name in [
            "anthropic-beta",
            "openai-organization",
            "accept",
            "content-type",
            "host",
            "x-forwarded-user",
            "cf-access-jwt-assertion",
        ] {
            assert!(matters(name), "{name}");
        }
    }
}
