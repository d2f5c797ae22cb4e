//! When two requests are the same.

use http::{HeaderMap, HeaderName};
use sha2::{Digest as _, Sha256};

use super::order::Order;
use crate::edge::auth;
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
            for value in headers.get_all(name) {
                self.add(value.as_bytes());
            }
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
