//! The head of an answer as the client gets it, and the body that follows.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::body::Body;
use super::direct::{Direct, Source};
use super::order::{Context, Reached};
use super::outgoing::apply;
use super::record::{Outcome, Record};
use crate::config::{Dialect, ResolvedClocks};
use crate::delivery::SilenceClock;
use crate::dialect::{BodyKind, Ending, Watcher, body_kind, is_error_answer};
use crate::edge::trace::REQUEST_ID;
use crate::edge::{cors, forwarded, hop};
use crate::upstream::{AnswerBody, Piece};

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
/// Largest answer that is looked through for an error told with status 200, in bytes.
const ERROR_ANSWER: u64 = 64 * 1024;

/// The answer for the client to an answer of an upstream.
pub(super) async fn answer(
    context: Context,
    reached: Reached,
    mut record: Box<Record>,
) -> Response<Body> {
    let Reached {
        asked,
        entry,
        clocks,
    } = reached;
    record.enter(&context.route, entry);
    record.endpoint = Some(asked.endpoint.name.clone());
    let mut status = asked.answer.head.status;
    let mut headers = asked.answer.head.headers;
    let mut body = asked.answer.body;
    let kind = body_kind(&headers);
    let mut whole = None;
    if body.is_over() && (kind == BodyKind::Opaque || is_bodiless(&context, status)) {
        // Nothing will be polled, and so nothing would tell the end.
        record.outcome = Outcome::Ended(Ending::Complete);
        whole = Some(Bytes::new());
    } else if status == StatusCode::OK && is_small_json(&context, &headers, &body) {
        whole = first_if_whole(&mut body, clocks.idle).await;
        if whole
            .as_ref()
            .is_some_and(|bytes| is_error_answer(context.dialect, bytes))
        {
            // An SDK that waits for events takes this for an answer without any.
            status = StatusCode::BAD_GATEWAY;
            record.reason = Some("the upstream answered an error with status 200".into());
            record.outcome = Outcome::Ended(Ending::Failed);
        }
    }
    forwarded::via(&mut headers, asked.answer.head.version);
    prepare(&mut headers, &context, kind, &record);
    record.status = Some(status);
    let body = match whole {
        Some(bytes) if body.is_over() => {
            if record.outcome != Outcome::Ended(Ending::Failed) {
                record.outcome = Outcome::Ended(Ending::Complete);
            }
            Body::whole(bytes, record)
        }
        begun => {
            if let Some(begun) = begun {
                body.put_back(begun);
            }
            relayed(&context, &clocks, Source::Answer(body), kind, record)
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A relayed body with its watcher and clocks.
pub(super) fn relayed(
    context: &Context,
    clocks: &ResolvedClocks,
    source: Source,
    kind: BodyKind,
    record: Box<Record>,
) -> Body {
    let heartbeat = context
        .route
        .config
        .heartbeat
        .filter(|_| kind == BodyKind::Sse);
    let mut clock = SilenceClock::new(heartbeat, clocks.idle);
    if let Some(limit) = clocks.first_event.filter(|_| kind != BodyKind::Opaque) {
        clock.limit_first_event(record.started(), limit);
    }
    if let Some(limit) = clocks.total {
        clock.limit_total(record.started(), limit);
    }
    let watcher = Watcher::new(context.dialect, kind);
    Body::direct(Box::new(Direct::new(source, watcher, clock, record)))
}

/// Makes the upstream's headers ours.
fn prepare(headers: &mut HeaderMap, context: &Context, kind: BodyKind, record: &Record) {
    hop::strip_response(headers);
    if is_stream(headers) {
        unbuffer(headers);
    }
    // What we may have to add to a stream does not fit into a length that was announced before.
    if kind != BodyKind::Opaque && context.method != Method::HEAD {
        headers.remove(CONTENT_LENGTH);
    }
    finish(headers, context, record);
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

/// Whether the answer has no body, whatever its fields say (RFC 9112 §6.3).
fn is_bodiless(context: &Context, status: StatusCode) -> bool {
    context.method == Method::HEAD
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn is_stream(headers: &HeaderMap) -> bool {
    essence(headers).is_some_and(|essence| {
        STREAMS
            .iter()
            .any(|stream| essence.eq_ignore_ascii_case(stream))
    })
}

/// The media type without its parameters.
fn essence(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

fn is_small_json(context: &Context, headers: &HeaderMap, body: &AnswerBody) -> bool {
    context.dialect != Dialect::Plain
        && body
            .remaining()
            .is_none_or(|length| (1..=ERROR_ANSWER).contains(&length))
        && !body.ends_by_close()
        && essence(headers).is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

/// The first piece of a body: nearly always a small answer is whole with it. Whether it is, the body
/// tells afterwards. Nothing is waited for beyond the first piece.
async fn first_if_whole(body: &mut AnswerBody, limit: Option<Duration>) -> Option<Bytes> {
    let first = poll_fn(|cx| body.poll_piece(cx));
    let piece = match limit {
        Some(limit) => tokio::time::timeout(limit, first).await.ok()??,
        None => first.await?,
    };
    match piece {
        Ok(Piece::Data(data)) => Some(data),
        Ok(Piece::Trailers(_)) | Err(_) => None,
    }
}
