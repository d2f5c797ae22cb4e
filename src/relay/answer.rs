//! The head of an answer as the client gets it, and the body that follows.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};

use super::body::Body;
use super::context::{Context, Reached};
use super::head::{essence, is_stream, prepare};
use super::incoming::Incoming;
use super::record::{Outcome, Record};
use super::source::Source;
use crate::config::{Dialect, Trouble};
use crate::dialect::{BodyKind, Ending, body_kind, is_error_answer, trouble, usage_in_document};
use crate::edge::{credentials, forwarded};
use crate::upstream::{AnswerBody, Piece};

/// Largest answer that is looked through for an error told with status 200, in bytes.
const ERROR_ANSWER: u64 = 64 * 1024;

/// The answer for the client to an answer of an upstream.
pub(super) async fn answer(
    context: Context,
    mut reached: Box<Reached>,
    mut record: Box<Record>,
) -> Response<Body> {
    record.adopt(&context.route, &mut reached);
    let (entry, clocks) = (reached.entry, reached.clocks);
    let mut status = reached.asked.answer.head.status;
    let version = reached.asked.answer.head.version;
    let mut headers = std::mem::take(&mut reached.asked.answer.head.headers);
    let body = &mut reached.asked.answer.body;
    let kind = body_kind(&headers);
    let mut whole = None;
    if body.is_over() && (kind == BodyKind::Opaque || is_bodiless(&context, status)) {
        // Nothing will be polled, and so nothing would tell the end.
        record.outcome = Outcome::Ended(Ending::Complete);
        whole = Some(Bytes::new());
    } else if status == StatusCode::OK && is_small_json(&context, &headers, body) {
        whole = first_if_whole(body, clocks.idle).await;
        if whole
            .as_ref()
            .is_some_and(|bytes| is_error_answer(context.dialect, bytes))
        {
            // An SDK that waits for events takes this for an answer without any.
            status = StatusCode::BAD_GATEWAY;
            record.reason = Some("the upstream answered an error with status 200".into());
            record.outcome = Outcome::Ended(Ending::Failed);
            let told = trouble(context.dialect, StatusCode::OK, &headers, whole.as_deref());
            if !told.is_none_or(Trouble::blames_endpoint) {
                record.turn = None;
            }
        }
    }
    if let Some(credential) = &context.route.chain[entry].upstream.credential {
        credentials::conceal(credential, &mut headers);
    }
    forwarded::via(&mut headers, version);
    // A small answer that is JSON is known to be no stream.
    let streams = whole.as_ref().is_none_or(Bytes::is_empty) && is_stream(&headers);
    prepare(&mut headers, &context, (status, kind, streams), &record);
    record.status = Some(status);
    let body = match whole {
        Some(bytes) if body.is_over() => {
            if record.outcome != Outcome::Ended(Ending::Failed) {
                record.outcome = Outcome::Ended(Ending::Complete);
            }
            record.took.usage = usage_in_document(context.dialect, &bytes);
            Body::whole(bytes, record)
        }
        begun => {
            if let Some(begun) = begun {
                body.put_back(begun);
            }
            Body::relayed(
                &context,
                &clocks,
                Source::Answer(Incoming::of(reached)),
                kind,
                record,
            )
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Whether the answer has no body, whatever its fields say (RFC 9112 §6.3).
fn is_bodiless(context: &Context, status: StatusCode) -> bool {
    context.method == Method::HEAD
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
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
/// tells afterwards. Nothing is waited for beyond the first piece, and nothing without a limit.
async fn first_if_whole(body: &mut AnswerBody, limit: Option<Duration>) -> Option<Bytes> {
    // It nearly always came with the head, and needs no clock.
    let at_hand = poll_fn(|cx| Poll::Ready(body.poll_piece(cx))).await;
    let first = match at_hand {
        Poll::Ready(piece) => piece,
        Poll::Pending => {
            let first = poll_fn(|cx| body.poll_piece(cx));
            // Boxed: rare, and a clock is large.
            Box::pin(tokio::time::timeout(limit?, first)).await.ok()?
        }
    };
    match first? {
        Ok(Piece::Data(data)) => Some(data),
        Ok(Piece::Trailers(_)) | Err(_) => None,
    }
}
