//! A kept answer by its id: read on, watched, or stopped.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::{Generation, name_stream, note};
use crate::delivery::Transport;
use crate::dialect::Ending;
use crate::edge::auth;
use crate::relay::body::Body;
use crate::relay::context::Context;
use crate::relay::head;
use crate::relay::order::Order;
use crate::relay::plane::LiveRoute;
use crate::relay::record::{Outcome, Record};
use crate::relay::refusal::Refusal;
use crate::relay::streams::{Here, Streams};
use crate::relay::watch::{self as delivering, Offer, Reading};

/// A request for a kept answer by its id.
#[derive(Debug, Clone)]
pub struct Visit {
    generation: Arc<Generation>,
    /// Whether its route lets the caller watch the answers of others.
    pub watches: bool,
}

impl Visit {
    /// The route whose rules hold for it.
    pub fn route(&self) -> &Arc<LiveRoute> {
        &self.generation.route
    }
}

impl Streams {
    /// The answer called `id`, whoever may read it.
    pub fn visit(&self, id: &str) -> Option<Visit> {
        let generation = self.generations.find(id)?;
        Some(Visit {
            generation,
            watches: false,
        })
    }
}

/// Reads a kept answer, or stops it.
///
/// # Errors
///
/// A [`Refusal`], the same for an answer that is somebody else's and for one that never was.
pub(in crate::relay) async fn serve(
    mut order: Box<Order>,
    visit: Visit,
    here: &Here,
    record: &mut Option<Box<Record>>,
) -> Result<Response<Body>, Option<Refusal>> {
    let Visit {
        generation,
        watches,
    } = visit;
    let caller = auth::identity(order.principal.as_ref(), &order.parts.headers);
    if !generation.is_open_to(caller, watches) {
        return Err(Some(Refusal::no_stream()));
    }
    note(record, &generation);
    if let Some(record) = record {
        record.enter(&order.route, 0);
    }
    match order.parts.method {
        Method::GET | Method::HEAD => {}
        Method::DELETE if generation.owner.is_none() || generation.owner == caller => {
            generation.stop.send_replace(true);
            return no_content(&mut order, record);
        }
        Method::DELETE => return Err(Some(Refusal::no_stream())),
        _ => {
            let refusal = Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "a kept answer is read with GET and stopped with DELETE",
            );
            let allowed = HeaderValue::from_static("DELETE, GET, HEAD");
            return Err(Some(refusal.with(http::header::ALLOW, allowed)));
        }
    }
    let reading = Reading::of(&order.parts).map_err(Some)?;
    let context = Context::of(&mut order);
    let subscription = generation.stream.subscribe(here.worker, &reading.from);
    if subscription.is_over() && matches!(reading.transport, Transport::Sse | Transport::Ndjson) {
        if generation.stream.end().is_some_and(|end| end.abort) {
            return Err(Some(Refusal::broken_off()));
        }
        return no_content_for(&context, record);
    }
    let mut headers = HeaderMap::new();
    name_stream(&mut headers, &generation);
    let offer = Offer {
        greeting: None,
        until: None,
        speaks: Some((generation.dialect, generation.kind())),
        drain: here.streams.draining(),
        headers,
        encoding: None,
    };
    delivering::deliver(context, subscription, reading, offer, record).await
}

fn no_content(
    order: &mut Box<Order>,
    record: &mut Option<Box<Record>>,
) -> Result<Response<Body>, Option<Refusal>> {
    no_content_for(&Context::of(order), record)
}

/// 204: for an EventSource, the word not to come again (WHATWG HTML, §9.2.3).
fn no_content_for(
    context: &Context,
    record: &mut Option<Box<Record>>,
) -> Result<Response<Body>, Option<Refusal>> {
    let mut record = record.take().ok_or(None)?;
    record.status = Some(StatusCode::NO_CONTENT);
    record.outcome = Outcome::Ended(Ending::Complete);
    let mut headers = HeaderMap::new();
    head::finish(&mut headers, context, &record);
    let mut response = Response::new(Body::whole(bytes::Bytes::new(), record));
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = headers;
    Ok(response)
}
