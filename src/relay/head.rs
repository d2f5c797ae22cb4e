//! The fields of an answer as the client gets them.

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::context::Context;
use super::outgoing::apply;
use super::record::Record;
use super::told::Told;
use crate::dialect::BodyKind;
use crate::edge::trace::REQUEST_ID;
use crate::edge::{cors, hop};

/// Switches off the buffers of nginx and of those that follow it.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Content types of bodies that are streams, whether we can look into them or not.
const STREAMS: [&str; 5] = [
    "text/event-stream",
    "application/x-ndjson",
    "application/jsonl",
    "application/stream+json",
    "application/vnd.amazon.eventstream",
];

/// Makes the upstream's headers ours. `streams` tells whether the body [is a stream](is_stream).
pub(super) fn prepare(
    headers: &mut HeaderMap,
    context: &Context,
    (status, kind, streams): (StatusCode, BodyKind, bool),
    record: &Record,
) {
    hop::strip_response(headers);
    if streams {
        unbuffer(headers);
    }
    // A 204 has no length (RFC 9110 §8.6).
    if status == StatusCode::NO_CONTENT {
        headers.remove(CONTENT_LENGTH);
    }
    // What we may have to add to a stream does not fit into a length that was announced before.
    if kind != BodyKind::Opaque && context.method != Method::HEAD {
        headers.remove(CONTENT_LENGTH);
    }
    finish(headers, context, record);
    let wanted = context.route.config.usage;
    if let Some(told) = Told::of(wanted, context.dialect, kind, context.takes_trailers) {
        told.announce(headers);
    }
}

/// Headers that every answer through a route gets.
pub(super) fn finish(headers: &mut HeaderMap, context: &Context, record: &Record) {
    if context.route.cors.is_some() {
        cors::strip_backend(headers);
    }
    headers.insert(REQUEST_ID, record.request_id.clone());
    apply(&context.route.config.response_headers, headers);
}

/// Tells everything between us and the client to pass a stream on as it comes.
pub(super) fn unbuffer(headers: &mut HeaderMap) {
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
}

/// Whether the body comes bit by bit, whether we can look into it or not.
pub(super) fn is_stream(headers: &HeaderMap) -> bool {
    essence(headers).is_some_and(|essence| {
        STREAMS
            .iter()
            .any(|stream| essence.eq_ignore_ascii_case(stream))
    })
}

/// The media type without its parameters.
pub(super) fn essence(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let end = memchr::memchr(b';', value.as_bytes());
    Some(value[..end.unwrap_or(value.len())].trim_ascii())
}
