//! Kept answers: a streamed answer that survives its connection, under a name of its own.
//!
//! The upstream is asked by a task that belongs to the answer, not to whoever asked first. Everybody reads the
//! same log: the first caller, one who comes back, the same request sent again, and those who may watch.

mod source;
mod visit;

use std::sync::Arc;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, LINK};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

pub use visit::Visit;
pub(super) use visit::serve;

use super::answer;
use super::body::Body;
use super::context::{Context, Reached};
use super::fingerprint::{self, Digest};
use super::order::{self, Order};
use super::plane::LiveRoute;
use super::record::{Answerer, Record};
use super::refusal::Refusal;
use super::streams::Here;
use super::watch::{self as delivering, Offer, Reading};
use crate::config::{Dialect, Ids, Resume, Slow, Start};
use crate::delivery::Encoding;
use crate::dialect::BodyKind;
use crate::edge::auth;
use crate::hub::{End, From, Stream, StreamRules, Subscription};

/// The id of a kept answer, in the answer's head.
pub(super) const DELTAWAY_STREAM: HeaderName = HeaderName::from_static("deltaway-stream");
/// Names a request that is sent again (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Most keys of one answer; a request with a further one reads it, and that key is not remembered.
const MOST_KEYS: usize = 64;

/// An id nobody guesses: from the system's own source of chance, since an id may be all that protects an answer.
fn new_id() -> StreamId {
    let mut bits = [0; 16];
    if getrandom::fill(&mut bits).is_err() {
        // No system without it runs this program; a worse id is better than none.
        fastrand::fill(&mut bits);
    }
    format!("{:032x}", u128::from_be_bytes(bits)).into()
}

/// All kept answers.
#[derive(Debug, Default)]
pub(super) struct Generations {
    by_id: DashMap<StreamId, Arc<Generation>>,
    /// By the key their callers gave them, and by what was asked for while they run.
    by_key: DashMap<Digest, Arc<Generation>>,
}

/// 128 bits by chance, as 32 hexadecimal digits: nobody guesses one.
type StreamId = Arc<str>;

/// What is known of the upstream's answer.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// It has not come yet.
    Opening,
    /// It is a stream, with these fields.
    Live(Arc<HeaderMap>, BodyKind),
    /// It is something else, and was given to whoever asked first.
    Passed,
}

/// A kept answer.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) id: StreamId,
    pub(super) stream: Arc<Stream>,
    pub(super) route: Arc<LiveRoute>,
    pub(super) dialect: Dialect,
    /// Who asked; none where callers have nothing to be told apart by.
    owner: Option<Digest>,
    /// What was asked.
    asked: Digest,
    /// What identical requests find it by while it runs.
    in_flight: Digest,
    /// The keys it is found by.
    keys: Mutex<Vec<Digest>>,
    pub(super) state: watch::Sender<State>,
    /// Told when its owner wants no more of it.
    pub(super) stop: watch::Sender<bool>,
    /// Who answers.
    pub(super) answerer: Arc<Answerer>,
    /// When it ended.
    ended: Mutex<Option<Instant>>,
}

impl Generation {
    /// Notes who answers.
    pub(super) fn answered_by(&self, entry: usize, endpoint: Arc<str>) {
        *self
            .answerer
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some((entry, endpoint));
    }

    /// Notes that nothing more will come.
    pub(super) fn ended(&self, end: End) {
        self.stream.close(end);
        *self
            .ended
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
    }

    fn keys(&self) -> MutexGuard<'_, Vec<Digest>> {
        self.keys
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What its body is; an event stream while that is not known.
    fn kind(&self) -> BodyKind {
        match *self.state.borrow() {
            State::Live(_, kind) => kind,
            State::Opening | State::Passed => BodyKind::Sse,
        }
    }

    fn age_after_end(&self) -> Option<Duration> {
        let ended = *self
            .ended
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        ended.map(|at| at.elapsed())
    }

    fn keep(&self) -> Duration {
        self.route
            .config
            .resume
            .as_ref()
            .map_or(Duration::ZERO, |resume| resume.keep)
    }

    /// Whether a caller may read it.
    fn is_open_to(&self, caller: Option<Digest>, watches: bool) -> bool {
        self.owner.is_none() || self.owner == caller || watches
    }
}

impl Generations {
    /// Forgets what was kept long enough.
    pub(super) fn sweep(&self) {
        let known: Vec<_> = self
            .by_id
            .iter()
            .map(|entry| entry.value().clone())
            .collect();
        for generation in known {
            generation.stream.evict_old();
            if generation
                .age_after_end()
                .is_some_and(|age| age > generation.keep())
            {
                self.forget(&generation);
            }
        }
    }

    pub(super) fn forget(&self, generation: &Arc<Generation>) {
        self.by_id.remove(&generation.id);
        self.forget_keys(generation);
    }

    /// Who asks for it anew is answered anew.
    pub(super) fn forget_keys(&self, generation: &Arc<Generation>) {
        let keys = std::mem::take(&mut *generation.keys());
        for key in keys {
            self.by_key
                .remove_if(&key, |_, known| Arc::ptr_eq(known, generation));
        }
    }

    /// The answer that is found by `key`.
    fn known(&self, key: &Digest) -> Option<Arc<Generation>> {
        self.by_key.get(key).map(|known| known.value().clone())
    }

    /// Has `generation` found by `key` too.
    fn name(&self, generation: &Arc<Generation>, key: Option<Digest>) {
        let Some(key) = key else { return };
        let mut keys = generation.keys();
        if keys.len() == MOST_KEYS {
            return;
        }
        keys.push(key);
        drop(keys);
        self.by_key.insert(key, generation.clone());
        if !self.by_id.contains_key(&generation.id) {
            // It was forgotten meanwhile, perhaps before it had this key.
            self.by_key
                .remove_if(&key, |_, known| Arc::ptr_eq(known, generation));
        }
    }

    /// What is identical to it is asked anew from now on.
    pub(super) fn no_longer_in_flight(&self, generation: &Arc<Generation>) {
        self.by_key.remove_if(&generation.in_flight, |_, known| {
            Arc::ptr_eq(known, generation)
        });
    }

    /// Forgets the answer that ended longest ago and that nobody reads; whether there was one.
    pub(super) fn make_room(&self) -> bool {
        let oldest = self
            .by_id
            .iter()
            .filter(|entry| entry.stream.readers() == 0)
            .filter_map(|entry| Some((entry.age_after_end()?, entry.value().clone())))
            .max_by_key(|(age, _)| *age);
        oldest
            .map(|(_, generation)| self.forget(&generation))
            .is_some()
    }

    /// The answer called `id`, if the caller may read it.
    fn find(&self, id: &str) -> Option<Arc<Generation>> {
        self.by_id.get(id).map(|entry| entry.value().clone())
    }
}

/// How a request comes by its answer.
enum Found {
    /// By reading one that is there.
    Known(Arc<Generation>, Subscription),
    /// By one that was opened for it.
    Opened(
        Arc<Generation>,
        Subscription,
        oneshot::Receiver<Result<Box<Reached>, Refusal>>,
    ),
    /// There is no place for another kept answer: it is relayed and not kept.
    Unkept(Box<Order>),
}

/// Answers `order` with a kept answer: a new one, or the one that is there for the same request.
///
/// # Errors
///
/// A [`Refusal`], or `None` when the client has left meanwhile.
pub(super) async fn open(
    mut order: Box<Order>,
    resume: &Resume,
    here: &Here,
    record: &mut Option<Box<Record>>,
) -> Result<Response<Body>, Option<Refusal>> {
    let Some(open) = record.as_mut() else {
        return Err(None);
    };
    open.enter(&order.route, 0);
    let socket = open.socket().clone();
    socket.limit_stall(order::clocks_of(&order.route, 0, order.dialect).stall);
    let early = order::early_head(&order);
    let mut context = Context::of(&mut order);
    let found = find_or_open(order, resume, here).map_err(Some)?;
    let (generation, subscription, mut arrival) = match found {
        Found::Known(generation, subscription) => (generation, subscription, None),
        Found::Opened(generation, subscription, arrival) => {
            (generation, subscription, Some(arrival))
        }
        Found::Unkept(order) => return order::relay_directly(order, record).await,
    };
    note(record, &generation);
    let mut state = generation.state.subscribe();
    let answered = async {
        let state = state
            .wait_for(|state| !matches!(state, State::Opening))
            .await;
        state.map(|state| state.clone())
    };
    let state = tokio::select! {
        biased;
        state = order::unless_gone(&socket, answered) => state?,
        () = early => {
            // Whatever comes is told in the stream from now on.
            arrival = None;
            Ok(State::Live(Arc::default(), BodyKind::Sse))
        }
    };
    match (state, arrival) {
        (Ok(State::Live(headers, kind)), _) => {
            let offer = offer(&generation, &headers, (kind, context.dialect), here);
            context.upgrade = None;
            let reading = Reading::plain(From::Count(0));
            delivering::deliver(context, subscription, reading, offer, record).await
        }
        (Ok(State::Passed), Some(arrival)) => match arrival.await {
            Ok(Ok(reached)) => {
                let record = record.take().ok_or(None)?;
                Ok(answer::answer(context, reached, record).await)
            }
            Ok(Err(refusal)) => Err(Some(refusal)),
            Err(_) => Err(Some(Refusal::internal())),
        },
        // What the first caller got was no stream, and its alone.
        (Ok(State::Passed), None) => Err(Some(Refusal::not_shared())),
        (Ok(State::Opening) | Err(_), _) => Err(Some(Refusal::internal())),
    }
}

fn note(record: &mut Option<Box<Record>>, generation: &Generation) {
    if let Some(record) = record {
        record.stream = Some(generation.id.clone());
        record.answerer = Some(generation.answerer.clone());
    }
}

fn find_or_open(mut order: Box<Order>, resume: &Resume, here: &Here) -> Result<Found, Refusal> {
    let generations = &here.streams.generations;
    let owner = auth::identity(order.principal.as_ref(), &order.parts.headers);
    let asked = fingerprint::asked(&order);
    let asker = fingerprint::asker(owner.as_ref(), &order.parts.headers);
    let in_flight = fingerprint::in_flight(&asked, asker.as_ref());
    let shown = order.parts.headers.remove(IDEMPOTENCY_KEY);
    let named = shown
        .as_ref()
        .map(|key| fingerprint::named(&order.route.config.name, asker.as_ref(), key.as_bytes()));
    let shared = (resume.dedupe && owner.is_some()).then_some(in_flight);
    let asking = Asking {
        owner,
        asked,
        in_flight,
    };
    if let Some(known) = named.and_then(|key| generations.known(&key)) {
        return asking.attach(known, here);
    }
    if let Some(known) = shared.and_then(|key| generations.known(&key)) {
        // Perhaps by another name than the one it is under way by.
        generations.name(&known, named);
        return asking.attach(known, here);
    }
    // Before any place is held: making room takes places of others.
    let Some(stream) = place(resume, here) else {
        order
            .parts
            .headers
            .extend(shown.map(|key| (IDEMPOTENCY_KEY, key)));
        return Ok(Found::Unkept(order));
    };
    let begun = asking.begin(stream, &order, here);
    let generation = begun.0.clone();
    if let Some(first) = shared.or(named) {
        // The place is held while it is filled, so that of two that come at once only one asks.
        match generations.by_key.entry(first) {
            Entry::Occupied(known) => return asking.attach(known.get().clone(), here),
            Entry::Vacant(vacant) => {
                generation.keys().push(first);
                generations
                    .by_id
                    .insert(generation.id.clone(), generation.clone());
                vacant.insert(generation.clone());
            }
        }
        generations.name(&generation, named.filter(|key| *key != first));
    } else {
        generations.by_id.insert(generation.id.clone(), generation);
    }
    Ok(start(begun, order, resume, here))
}

/// A place in the hub for one more answer, perhaps that of one that ended and that nobody reads.
fn place(resume: &Resume, here: &Here) -> Option<Arc<Stream>> {
    let rules = StreamRules {
        history: resume.history,
        slow: Slow::Skip,
        start: Start::Oldest,
        ids: Ids::Gateway,
    };
    here.streams.open(rules).ok()
}

/// Who asks, and what.
#[derive(Clone, Copy)]
struct Asking {
    owner: Option<Digest>,
    asked: Digest,
    in_flight: Digest,
}

impl Asking {
    /// Reads an answer that is there.
    fn attach(self, known: Arc<Generation>, here: &Here) -> Result<Found, Refusal> {
        if known.asked != self.asked {
            return Err(Refusal::key_reused());
        }
        let subscription = known.stream.subscribe(here.worker, &From::Count(0));
        Ok(Found::Known(known, subscription))
    }

    /// Opens an answer. Nothing is asked yet: what is found by no key can still be let go.
    fn begin(
        self,
        stream: Arc<Stream>,
        order: &Order,
        here: &Here,
    ) -> (Arc<Generation>, Subscription) {
        let generation = Arc::new(Generation {
            id: new_id(),
            stream,
            route: order.route.clone(),
            dialect: order.dialect,
            owner: self.owner,
            asked: self.asked,
            in_flight: self.in_flight,
            keys: Mutex::default(),
            state: watch::Sender::new(State::Opening),
            stop: watch::Sender::new(false),
            answerer: Arc::default(),
            ended: Mutex::new(None),
        });
        // Before the source begins, or it would find nobody there.
        let subscription = generation.stream.subscribe(here.worker, &From::Count(0));
        (generation, subscription)
    }
}

/// Has the source of a new answer ask for it. Its keys are set: the source may forget them at once.
fn start(
    (generation, subscription): (Arc<Generation>, Subscription),
    order: Box<Order>,
    resume: &Resume,
    here: &Here,
) -> Found {
    let (give, arrival) = oneshot::channel();
    tokio::spawn(source::run(
        generation.clone(),
        order,
        resume.on_leave,
        here.streams.clone(),
        give,
    ));
    Found::Opened(generation, subscription, arrival)
}

/// What the caller of a kept answer gets along with its events.
fn offer(
    generation: &Generation,
    headers: &HeaderMap,
    (kind, dialect): (BodyKind, Dialect),
    here: &Here,
) -> Offer {
    let mut headers = headers.clone();
    name_stream(&mut headers, generation);
    let encoding = match (kind, dialect) {
        (BodyKind::Ndjson, _) => Encoding::Data,
        // Its SDK reads no line but `data`.
        (_, Dialect::Gemini) => Encoding::SsePlain,
        _ => Encoding::Sse,
    };
    Offer {
        greeting: None,
        until: None,
        speaks: Some((dialect, kind)),
        drain: here.streams.draining(),
        headers,
        encoding: Some(encoding),
    }
}

/// Tells the client where to come back to.
fn name_stream(headers: &mut HeaderMap, generation: &Generation) {
    let hub = &generation.route.hub_path;
    if let Ok(id) = HeaderValue::from_str(&generation.id) {
        headers.insert(DELTAWAY_STREAM, id);
    }
    if let Ok(link) = HeaderValue::from_str(&format!("<{hub}/{}>; rel=\"self\"", generation.id)) {
        headers.append(LINK, link);
    }
    // Rules of the route's own expose them by themselves; these are the backend's.
    if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        let exposed = HeaderValue::from_static("deltaway-stream, link");
        headers.append(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}
