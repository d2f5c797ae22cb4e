//! From a routed request to the head of its answer.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, sleep, timeout_at};

use super::attempts::Question;
use super::body::Body;
use super::context::{Context, Reached};
use super::early;
use super::generation::Visit;
use super::outgoing::accepts_events;
use super::plane::LiveRoute;
use super::record::Record;
use super::refusal::Refusal;
use super::streams::Here;
use super::upload::Inbound;
use super::{answer, attempts, feed, generation, topic, tunnel};
use crate::config::{Clocks, Dialect, ResolvedClocks};
use crate::delivery::Socket;
use crate::dialect::Facts;
use crate::edge::added::Added;
use crate::edge::auth::Principal;
use crate::edge::hop::{self, Hop};
use crate::upstream::Pool;

/// A request that is to be relayed: routed, let in, its forwarding headers set.
pub struct Order {
    /// Its route.
    pub route: Arc<LiveRoute>,
    /// Its head. Boxed: it is handed through many hands.
    pub parts: Box<Parts>,
    /// What we add to it on the way to an upstream.
    pub added: Added,
    /// Its body, as far as it was not read yet.
    pub body: Inbound,
    /// Its body, if it was read already.
    pub kept: Option<Bytes>,
    /// What was found in that body.
    pub facts: Option<Facts>,
    /// The model API it speaks.
    pub dialect: Dialect,
    /// The worker's connections.
    pub pool: Arc<Pool>,
    /// Who is calling, where that is known.
    pub principal: Option<Principal>,
    /// The kept answer that is asked for by its id.
    pub visit: Option<Visit>,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order")
            .field("route", &self.route.config.name)
            .finish_non_exhaustive()
    }
}

/// Relays `order`. On the way out `record` is part of the answer's body, or still with the caller.
///
/// # Errors
///
/// A [`Refusal`] when no endpoint gave an answer, or `None` when the client has left meanwhile.
pub async fn relay(
    mut order: Box<Order>,
    here: &Here,
    record: &mut Option<Box<Record>>,
) -> Result<Response<Body>, Option<Refusal>> {
    let route = order.route.config.clone();
    let is_shared = order.visit.is_some()
        || route.publish.is_some()
        || !route.subscribe.is_empty()
        || route.share.is_some()
        || route.resume.is_some();
    if is_shared {
        // Whoever asks for others than its caller looks at all fields.
        order.added.join(&mut order.parts.headers);
    }
    // Boxed: what most requests do not take must not make their future larger.
    if let Some(visit) = order.visit.take() {
        return Box::pin(generation::serve(order, visit, here, record)).await;
    }
    if route.publish.is_some() || !route.subscribe.is_empty() {
        return Box::pin(topic::serve(order, here, record)).await;
    }
    if let Some(share) = &route.share
        && order.parts.method == Method::GET
    {
        return Box::pin(feed::join(order, share, here, record)).await;
    }
    if let Some(resume) = &route.resume
        && is_kept(&order, wants_events(&order))
    {
        return Box::pin(generation::open(order, resume, here, record)).await;
    }
    relay_directly(order, record).await
}

/// Whether the answer to `order` is to be kept: a question whose answer is a stream.
fn is_kept(order: &Order, events: bool) -> bool {
    let stream = order.facts.as_ref().and_then(|facts| facts.stream);
    let streams = match order.dialect {
        // Streams unless told otherwise.
        Dialect::Ollama => stream != Some(false),
        Dialect::Gemini => order.parts.uri.path().ends_with("streamGenerateContent"),
        _ => events && stream != Some(false),
    };
    order.route.config.resume.is_some()
        && order.parts.method == Method::POST
        && streams
        && order.kept.is_some()
}

/// Ends when the head of the event stream that `order` asks for is to be sent, whatever the upstream does; never where
/// the route does not want that.
pub(super) fn early_head(order: &Order) -> impl Future<Output = ()> + Send + use<> {
    // Only an event stream can be promised.
    let early = order.route.config.early_head;
    let after = early.filter(|_| wants_events(order) && order.dialect != Dialect::Ollama);
    async move {
        match after {
            Some(after) => sleep(after).await,
            None => std::future::pending().await,
        }
    }
}

/// Whether an event stream is asked for.
fn wants_events(order: &Order) -> bool {
    accepts_events(&order.parts.headers)
        || order
            .facts
            .as_ref()
            .is_some_and(|facts| facts.stream == Some(true))
}

/// Relays `order` to its caller alone.
///
/// # Errors
///
/// As [`relay`].
pub(super) async fn relay_directly(
    mut order: Box<Order>,
    record: &mut Option<Box<Record>>,
) -> Result<Response<Body>, Option<Refusal>> {
    let Some(open) = record.as_mut() else {
        return Err(None);
    };
    let socket = open.socket().clone();
    let started = open.started();
    if order.route.chain.is_empty() {
        return Err(Some(Refusal::no_upstream()));
    }
    open.enter(&order.route, 0);
    let clocks = clocks_of(&order.route, 0, order.dialect);
    socket.limit_stall(clocks.stall);
    if let Some(limit) = clocks.total {
        socket.limit_total((started + limit).into_std());
    }
    if !order.body.is_over() {
        socket.linger_at_close();
    }
    let events = wants_events(&order);
    let total = clocks.total.map(|limit| (started, limit));
    let early = order.route.config.early_head.filter(|_| events);
    let hop = hop::strip_request(&mut order.parts.headers);
    // Only who asked for another protocol can be switched to it.
    let upgrade = order.parts.extensions.remove::<OnUpgrade>();
    let context = Context {
        route: order.route.clone(),
        dialect: order.dialect,
        method: order.parts.method.clone(),
        takes_trailers: hop.te_trailers,
        upgrade: hop.upgrade.clone().zip(upgrade),
    };
    let reached = match early {
        None => tokio::select! {
            biased;
            reached = ask_within(order, hop, events, total) => match reached {
                Ok(reached) => reached,
                // A client that broke off its upload has left, and gets no refusal.
                Err(_) if socket.is_hung_up() => return Err(None),
                Err(refusal) => return Err(Some(refusal)),
            },
            () = gone(&socket) => return Err(None),
            () = stopped(&socket) => return Err(Some(Refusal::stopping())),
        },
        Some(after) => {
            let mut asking = Box::pin(ask_within(order, hop, events, total));
            tokio::select! {
                biased;
                reached = &mut asking => match reached {
                    Ok(reached) => reached,
                    Err(_) if socket.is_hung_up() => return Err(None),
                    Err(refusal) => return Err(Some(refusal)),
                },
                () = gone(&socket) => return Err(None),
                () = stopped(&socket) => return Err(Some(Refusal::stopping())),
                () = sleep(after) => {
                    let record = record.take().ok_or(None)?;
                    return Ok(early::answer(context, &clocks, asking, record));
                }
            }
        }
    };
    if reached.asked.answer.head.status == StatusCode::SWITCHING_PROTOCOLS {
        return tunnel::answer(context, reached, record).map_err(Some);
    }
    let record = record.take().ok_or(None)?;
    Ok(answer::answer(context, reached, record).await)
}

/// Ends when the client has closed. Its connection waits for that, and is polled then, and this with it.
async fn gone(socket: &Socket) {
    poll_fn(|_| {
        if socket.is_hung_up() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Ends when the process does not wait for answers any more. Whoever sets the flag has the connection
/// polled, and this with it.
pub(super) async fn stopped(socket: &Socket) {
    poll_fn(|_| {
        if socket.is_stopping() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Waits for `what`, unless the client leaves or the process ends first.
///
/// # Errors
///
/// `None` when the client has left, a [`Refusal`] when the process ends.
pub(super) async fn unless_gone<T>(
    socket: &Arc<Socket>,
    what: impl Future<Output = T>,
) -> Result<T, Option<Refusal>> {
    tokio::select! {
        biased;
        done = what => Ok(done),
        () = socket.clone().hung_up() => Err(None),
        () = stopped(socket) => Err(Some(Refusal::stopping())),
    }
}

/// Asks on behalf of nobody in particular, for an answer that is not compressed.
pub(super) async fn ask_for_many(order: Box<Order>) -> Result<Box<Reached>, Refusal> {
    let route = order.route.clone();
    stayed(ask(order, Hop::default(), true).await?, &route)
}

/// The answer, unless the upstream switched protocols: nobody can have asked for that where many read.
fn stayed(reached: Box<Reached>, route: &LiveRoute) -> Result<Box<Reached>, Refusal> {
    if reached.asked.answer.head.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(reached);
    }
    let upstream = &route.chain[reached.entry].upstream.name;
    Err(Refusal::switched(&reached.asked.endpoint.name, upstream))
}

/// Asks on behalf of a kept answer, within `total` from when it was asked for.
pub(super) async fn ask_within_total(
    mut order: Box<Order>,
    total: Option<(Instant, Duration)>,
) -> Result<Box<Reached>, Refusal> {
    let mut hop = hop::strip_request(&mut order.parts.headers);
    hop.upgrade = None;
    let route = order.route.clone();
    stayed(ask_within(order, hop, true, total).await?, &route)
}

async fn ask_within(
    order: Box<Order>,
    hop: Hop,
    events: bool,
    total: Option<(Instant, Duration)>,
) -> Result<Box<Reached>, Refusal> {
    let Some((started, limit)) = total else {
        return ask(order, hop, events).await;
    };
    match timeout_at(started + limit, Box::pin(ask(order, hop, events))).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let message = format!("no answer came within {limit:?}");
            Err(Refusal::timed_out("total_timeout", message))
        }
    }
}

/// The clocks of the route's entry `index`.
pub(super) fn clocks_of(route: &LiveRoute, index: usize, dialect: Dialect) -> ResolvedClocks {
    // A topic has no upstream: the route's own clocks are all there are.
    match route.chain.get(index) {
        Some(entry) => entry.clocks[usize::from(dialect != Dialect::Plain)],
        None => Clocks::resolve(&route.config.clocks, &Clocks::default(), dialect),
    }
}

/// Gets an answer from the entries of the chain.
async fn ask(order: Box<Order>, hop: Hop, events: bool) -> Result<Box<Reached>, Refusal> {
    let (question, upload) = Question::of(order, hop, events);
    // Boxed: a connection that rests, or streams, keeps no room for it.
    Box::pin(attempts::ask(question, upload)).await
}
