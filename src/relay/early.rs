//! A head that is sent before the upstream's own, so that whatever stands in front of the gateway
//! does not take a model that thinks for one that died.
//!
//! It can only promise an event stream. If something else comes, the caller is told in the stream.

use std::future::Future;
use std::pin::Pin;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::body::Body;
use super::context::{Context, Reached};
use super::head::{finish, unbuffer};
use super::record::Record;
use super::refusal::Refusal;
use super::source::{Arrival, Awaited, Source};
use super::told::Told;
use super::unfit;
use crate::config::ResolvedClocks;
use crate::dialect::{BodyKind, body_kind};

/// Sends the head now; the answer of `asking` becomes the body.
pub(super) fn answer(
    context: Context,
    clocks: &ResolvedClocks,
    asking: Pin<Box<impl Future<Output = Result<Box<Reached>, Refusal>> + Send + 'static>>,
    mut record: Box<Record>,
) -> Response<Body> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    unbuffer(&mut headers);
    finish(&mut headers, &context, &record);
    let wanted = context.route.config.usage;
    if let Some(told) = Told::of(
        wanted,
        context.dialect,
        BodyKind::Sse,
        context.takes_trailers,
    ) {
        told.announce(&mut headers);
    }
    record.status = Some(StatusCode::OK);
    // Until an upstream's head has come, the attempts measure it.
    let waiting = ResolvedClocks {
        idle: None,
        first_event: None,
        ..*clocks
    };
    let awaited: Awaited = Box::pin(async move { arrival(asking.await).await });
    let body = Body::relayed(
        &context,
        &waiting,
        Source::Awaited(awaited),
        BodyKind::Sse,
        record,
    );
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}

async fn arrival(outcome: Result<Box<Reached>, Refusal>) -> Arrival {
    match outcome {
        Ok(mut reached) => {
            let head = &reached.asked.answer.head;
            if head.status == StatusCode::OK && body_kind(&head.headers) == BodyKind::Sse {
                return Arrival::Stream(reached);
            }
            Arrival::Unfit {
                status: head.status.as_u16(),
                code: "upstream_refused",
                message: unfit::told(&mut reached.asked.answer).await,
                detail: None,
                trail: reached.trail,
            }
        }
        Err(refusal) => Arrival::Unfit {
            status: refusal.status.as_u16(),
            code: refusal.code,
            message: refusal.message,
            detail: refusal.detail,
            trail: refusal.trail,
        },
    }
}
