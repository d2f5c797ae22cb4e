//! Long poll and poll: one answer with what there is, and a cursor to go on from.

use std::future::poll_fn;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::time::timeout;

use super::gap;
use crate::delivery::{self, Item};
use crate::dialect::Ending;
use crate::hub::{Next, Subscription};
use crate::relay::body::Body;
use crate::relay::context::Context;
use crate::relay::head::finish;
use crate::relay::order::stopped;
use crate::relay::record::{Outcome, Record};
use crate::relay::refusal::Refusal;

/// How long a long poll waits for an event; below what load balancers cut.
pub(super) const LONGEST: Duration = Duration::from_secs(25);

/// Answers with what there is, having waited up to `wait` for it.
pub(super) async fn answer(
    context: &Context,
    mut subscription: Subscription,
    wait: Option<Duration>,
    record: &mut Option<Box<Record>>,
) -> Result<Response<Body>, Option<Refusal>> {
    let socket = record.as_ref().ok_or(None)?.socket().clone();
    let mut found = subscription.read();
    if let (None, Some(wait)) = (&found, wait) {
        let next = timeout(wait, poll_fn(|cx| subscription.poll_next(cx)));
        found = tokio::select! {
            biased;
            next = next => next.ok(),
            () = socket.clone().hung_up() => return Err(None),
            // An empty list has the client come back, to whoever serves then.
            () = stopped(&socket) => None,
        };
    }
    if matches!(&found, Some(Next::End(end)) if end.abort) {
        return Err(Some(Refusal::broken_off()));
    }
    let (body, events) = render(&mut subscription, found);
    let mut record = record.take().ok_or(None)?;
    record.status = Some(StatusCode::OK);
    record.set_events(events);
    record.outcome = Outcome::Ended(Ending::Complete);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    finish(&mut headers, context, &record);
    let mut response = Response::new(Body::whole(body, record));
    *response.headers_mut() = headers;
    Ok(response)
}

/// The document, and how many events it holds.
fn render(subscription: &mut Subscription, mut found: Option<Next>) -> (bytes::Bytes, u64) {
    let mut ids = Vec::new();
    let mut frames = Vec::new();
    // A gap in one topic does not move the cursor, since others may have more: without what follows, the next
    // request would be told of the same gap again, and so would each after it.
    while let Some(Next::Gap(gap)) = found {
        ids.push(gap.id.to_string());
        frames.push(gap::frame(&gap));
        found = subscription.read();
    }
    // An answer that is not whole is not closed: whoever asks on is told.
    let mut closed =
        subscription.is_over() && !matches!(subscription.read(), Some(Next::End(end)) if end.abort);
    match found {
        Some(Next::Events(entries)) => {
            for entry in entries {
                ids.push(subscription.shown(&entry).into_owned());
                frames.push(entry.frame);
            }
        }
        Some(Next::End(end)) => closed = !end.abort,
        Some(Next::Gap(_) | Next::Lagged) | None => {}
    }
    let items = ids.iter().zip(&frames);
    let items = items.map(|(id, frame)| Item { id, frame });
    let cursor = subscription.id().to_string();
    (
        delivery::poll_body(items, &cursor, closed),
        frames.len() as u64,
    )
}
