//! The way of a request, on one screen.
//!
//! ```text
//! record ─ trace ─ route ─ (body, where the model decides) ─ CORS ─ callers ─ forwarding ─ relay
//! ```
//!
//! Every step either hands the request on or refuses it; a refusal is rendered in one place, and closes
//! the same record that a relayed answer would have closed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ALLOW, EXPECT, HOST, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use prometheus_client::metrics::gauge::Gauge;
use tower::ServiceExt;

use super::refusal;
use crate::config::{Dialect, DialectChoice};
use crate::delivery::Socket;
use crate::dialect::{self, BodyFault, Facts};
use crate::edge::{auth, cors};
use crate::edge::forwarded::{self, Forwarding};
use crate::edge::trace::Trace;
use crate::metrics::Metrics;
use crate::relay::{self, Aborted, Body, Inbound, LiveRoute, Order, Plane, Record, Refusal};
use crate::router::{Candidates, Found, Head};
use crate::upstream::Pool;

/// Bodies up to this size are read before anything is sent, so that they can be sent again when a
/// kept connection turns out to be closed. In bytes.
const KEPT_BODY: u64 = 64 * 1024;
/// How much of an unwanted body is read so that the caller gets to the answer, and for how long.
const DRAIN: (u64, Duration) = (1024 * 1024, Duration::from_secs(2));

/// One worker's view of the gateway.
#[derive(Debug)]
pub struct Gateway {
    plane: Arc<ArcSwap<Plane>>,
    pool: Arc<Pool>,
    metrics: Arc<Metrics>,
    limits: Limits,
}

/// Limits of connections, which stay as they were at the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) max_head: usize,
    pub(super) head_timeout: Duration,
    pub(super) keep_alive: Duration,
    /// How often a busy connection is looked at.
    pub(super) watch: Duration,
}

/// Counts one open connection for as long as it lives.
pub(super) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Why a request goes no further: a refusal, or nobody is there to be told.
type Stop = Option<Refusal>;

impl Gateway {
    /// A worker's gateway: the plane is everybody's, the pool its own.
    pub fn new(plane: Arc<ArcSwap<Plane>>, pool: Arc<Pool>, metrics: Arc<Metrics>) -> Self {
        let server = plane.load().config.server.clone();
        let limits = Limits {
            max_head: server.max_head,
            head_timeout: server.head_timeout,
            keep_alive: server.keep_alive,
            watch: server.head_timeout.min(server.keep_alive),
        };
        Self { plane, pool, metrics, limits }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn count_connection(&self) -> OpenConnection {
        self.metrics.connections.inc();
        OpenConnection(self.metrics.connections.clone())
    }

    /// Answers one request.
    ///
    /// # Errors
    ///
    /// [`Aborted`] when the client has left: the connection is closed.
    pub(super) async fn handle(
        self: Arc<Self>,
        socket: Arc<Socket>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Aborted> {
        let plane = self.plane.load_full();
        let (mut parts, body) = request.into_parts();
        let access_log = plane.config.log.access;
        let mut record = Record::open(self.metrics.clone(), socket, &parts, access_log);
        let peer = record.socket().peer().ip();
        let trusted = forwarded::is_trusted(peer, &plane.config.server.trusted_proxies);
        let Trace { request_id, trace_id } = Trace::of(&mut parts.headers, trusted);
        record.request_id = request_id;
        record.trace_id = Some(trace_id);
        let call = Call {
            upload_timeout: plane.config.server.upload_timeout,
            plane,
            pool: self.pool.clone(),
            trusted,
            reconnects: parts.method == Method::GET && relay::accepts_events(&parts.headers),
            path_dialect: dialect::recognise(DialectChoice::Auto, &parts.method, parts.uri.path()),
        };
        call.answer(parts, body, Box::new(record)).await
    }
}

/// What every step of one request may need.
struct Call {
    plane: Arc<Plane>,
    pool: Arc<Pool>,
    trusted: bool,
    upload_timeout: Duration,
    reconnects: bool,
    path_dialect: Dialect,
}

/// A request with its route and what had to be read to find it.
struct Routed {
    route: Arc<LiveRoute>,
    parts: Parts,
    body: Inbound,
    kept: Option<Bytes>,
    facts: Option<Facts>,
}

impl Call {
    async fn answer(
        self,
        parts: Parts,
        body: Incoming,
        record: Box<Record>,
    ) -> Result<Response<Body>, Aborted> {
        if let Some(preflight) = self.preflight(&parts).await {
            return Ok(self.answered(preflight, record));
        }
        let mut record = Some(record);
        match self.route(parts, body, &mut record).await {
            Ok(routed) => self.enter(routed, record).await,
            Err(stop) => self.stop(stop, self.path_dialect, record),
        }
    }

    /// The answer to a cross-origin preflight, if a route with rules of its own is meant.
    async fn preflight(&self, parts: &Parts) -> Option<Response<Body>> {
        let asked = cors::asked(&parts.method, &parts.headers)?;
        let route = self.plane.router.preflight(&head(parts), &asked).ok()??;
        let layer = self.plane.live(route)?.cors.clone()?;
        let mut request = Request::new(());
        *request.method_mut() = Method::OPTIONS;
        *request.headers_mut() = parts.headers.clone();
        let nothing = tower::service_fn(|_| async { Ok::<_, Infallible>(Response::<Body>::default()) });
        tower::Layer::layer(&layer, nothing).oneshot(request).await.ok()
    }

    /// Finds the route, reading the body only where its model decides.
    async fn route(
        &self,
        parts: Parts,
        body: Incoming,
        record: &mut Option<Box<Record>>,
    ) -> Result<Routed, Stop> {
        let head = head(&parts);
        let found = self.plane.router.find(&head).map_err(|bad| {
            Refusal::new(StatusCode::BAD_REQUEST, "bad_path", bad.to_string())
        });
        let candidates = match found {
            Ok(Found::Candidates(candidates)) => candidates,
            other => {
                let refusal = unrouted(other, &parts);
                self.drain(body, &parts).await;
                return Err(Some(refusal));
            }
        };
        let in_path = dialect::model_in_path(parts.uri.path());
        let mut facts = None;
        let mut kept = None;
        let mut body = Inbound::new(body, u64::MAX, self.upload_timeout);
        if candidates.needs_model() && in_path.is_none() {
            let bound = candidates.model_within() as u64;
            let whole = self.read(&mut body, bound, &parts).await?;
            facts = read_facts(&whole, &candidates)?;
            kept = Some(whole);
        }
        let in_body = facts.as_ref().and_then(|facts: &Facts| facts.model.as_ref());
        let model = in_body.map(|model| model.name.as_str()).or(in_path.as_deref());
        let route = candidates.pick(model).and_then(|route| self.plane.live(route));
        let Some(route) = route.cloned() else {
            return Err(Some(no_model(model)));
        };
        if let Some(record) = record {
            record.route = Some(route.config.name.clone());
            record.model = model.map(Into::into);
        }
        drop(candidates);
        body.limit(route.config.max_body);
        Ok(Routed { route, parts, body, kept, facts })
    }

    /// What happens on a route: cross-origin rules around everything else.
    async fn enter(
        self,
        routed: Routed,
        record: Option<Box<Record>>,
    ) -> Result<Response<Body>, Aborted> {
        // The layer would answer every OPTIONS itself, also one that is no preflight.
        let ruled = routed.parts.method != Method::OPTIONS;
        let Some(layer) = routed.route.cors.clone().filter(|_| ruled) else {
            return self.pass(routed, record).await;
        };
        let mut outline = Request::new(());
        *outline.method_mut() = routed.parts.method.clone();
        *outline.headers_mut() = routed.parts.headers.clone();
        let mut inner = Some((self, routed, record));
        let once = tower::service_fn(move |_: Request<()>| {
            let inner = inner.take();
            async move {
                match inner {
                    Some((call, routed, record)) => call.pass(routed, record).await,
                    None => Err(Aborted),
                }
            }
        });
        tower::Layer::layer(&layer, once).oneshot(outline).await
    }

    async fn pass(
        self,
        mut routed: Routed,
        mut record: Option<Box<Record>>,
    ) -> Result<Response<Body>, Aborted> {
        let parts = &routed.parts;
        let dialect =
            dialect::recognise(routed.route.config.dialect, &parts.method, parts.uri.path());
        let stop = match self.admit(&mut routed, &mut record).await {
            Ok(()) => {
                let Routed { route, parts, body, kept, facts } = routed;
                let pool = self.pool.clone();
                let order = Order { route, parts, body, kept, facts, dialect, pool };
                match relay::relay(order, &mut record).await {
                    Ok(response) => return Ok(response),
                    Err(stop) => stop,
                }
            }
            Err(refusal) => {
                let Routed { body, parts, .. } = routed;
                drain(body, &parts).await;
                Some(refusal)
            }
        };
        self.stop(stop, dialect, record)
    }

    /// Lets the caller in, sets the forwarding headers and reads a small body.
    async fn admit(
        &self,
        routed: &mut Routed,
        record: &mut Option<Box<Record>>,
    ) -> Result<(), Refusal> {
        let Some(record) = record else { return Ok(()) };
        let route = routed.route.config.clone();
        let headers = &mut routed.parts.headers;
        let principal = auth::authenticate(&route.allow, headers).map_err(|denied| {
            Refusal::new(StatusCode::UNAUTHORIZED, "not_authenticated", denied.to_string())
                .with(WWW_AUTHENTICATE, denied.challenge())
        })?;
        record.principal = principal.map(|principal| principal.name);
        routed.body.check_announced().map_err(|fault| Refusal::upload(&fault))?;
        let host = headers.get(HOST).cloned();
        let forwarding = Forwarding {
            peer: record.socket().peer().ip(),
            trusted: self.trusted,
            host: host.as_ref(),
            http_version: record.version(),
        };
        forwarding.apply(headers);
        self.keep(routed, record).await
    }

    /// Reads the body where it is small, or where the route has to know what it says.
    async fn keep(&self, routed: &mut Routed, record: &mut Record) -> Result<(), Refusal> {
        let route = &routed.route;
        let curious = route.config.early_head.is_some()
            || route.chain.iter().any(|entry| entry.model.is_some());
        if routed.kept.is_none() && !routed.body.is_over() {
            let small = routed.body.announced().is_some_and(|length| length <= KEPT_BODY);
            if !small && !curious {
                return Ok(());
            }
            let bound =
                if curious { (route.config.model_within as u64).min(route.config.max_body) } else { KEPT_BODY };
            let body = relay::collect(&mut routed.body, bound).await;
            routed.kept = Some(body.map_err(|fault| Refusal::upload(&fault))?);
        }
        if let (Some(body), true, None) = (&routed.kept, curious, &routed.facts) {
            routed.facts = match dialect::read_request(body) {
                Ok(facts) => Some(facts),
                Err(fault) if is_ambiguous(&fault) => return Err(bad_body(&fault)),
                Err(_) => None,
            };
            if let Some(model) = routed.facts.as_ref().and_then(|facts| facts.model.as_ref()) {
                record.model = Some(model.name.as_str().into());
            }
        }
        Ok(())
    }

    async fn read(&self, body: &mut Inbound, bound: u64, parts: &Parts) -> Result<Bytes, Stop> {
        match relay::collect(body, bound).await {
            Ok(whole) => Ok(whole),
            Err(fault) => {
                if !parts.headers.contains_key(EXPECT) {
                    body.drain(DRAIN.0, DRAIN.1).await;
                }
                Err(Some(Refusal::upload(&fault)))
            }
        }
    }

    async fn drain(&self, body: Incoming, parts: &Parts) {
        drain(Inbound::new(body, u64::MAX, self.upload_timeout), parts).await;
    }

    /// Tells the caller why the request goes no further.
    fn stop(
        &self,
        stop: Stop,
        dialect: Dialect,
        record: Option<Box<Record>>,
    ) -> Result<Response<Body>, Aborted> {
        match (stop, record) {
            (Some(refusal), Some(record)) => {
                Ok(refusal::answer(refusal, dialect, self.reconnects, record))
            }
            _ => Err(Aborted),
        }
    }

    /// An answer of our own that is not a refusal.
    fn answered(&self, response: Response<Body>, mut record: Box<Record>) -> Response<Body> {
        record.status = Some(response.status());
        record.outcome = relay::Outcome::Ended(dialect::Ending::Complete);
        let (parts, _) = response.into_parts();
        Response::from_parts(parts, Body::whole(Bytes::new(), record))
    }
}

fn head(parts: &Parts) -> Head<'_> {
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let header = || parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    Head {
        host: authority.or_else(header),
        method: &parts.method,
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
    }
}

/// A caller who still sends does not read: it is given the chance to come to an end. One who waits
/// for 100 Continue will not send at all.
async fn drain(body: Inbound, parts: &Parts) {
    if !body.is_over() && !parts.headers.contains_key(EXPECT) {
        let mut body = body;
        body.drain(DRAIN.0, DRAIN.1).await;
    }
}

fn unrouted(found: Result<Found<'_>, Refusal>, parts: &Parts) -> Refusal {
    match found {
        Err(refusal) => refusal,
        Ok(Found::MethodNotAllowed(methods)) => {
            let allowed: Vec<&str> = methods.iter().map(Method::as_str).collect();
            let message = format!(
                "{} is not served at {}; {} is",
                parts.method,
                parts.uri.path(),
                allowed.join(", ")
            );
            let refusal =
                Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
            match HeaderValue::try_from(allowed.join(", ")) {
                Ok(value) => refusal.with(ALLOW, value),
                Err(_) => refusal,
            }
        }
        Ok(_) => Refusal::new(
            StatusCode::NOT_FOUND,
            "no_route",
            format!("no route matches {} {}", parts.method, parts.uri.path()),
        ),
    }
}

/// What the body says, where a route is chosen by it. A body that is not JSON has no model, which
/// matters only if no route does without.
fn read_facts(body: &Bytes, candidates: &Candidates<'_>) -> Result<Option<Facts>, Stop> {
    match dialect::read_request(body) {
        Ok(facts) => Ok(Some(facts)),
        Err(fault) if is_ambiguous(&fault) || candidates.pick(None).is_none() => {
            Err(Some(bad_body(&fault)))
        }
        Err(_) => Ok(None),
    }
}

/// Whether two readers of the body could take it for two different requests.
fn is_ambiguous(fault: &BodyFault) -> bool {
    matches!(fault, BodyFault::Duplicate(_))
}

fn bad_body(fault: &BodyFault) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad_body", fault.to_string())
}

fn no_model(model: Option<&str>) -> Refusal {
    let message = match model {
        Some(model) => format!("no route serves the model `{model}`"),
        None => "the routes for this path ask for a `model`, and the request names none".to_owned(),
    };
    Refusal::new(StatusCode::NOT_FOUND, "no_route", message)
}
