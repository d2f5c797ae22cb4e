//! A subscription delivered to a client, over the transport it chose.
//!
//! All transports give the same events with the same ids, and go on from the same ids.

mod body;
mod gap;
mod poll;
mod websocket;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use tokio::time::Instant;

use super::body::Body;
use super::context::Context;
use super::feed::LAST_EVENT_ID;
use super::head::{finish, unbuffer};
use super::record::Record;
use super::refusal::Refusal;
use crate::config::{Cors, Dialect, Greeting};
use crate::delivery::{self, Encoding, Framing, Transport};
use crate::dialect::{BodyKind, heartbeat};
use crate::edge::hop;
use crate::hub::{From, Outlet, Subscription};
use crate::router::query_values;

pub(super) use body::{Terms, Watch};

/// What a client asks for: over which transport, and from where.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) transport: Transport,
    pub(super) from: From,
    /// The WebSocket key, where one is asked for.
    key: Option<HeaderValue>,
    origin_ok: OriginFields,
}

/// The fields by which a browser's origin is judged.
#[derive(Debug, Default)]
struct OriginFields(HeaderMap);

/// What the route gives along with the events.
pub(super) struct Offer {
    /// Sent first.
    pub(super) greeting: Option<Greeting>,
    /// When it is over.
    pub(super) until: Option<Instant>,
    /// How its end is told in band, where it is an answer and not a subscription that is come back to.
    pub(super) speaks: Option<(Dialect, BodyKind)>,
    /// Fields of the answer's head besides ours.
    pub(super) headers: HeaderMap,
    /// How events are written, where it is not for the client to choose.
    pub(super) encoding: Option<Encoding>,
}

impl Offer {
    /// What a route offers its subscribers.
    pub(super) fn subscription(context: &Context) -> Self {
        let route = &context.route.config;
        Self {
            greeting: route.greeting.clone(),
            until: route
                .max_age
                .map(|age| Instant::now() + age.mul_f64(1.0 - fastrand::f64() / 5.0)),
            speaks: None,
            headers: HeaderMap::new(),
            encoding: None,
        }
    }
}

impl Reading {
    /// Over an event stream, without a choice.
    pub(super) fn plain(from: From) -> Self {
        Self {
            transport: Transport::Sse,
            from,
            key: None,
            origin_ok: OriginFields::default(),
        }
    }

    /// Reads what a request asks for.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] where that is contradictory, or cannot be had.
    pub(super) fn of(parts: &Parts) -> Result<Self, Refusal> {
        let query = parts.uri.query();
        let upgrade = hop::asks_for_websocket(&parts.headers);
        let named = query_values(query, "transport").into_iter().next();
        let transport = delivery::choose(named.as_deref(), &parts.headers, upgrade)
            .map_err(|bad| Refusal::new(bad.status(), "bad_transport", bad.to_string()))?;
        let mut origin = HeaderMap::new();
        for name in [http::header::ORIGIN, http::header::HOST] {
            if let Some(value) = parts.headers.get(&name) {
                origin.insert(name, value.clone());
            }
        }
        Ok(Self {
            transport,
            from: from(parts)?,
            key: parts.headers.get(http::header::SEC_WEBSOCKET_KEY).cloned(),
            origin_ok: OriginFields(origin),
        })
    }
}

/// Where a client wants to go on: the header field first, as a browser sends it by itself.
fn from(parts: &Parts) -> Result<From, Refusal> {
    if let Some(id) = parts.headers.get(LAST_EVENT_ID) {
        let id = String::from_utf8_lossy(id.as_bytes());
        if !id.is_empty() {
            return Ok(From::After(id.into_owned()));
        }
    }
    for name in ["last_event_id", "cursor"] {
        let shown = query_values(parts.uri.query(), name).into_iter().next();
        if let Some(id) = shown.filter(|id| !id.is_empty()) {
            return Ok(From::After(id));
        }
    }
    match query_values(parts.uri.query(), "after").into_iter().next() {
        None => Ok(From::Start),
        Some(count) => match count.parse() {
            Ok(count) => Ok(From::Count(count)),
            Err(_) => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "bad_cursor",
                "`after` is a number of events, such as `after=12`",
            )),
        },
    }
}

/// Delivers `subscription` to the client.
///
/// # Errors
///
/// A [`Refusal`], or `None` when the client has left.
pub(super) async fn deliver(
    context: Context,
    subscription: Subscription,
    reading: Reading,
    offer: Offer,
    record: &mut Option<Box<Record>>,
) -> Result<Response<Body>, Option<Refusal>> {
    if let Some(record) = record {
        record
            .socket()
            .limit_stall(super::order::clocks_of(&context.route, 0, context.dialect).stall);
    }
    let encoding = match reading.transport {
        Transport::Sse => Encoding::Sse,
        Transport::Ndjson => Encoding::Ndjson,
        Transport::Poll => return poll::answer(&context, subscription, None, record).await,
        Transport::LongPoll => {
            return poll::answer(&context, subscription, Some(poll::LONGEST), record).await;
        }
        Transport::WebSocket => {
            return websocket::answer(context, subscription, reading, offer, record);
        }
    };
    stream(
        &context,
        subscription,
        offer.encoding.unwrap_or(encoding),
        offer,
        record,
    )
}

/// Delivers as the body of an answer that goes on.
fn stream(
    context: &Context,
    subscription: Subscription,
    encoding: Encoding,
    offer: Offer,
    record: &mut Option<Box<Record>>,
) -> Result<Response<Body>, Option<Refusal>> {
    let mut record = record.take().ok_or(None)?;
    record.status = Some(StatusCode::OK);
    let mut headers = offer.headers;
    headers
        .entry(CONTENT_TYPE)
        .or_insert(HeaderValue::from_static(encoding.content_type()));
    unbuffer(&mut headers);
    finish(&mut headers, context, &record);
    let body = if context.method == Method::HEAD {
        record.outcome = super::record::Outcome::Ended(crate::dialect::Ending::Complete);
        Body::whole(Bytes::new(), record)
    } else {
        let framing = match record.version() {
            Version::HTTP_10 | Version::HTTP_09 => Framing::Bare,
            _ => Framing::Chunked,
        };
        subscription.write_to(Outlet {
            socket: record.socket().clone(),
            framing,
            encoding,
        });
        let terms = Terms {
            encoding,
            opening: opening(
                &subscription,
                encoding,
                offer.greeting.as_ref(),
                offer.speaks.is_some(),
            ),
            heartbeat: context.route.config.heartbeat,
            beat: match encoding {
                Encoding::Sse | Encoding::SsePlain => heartbeat(context.dialect),
                Encoding::Data | Encoding::Ndjson => b"\n",
            },
            until: offer.until,
            speaks: offer.speaks,
        };
        Body::watched(Watch::new(subscription, terms, record))
    };
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    Ok(response)
}

/// What comes before the first event: the id to come back with, and the greeting.
fn opening(
    subscription: &Subscription,
    encoding: Encoding,
    greeting: Option<&Greeting>,
    finite: bool,
) -> Bytes {
    let mut bytes = Vec::new();
    if encoding == Encoding::Sse && !finite {
        bytes.extend_from_slice(&delivery::prime(&subscription.id().to_string()));
    }
    if let Some(greeting) = greeting {
        bytes.extend_from_slice(&delivery::greeting(
            encoding,
            greeting.event.as_deref(),
            &greeting.data,
        ));
    }
    bytes.into()
}

/// Whether a page of this origin may open a WebSocket here.
fn is_welcome(reading: &Reading, cors: Option<&Cors>) -> bool {
    delivery::origin_allowed(&reading.origin_ok.0, |origin| {
        match cors.map(|cors| &cors.origins) {
            None => false,
            Some(crate::config::Origins::Any) => true,
            Some(crate::config::Origins::List(list)) => list.contains(origin),
        }
    })
}
