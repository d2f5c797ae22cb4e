//! A subscription delivered to a client, over the transport it chose.
//!
//! All transports give the same events with the same ids, and go on from the same ids.

mod body;
mod gap;
mod poll;
mod websocket;

use std::time::Duration;

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, COOKIE, HOST, ORIGIN, SEC_WEBSOCKET_VERSION};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use tokio::sync::watch;
use tokio::time::Instant;

use super::body::Body;
use super::context::Context;
use super::feed::LAST_EVENT_ID;
use super::head::{finish, unbuffer};
use super::record::Record;
use super::refusal::Refusal;
use super::streams::Here;
use crate::config::{Dialect, Greeting, Origins, Route};
use crate::delivery::{self, BadTransport, Encoding, Framing, Transport};
use crate::dialect::{BodyKind, heartbeat};
use crate::hub::{From, Outlet, Subscription};
use crate::router::query_values;
use crate::sse::Frame;

use body::farewell;
pub(super) use body::{Terms, Watch};

/// Ends when the process is about to.
type Drained = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Ends some time after the process was told to drain, not at once for everybody.
fn drained(mut drain: watch::Receiver<Option<Duration>>) -> Drained {
    Box::pin(async move {
        let told = drain.wait_for(Option::is_some).await;
        // Nobody left to tell is an end as well.
        let patience = told.ok().and_then(|told| *told).unwrap_or_default();
        tokio::time::sleep(farewell(patience)).await;
    })
}

/// What a client asks for: over which transport, and from where.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) transport: Transport,
    pub(super) from: From,
    /// The fields that agree to a WebSocket, where one is asked for.
    accepted: Option<HeaderMap>,
    /// The fields by which a browser's page is judged.
    origin: HeaderMap,
}

/// What the route gives along with the events.
pub(super) struct Offer {
    /// Sent first.
    pub(super) greeting: Option<Greeting>,
    /// When it is over.
    pub(super) until: Option<Instant>,
    /// How its end is told in band, where it is an answer and not a subscription that is come back to.
    pub(super) speaks: Option<(Dialect, BodyKind)>,
    /// Told when the process is about to end, and within how long.
    pub(super) drain: watch::Receiver<Option<Duration>>,
    /// Fields of the answer's head besides ours.
    pub(super) headers: HeaderMap,
    /// How events are written, where it is not for the client to choose.
    pub(super) encoding: Option<Encoding>,
}

impl Offer {
    /// What a route offers its subscribers. What a token lets its holder see ends with the token, when it
    /// `expires`.
    pub(super) fn subscription(context: &Context, here: &Here, expires: Option<Instant>) -> Self {
        let route = &context.route.config;
        let oldest = route
            .max_age
            .map(|age| Instant::now() + age.mul_f64(1.0 - fastrand::f64() / 5.0));
        Self {
            greeting: route.greeting.clone(),
            until: oldest.into_iter().chain(expires).min(),
            speaks: None,
            drain: here.streams.draining(),
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
            accepted: None,
            origin: HeaderMap::new(),
        }
    }

    /// Reads what a request asks for.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] where that is contradictory, or cannot be had.
    pub(super) fn of(parts: &Parts) -> Result<Self, Refusal> {
        let query = parts.uri.query();
        let upgrade = delivery::websocket::is_upgrade(&parts.headers);
        let named = query_values(query, "transport").into_iter().next();
        let transport = delivery::choose(named.as_deref(), &parts.headers, upgrade)
            .map_err(|bad| unavailable(&bad))?;
        let accepted = match transport {
            Transport::WebSocket => Some(upgraded(parts)?),
            _ => None,
        };
        let mut origin = HeaderMap::new();
        for name in [ORIGIN, HOST, COOKIE] {
            if let Some(value) = parts.headers.get(&name) {
                origin.insert(name, value.clone());
            }
        }
        Ok(Self {
            transport,
            from: from(parts)?,
            accepted,
            origin,
        })
    }
}

/// The fields that agree to a WebSocket.
fn upgraded(parts: &Parts) -> Result<HeaderMap, Refusal> {
    let accepted = delivery::websocket::accept(&parts.method, parts.version, &parts.headers);
    accepted.map_err(|bad| {
        let refusal = Refusal::new(bad.status(), "bad_websocket", bad.to_string());
        let version = bad.headers().remove(SEC_WEBSOCKET_VERSION);
        match version {
            Some(version) => refusal.with(SEC_WEBSOCKET_VERSION, version),
            None => refusal,
        }
    })
}

fn unavailable(bad: &BadTransport) -> Refusal {
    let status = match bad {
        BadTransport::Unknown(_) => StatusCode::BAD_REQUEST,
        BadTransport::NoUpgrade => StatusCode::UPGRADE_REQUIRED,
        BadTransport::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
    };
    Refusal::new(status, "bad_transport", bad.to_string())
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
        Transport::Poll => {
            return poll::answer(&context, subscription, None, offer.drain, record).await;
        }
        Transport::LongPoll => {
            return poll::answer(
                &context,
                subscription,
                Some(poll::LONGEST),
                offer.drain,
                record,
            )
            .await;
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
        .or_insert(HeaderValue::from_static(content_type(encoding)));
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
            // Whoever expects an object on each line bears no empty one.
            heartbeat: context
                .route
                .config
                .heartbeat
                .filter(|_| encoding != Encoding::Data),
            // Clients that bear no ids may bear no comments either: the dialect knows.
            beat: match encoding {
                Encoding::SsePlain => Bytes::from_static(heartbeat(context.dialect)),
                _ => delivery::heartbeat(encoding),
            },
            drain: offer.drain,
            until: offer.until,
            speaks: offer.speaks,
            whole: offer.encoding.is_some(),
        };
        Body::watched(Watch::new(subscription, terms, record))
    };
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    Ok(response)
}

/// The media type of a body that goes on.
fn content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Sse | Encoding::SsePlain => "text/event-stream",
        Encoding::Data | Encoding::Ndjson => "application/x-ndjson",
    }
}

/// What comes before the first event: the id to come back with, and the greeting.
fn opening(
    subscription: &Subscription,
    encoding: Encoding,
    greeting: Option<&Greeting>,
    finite: bool,
) -> Bytes {
    let mut bytes = BytesMut::new();
    if encoding == Encoding::Sse && !finite {
        bytes.extend_from_slice(&delivery::prime(&subscription.id().to_string()));
    }
    let greeting = greeting.and_then(|greeting| {
        // Its name was checked with the configuration.
        Frame::new(greeting.event.as_deref(), &greeting.data, None).ok()
    });
    if let Some(frame) = greeting {
        delivery::greeting(encoding, &frame, &mut bytes);
    }
    bytes.freeze()
}

/// Whether a page of this origin may open a WebSocket here. Where every origin is let in, that is without the cookies
/// of who visits it, as with all that these rules are for; but a WebSocket comes with them.
fn is_welcome(reading: &Reading, route: &Route) -> bool {
    let is_listed = |origin: &HeaderValue| match route.cors.as_ref().map(|cors| &cors.origins) {
        None => false,
        Some(Origins::Any) => !counts_cookies(reading, route),
        Some(Origins::List(list)) => list.contains(origin),
    };
    let host = reading.origin.get(HOST).and_then(|host| host.to_str().ok());
    delivery::websocket::origin_allowed(&reading.origin, is_listed, host.unwrap_or_default())
}

/// Whether it can depend on a cookie what the client gets.
fn counts_cookies(reading: &Reading, route: &Route) -> bool {
    let is_everybodys =
        !route.subscribe.is_empty() || route.share.as_ref().is_some_and(|share| share.public);
    // The cookie that let the caller in was taken out of the request.
    route.credentials_in.cookie.is_some() || (!is_everybodys && reading.origin.contains_key(COOKIE))
}
