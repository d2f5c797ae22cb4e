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
use http::header::{EXPECT, HOST, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use prometheus_client::metrics::gauge::Gauge;
use tower::{Layer, ServiceExt};
use tower_http::cors::CorsLayer;

use super::{acceptable, refusal};
use crate::config::{Allow, Dialect, DialectChoice};
use crate::delivery::Socket;
use crate::dialect::{self, BodyFault, Facts};
use crate::edge::added::Added;
use crate::edge::auth::{self, Denied, Principal};
use crate::edge::cors;
use crate::edge::forwarded::{self, Forwarding, Peer};
use crate::edge::trace::Trace;
use crate::metrics::Metrics;
use crate::relay::{
    self, Aborted, Body, Here, Inbound, LiveRoute, Order, Plane, Record, Refusal, Visit,
};
use crate::router::{Candidates, Found, Head};
use crate::upstream::{Pool, UploadFault};

/// Bodies up to this size are read before anything is sent, so that they can be sent again when a
/// kept connection turns out to be closed. In bytes.
const KEPT_BODY: u64 = 64 * 1024;
/// The longest name of a model, in bytes: it is told to callers and logged.
const LONGEST_MODEL: usize = 256;
/// How much of an unwanted body is read so that the caller gets to the answer, and for how long.
const DRAIN: (u64, Duration) = (1024 * 1024, Duration::from_secs(2));

/// One worker's view of the gateway.
#[derive(Debug)]
pub struct Gateway {
    plane: Arc<ArcSwap<Plane>>,
    pool: Arc<Pool>,
    here: Here,
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
    pub fn new(
        plane: Arc<ArcSwap<Plane>>,
        pool: Arc<Pool>,
        here: Here,
        metrics: Arc<Metrics>,
    ) -> Self {
        let server = plane.load().config.server.clone();
        let limits = Limits {
            max_head: server.max_head,
            head_timeout: server.head_timeout,
            keep_alive: server.keep_alive,
            watch: server.head_timeout.min(server.keep_alive),
        };
        Self {
            plane,
            pool,
            here,
            metrics,
            limits,
        }
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
    pub(super) fn handle(
        &self,
        (socket, peer): (Arc<Socket>, Arc<Peer>),
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, Aborted>> + Send + use<> {
        // What waits for nothing is done before there is a future: it would be moved along in it.
        let plane = self.plane.load_full();
        let (parts, body) = request.into_parts();
        let mut parts = Box::new(parts);
        let access_log = plane.config.log.access;
        let mut record = Record::open(self.metrics.clone(), socket, &parts, access_log);
        let address = record.socket().peer().ip();
        let trusted = forwarded::is_trusted(address, &plane.config.server.trusted_proxies);
        let trace = Trace::of(&mut parts.headers, trusted);
        record.request_id = trace.request_id.clone();
        record.trace_id = Some(trace.trace_id);
        let (host, refusal) = match acceptable::check(&mut parts) {
            Ok(host) => (host, None),
            Err(refusal) => (None, Some(Box::new(refusal))),
        };
        let call = Call {
            upload_timeout: plane.config.server.upload_timeout,
            plane,
            pool: self.pool.clone(),
            here: self.here.clone(),
            peer,
            host,
            trace,
            trusted,
            reconnects: parts.method == Method::GET && relay::accepts_events(&parts.headers),
        };
        async move {
            match refusal {
                None => call.answer(parts, body, record).await,
                Some(refusal) => call.stop(Some(*refusal), Dialect::Plain, Some(record)),
            }
        }
    }
}

/// What every step of one request may need.
struct Call {
    plane: Arc<Plane>,
    pool: Arc<Pool>,
    here: Here,
    peer: Arc<Peer>,
    /// The host it is meant for.
    host: Option<HeaderValue>,
    trace: Trace,
    trusted: bool,
    upload_timeout: Duration,
    reconnects: bool,
}

/// A route, and what had to be read to find it.
struct Picked {
    route: Arc<LiveRoute>,
    kept: Option<Bytes>,
    facts: Option<Facts>,
}

impl Call {
    async fn answer(
        &self,
        parts: Box<Parts>,
        body: Incoming,
        record: Box<Record>,
    ) -> Result<Response<Body>, Aborted> {
        // Rare ways are boxed here and below, so that the common one stays small: the whole future
        // is moved to the heap for every request.
        if let Some(asked) = cors::asked(&parts.method, &parts.headers)
            && let Some(answer) = Box::pin(self.preflight(&parts, &asked)).await
        {
            return Ok(answered(answer, record));
        }
        let mut record = Some(record);
        if let Some(id) = self.plane.stream_id(parts.uri.path()) {
            let visit = self.here.streams.visit(id);
            return Box::pin(self.visit(visit, parts, body, record)).await;
        }
        match self.route(parts, body, &mut record).await {
            Ok(order) => self.enter(order, record).await,
            Err((refusal, dialect)) => self.stop(Some(refusal), dialect, record),
        }
    }

    /// A request for a kept answer: the rules of the route it came by hold for it.
    async fn visit(
        &self,
        visit: Option<Visit>,
        parts: Box<Parts>,
        body: Incoming,
        mut record: Option<Box<Record>>,
    ) -> Result<Response<Body>, Aborted> {
        let Some(visit) = visit else {
            return self.stop(Some(Refusal::no_stream()), Dialect::Plain, record);
        };
        let route = visit.route().clone();
        if let Some(record) = &mut record {
            record.route = Some(route.config.name.clone());
        }
        let mut body = Inbound::new(body, u64::MAX, self.upload_timeout);
        body.limit(route.config.max_body);
        let order = Order {
            route,
            parts,
            added: Added::default(),
            body,
            kept: None,
            facts: None,
            dialect: Dialect::Plain,
            pool: self.pool.clone(),
            principal: None,
            visit: Some(visit),
        };
        self.enter(Box::new(order), record).await
    }

    /// The answer to a cross-origin preflight, if a route with rules of its own is meant.
    async fn preflight(&self, parts: &Parts, asked: &Method) -> Option<Response<Body>> {
        let visited = self.plane.stream_id(parts.uri.path());
        let layer = match visited.and_then(|id| self.here.streams.visit(id)) {
            Some(visit) => visit.route().cors.clone()?,
            None => {
                let route = self
                    .plane
                    .router
                    .preflight(&self.head(parts), asked)
                    .ok()??;
                self.plane.live(route)?.cors.clone()?
            }
        };
        let mut request = Request::new(());
        *request.method_mut() = Method::OPTIONS;
        *request.headers_mut() = parts.headers.clone();
        let nothing =
            tower::service_fn(|_| async { Ok::<_, Infallible>(Response::<Body>::default()) });
        layer.layer(nothing).oneshot(request).await.ok()
    }

    /// Finds the route. What goes wrong before there is one is told in the dialect of the path.
    async fn route(
        &self,
        parts: Box<Parts>,
        body: Incoming,
        record: &mut Option<Box<Record>>,
    ) -> Result<Box<Order>, (Refusal, Dialect)> {
        let mut body = Inbound::new(body, u64::MAX, self.upload_timeout);
        match self.pick(&parts, &mut body, record).await {
            Ok(Picked { route, kept, facts }) => {
                body.limit(route.config.max_body);
                let dialect =
                    dialect::recognise(route.config.dialect, &parts.method, parts.uri.path());
                let pool = self.pool.clone();
                Ok(Box::new(Order {
                    route,
                    parts,
                    added: Added::default(),
                    body,
                    kept,
                    facts,
                    dialect,
                    pool,
                    principal: None,
                    visit: None,
                }))
            }
            Err(refusal) => {
                Box::pin(drain_inbound(&mut body, &parts)).await;
                let auto = DialectChoice::Auto;
                Err((
                    refusal,
                    dialect::recognise(auto, &parts.method, parts.uri.path()),
                ))
            }
        }
    }

    /// What the router looks at; the host only where some route does.
    fn head<'p>(&self, parts: &'p Parts) -> Head<'p> {
        let authority = parts.uri.authority().map(http::uri::Authority::as_str);
        let header = || parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let by_host = self.plane.router.is_by_host();
        Head {
            host: by_host.then(|| authority.or_else(header)).flatten(),
            method: &parts.method,
            path: parts.uri.path(),
            query: parts.uri.query(),
            headers: &parts.headers,
        }
    }

    /// Picks the route, reading the body only where its model decides.
    async fn pick(
        &self,
        parts: &Parts,
        body: &mut Inbound,
        record: &mut Option<Box<Record>>,
    ) -> Result<Picked, Refusal> {
        let found =
            self.plane.router.find(&self.head(parts)).map_err(|bad| {
                Refusal::new(StatusCode::BAD_REQUEST, "bad_path", bad.to_string())
            })?;
        let candidates = match found {
            Found::Candidates(candidates) => candidates,
            other => return Err(refusal::unrouted(&other, parts)),
        };
        let mut in_path = None;
        let mut facts = None;
        let mut kept = None;
        if candidates.needs_model() {
            in_path = dialect::model_in_path(parts.uri.path());
            if in_path.is_none() {
                admits_any(&candidates, parts)?;
                let bound = candidates.model_within() as u64;
                let whole = Box::pin(relay::collect(body, bound)).await;
                let whole = whole.map_err(|fault| Refusal::upload(&fault))?;
                facts = read_facts(&whole, &candidates)?;
                kept = Some(whole);
            }
        }
        if let Some(model) = facts.as_ref().and_then(|facts| facts.model.as_ref())
            && model.name.len() > LONGEST_MODEL
        {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "bad_body",
                format!("`model` is longer than {LONGEST_MODEL} bytes"),
            ));
        }
        let in_body = facts
            .as_ref()
            .and_then(|facts: &Facts| facts.model.as_ref());
        let model = in_body
            .map(|model| model.name.as_str())
            .or(in_path.as_deref());
        let route = candidates
            .pick(model)
            .and_then(|route| self.plane.live(route));
        let route = route.cloned().ok_or_else(|| refusal::no_model(model))?;
        if let Some(record) = record {
            record.route = Some(route.config.name.clone());
            record.model = model.map(Into::into);
        }
        Ok(Picked { route, kept, facts })
    }

    /// What happens on a route: cross-origin rules around everything else.
    async fn enter(
        &self,
        order: Box<Order>,
        record: Option<Box<Record>>,
    ) -> Result<Response<Body>, Aborted> {
        // The layer would answer every OPTIONS itself, also one that is no preflight.
        let ruled = order.parts.method != Method::OPTIONS;
        match order.route.cors.clone().filter(|_| ruled) {
            None => self.pass(order, record).await,
            Some(layer) => Box::pin(self.pass_ruled(layer, order, record)).await,
        }
    }

    async fn pass_ruled(
        &self,
        layer: CorsLayer,
        order: Box<Order>,
        record: Option<Box<Record>>,
    ) -> Result<Response<Body>, Aborted> {
        let mut outline = Request::new(());
        *outline.method_mut() = order.parts.method.clone();
        *outline.headers_mut() = order.parts.headers.clone();
        let mut inner = Some((order, record));
        let once = tower::service_fn(move |_: Request<()>| {
            let inner = inner.take();
            async move {
                match inner {
                    Some((order, record)) => self.pass(order, record).await,
                    None => Err(Aborted),
                }
            }
        });
        layer.layer(once).oneshot(outline).await
    }

    async fn pass(
        &self,
        mut order: Box<Order>,
        mut record: Option<Box<Record>>,
    ) -> Result<Response<Body>, Aborted> {
        let dialect = order.dialect;
        let stop = match self.admit(&mut order, &mut record).await {
            Ok(()) => match relay::relay(order, &self.here, &mut record).await {
                Ok(response) => return Ok(response),
                Err(stop) => stop,
            },
            Err(refusal) => {
                Box::pin(drain(order)).await;
                Some(refusal)
            }
        };
        self.stop(stop, dialect, record)
    }

    /// Lets the caller in, sets the forwarding headers and reads a small body.
    async fn admit(
        &self,
        order: &mut Order,
        record: &mut Option<Box<Record>>,
    ) -> Result<(), Refusal> {
        let Some(record) = record else { return Ok(()) };
        let route = order.route.config.clone();
        let principal = match order.visit.is_some() {
            true => visitor(order)?,
            false => auth::authenticate(&route.allow, &route.credentials_in, &mut order.parts)
                .map_err(unauthenticated)?,
        };
        record.principal = principal.as_ref().map(Principal::shown);
        order.principal = principal;
        let headers = &mut order.parts.headers;
        order
            .body
            .check_announced()
            .map_err(|fault| Refusal::upload(&fault))?;
        // What was read for the model's sake was bounded by another limit.
        let read = order.kept.as_ref().map_or(0, Bytes::len) as u64;
        if read > route.max_body {
            return Err(Refusal::upload(&UploadFault::TooLarge(route.max_body)));
        }
        let forwarding = Forwarding {
            peer: &self.peer,
            trusted: self.trusted,
            host: self.host.as_ref(),
            http_version: record.version(),
        };
        self.trace.add(&mut order.added);
        forwarding.apply(headers, &mut order.added);
        keep(order, record).await
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
}

/// An answer of our own that is not a refusal.
fn answered(response: Response<Body>, mut record: Box<Record>) -> Response<Body> {
    record.status = Some(response.status());
    record.outcome = relay::Outcome::Ended(dialect::Ending::Complete);
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, Body::whole(Bytes::new(), record))
}

/// Reads the body where it is small, or where the route has to know what it says.
async fn keep(order: &mut Order, record: &mut Record) -> Result<(), Refusal> {
    let route = &order.route;
    let curious = route.config.early_head.is_some()
        || route.config.resume.is_some()
        || route.chain.iter().any(|entry| entry.model.is_some());
    if order.kept.is_none() && !order.body.is_over() {
        let again = route
            .config
            .retry
            .filter(|_| order.dialect != Dialect::Plain);
        let kept = again.map_or(KEPT_BODY, |retry| retry.body.max(KEPT_BODY));
        let small = order.body.announced().is_some_and(|length| length <= kept);
        if !small && !curious {
            return Ok(());
        }
        let bound = if curious {
            (route.config.model_within as u64).min(route.config.max_body)
        } else {
            kept
        };
        let body = relay::collect(&mut order.body, bound).await;
        order.kept = Some(body.map_err(|fault| Refusal::upload(&fault))?);
    }
    if let (Some(body), true, None) = (&order.kept, curious, &order.facts) {
        order.facts = match dialect::read_request(body) {
            Ok(facts) => Some(facts),
            Err(fault) if is_ambiguous(&fault) => return Err(bad_body(&fault)),
            Err(_) => None,
        };
        if let Some(model) = order.facts.as_ref().and_then(|facts| facts.model.as_ref()) {
            record.model = Some(model.name.as_str().into());
        }
    }
    Ok(())
}

async fn drain(mut order: Box<Order>) {
    let Order { body, parts, .. } = &mut *order;
    drain_inbound(body, parts).await;
}

/// A caller who still sends does not read: it is given the chance to come to an end. One who waits
/// for 100 Continue will not send at all.
async fn drain_inbound(body: &mut Inbound, parts: &Parts) {
    if !body.is_over() && !parts.headers.contains_key(EXPECT) {
        body.drain(DRAIN.0, DRAIN.1).await;
    }
}

/// Who asks for a kept answer: somebody whom its route lets in, or who may watch the answers of others there.
/// Whoever is neither learns nothing, not even that there is such an answer.
fn visitor(order: &mut Order) -> Result<Option<Principal>, Refusal> {
    let route = order.route.config.clone();
    let places = &route.credentials_in;
    if let (Some(visit), Some(resume)) = (&mut order.visit, &route.resume)
        && matches!(resume.watch, Allow::Callers(..))
        && auth::admits(&resume.watch, places, &order.parts).is_ok()
    {
        visit.watches = true;
        return auth::authenticate(&resume.watch, places, &mut order.parts)
            .map_err(unauthenticated);
    }
    auth::authenticate(&route.allow, places, &mut order.parts).map_err(|_| Refusal::no_stream())
}

/// Refuses a caller whom none of the routes would let in, before its body is held.
fn admits_any(candidates: &Candidates<'_>, parts: &Parts) -> Result<(), Refusal> {
    let mut denied = None;
    for route in candidates.routes() {
        match auth::admits(&route.allow, &route.credentials_in, parts) {
            Ok(_) => return Ok(()),
            Err(why) => denied = Some(why),
        }
    }
    denied.map_or(Ok(()), |denied| Err(unauthenticated(denied)))
}

fn unauthenticated(denied: Denied) -> Refusal {
    let message = denied.to_string();
    Refusal::new(StatusCode::UNAUTHORIZED, "not_authenticated", message)
        .with(WWW_AUTHENTICATE, denied.challenge())
}

/// What the body says, where a route is chosen by it. A body that is not JSON has no model, which
/// matters only if no route does without.
fn read_facts(body: &Bytes, candidates: &Candidates<'_>) -> Result<Option<Facts>, Refusal> {
    match dialect::read_request(body) {
        Ok(facts) => Ok(Some(facts)),
        Err(fault) if is_ambiguous(&fault) || candidates.pick(None).is_none() => {
            Err(bad_body(&fault))
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
