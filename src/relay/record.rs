//! What became of one request: one line in the access log and one count in each metric, written when
//! the record is dropped, so that no way out can forget it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, StatusCode, Version};
use prometheus_client::metrics::counter::Counter;

use super::attempts::Trail;
use super::context::Reached;
use super::incoming::Handover;
use super::plane::{Entry, LiveRoute};
use super::took::{Took, counted};
use crate::config::Trouble;
use crate::delivery::Socket;
use crate::dialect::Ending;
use crate::edge::trace::TraceId;
use crate::metrics::{Metrics, Name, RequestLabels, RouteSeries, status_class};
use crate::upstream::Turn;

/// How a request ended: the endings of a relayed answer, and those of requests that got none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The answer was relayed and ended so.
    Ended(Ending),
    /// The gateway answered itself.
    Refused(&'static str),
    /// The client took nothing for too long.
    Stalled,
    /// The connection speaks another protocol since.
    Upgraded,
}

impl Outcome {
    /// The word for logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ended(Ending::Complete) => "complete",
            Self::Ended(Ending::Truncated) => "truncated",
            Self::Ended(Ending::Failed) => "failed",
            Self::Ended(Ending::Left) => "left",
            Self::Refused(_) => "refused",
            Self::Stalled => "stalled",
            Self::Upgraded => "upgraded",
        }
    }
}

/// The entry of a route's chain that has answered, and its endpoint: known later than the request for a kept answer.
pub(super) type Answerer = Mutex<Option<(usize, Arc<str>)>>;

/// The record of one request, from its head's arrival to the last byte of its answer.
pub struct Record {
    metrics: Arc<Metrics>,
    socket: Arc<Socket>,
    access_log: bool,
    started: Instant,
    method: Method,
    path: Box<str>,
    version: Version,
    /// The request's id, as the client is told it.
    pub request_id: HeaderValue,
    /// The trace the request belongs to.
    pub trace_id: Option<TraceId>,
    /// The route's name.
    pub route: Option<Arc<str>>,
    /// The entry of the route's chain that is asked, or has answered.
    entry: Option<(Arc<LiveRoute>, usize)>,
    /// The endpoint that answered.
    pub endpoint: Option<Arc<str>>,
    /// What was tried before it, or in vain.
    pub trail: Trail,
    /// Who has answered, where that is another's to say.
    pub(super) answerer: Option<Arc<Answerer>>,
    /// What its answer took.
    pub(super) took: Took,
    /// What is wrong with the answer, where it is an error.
    trouble: Option<Trouble>,
    /// Whether the answer is that of the last attempt, and no earlier one's.
    is_last: bool,
    /// When the attempt began whose answer this is.
    attempted: tokio::time::Instant,
    /// Its place at the endpoint, which is judged by how it ends.
    pub(super) turn: Option<Turn>,
    /// The model the caller asked for.
    pub model: Option<Box<str>>,
    /// The kept answer that was read.
    pub stream: Option<Arc<str>>,
    /// Whose key or token opened the route, bounded as it is logged.
    pub principal: Option<Arc<str>>,
    /// The status sent.
    pub status: Option<StatusCode>,
    /// How it ended; [`Ending::Left`] until it is known better, since whatever drops a request before
    /// its end does so because the client is gone.
    pub outcome: Outcome,
    /// What went wrong, in words.
    pub reason: Option<Box<str>>,
    /// From the start to the first byte of the answer's body.
    first_byte: Option<Duration>,
    /// From the start to the first whole event.
    first_event: Option<Duration>,
    /// Events passed on.
    pub events: u64,
    /// Bytes of the answer's body passed on.
    pub bytes: u64,
    /// Heartbeats sent.
    pub heartbeats: u64,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

impl Record {
    /// Opens the record of a request whose head has just come. The query is left out: it may hold
    /// secrets.
    pub fn open(
        metrics: Arc<Metrics>,
        socket: Arc<Socket>,
        request: &http::request::Parts,
        access_log: bool,
    ) -> Box<Self> {
        metrics.in_flight.inc();
        socket.set_busy();
        let started = Instant::now();
        Box::new(Self {
            metrics,
            socket,
            access_log,
            started,
            method: request.method.clone(),
            path: if access_log {
                request.uri.path().into()
            } else {
                Box::default()
            },
            version: request.version,
            request_id: HeaderValue::from_static("-"),
            trace_id: None,
            route: None,
            entry: None,
            endpoint: None,
            trail: Trail::default(),
            trouble: None,
            is_last: false,
            attempted: started.into(),
            turn: None,
            answerer: None,
            took: Took::default(),
            model: None,
            stream: None,
            principal: None,
            status: None,
            outcome: Outcome::Ended(Ending::Left),
            reason: None,
            first_byte: None,
            first_event: None,
            events: 0,
            bytes: 0,
            heartbeats: 0,
        })
    }

    /// The request goes to entry `index` of the chain of `route`.
    pub(super) fn enter(&mut self, route: &Arc<LiveRoute>, index: usize) {
        self.entry = Some((route.clone(), index));
    }

    /// An endpoint has answered: what becomes of its answer is told to it.
    pub(super) fn adopt(&mut self, route: &Arc<LiveRoute>, reached: &mut Reached) {
        self.enter(route, reached.entry);
        self.endpoint = Some(reached.asked.endpoint.name.clone());
        self.attempted = reached.began;
        self.trouble = reached.trouble;
        let good = reached.turn.is_some() || reached.question.is_some();
        self.is_last = good || reached.trouble.is_some();
        // An answer that is continued judges each of its backends by itself.
        if reached.question.is_none() {
            self.turn = reached.turn.take();
        }
        self.trail.join(std::mem::take(&mut reached.trail));
        self.socket.limit_stall(reached.clocks.stall);
    }

    /// As [`Record::adopt`], on the route that was entered before.
    pub(super) fn move_to(&mut self, reached: &mut Reached) {
        if let Some((route, _)) = self.entry.take() {
            self.adopt(&route, reached);
        }
    }

    /// The answer was cut, and another backend goes on with it, or none.
    pub(super) fn hand_over(&mut self, handover: Handover) {
        self.trail.join(handover.trail);
        let Some(next) = handover.to else {
            // It is in the trail already.
            self.is_last = false;
            return;
        };
        self.took.hand_over(&next);
        self.endpoint = Some(next.endpoint);
        if let Some((_, entry)) = &mut self.entry {
            *entry = next.entry;
        }
    }

    /// When the attempt began whose answer this is.
    pub(super) fn attempted(&self) -> tokio::time::Instant {
        self.attempted
    }

    fn entry(&self) -> Option<&Entry> {
        self.entry
            .as_ref()
            .and_then(|(route, index)| route.chain.get(*index))
    }

    /// When the request's head had come.
    pub fn started(&self) -> tokio::time::Instant {
        self.started.into()
    }

    /// The connection the request came on.
    pub fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    /// The HTTP version of the request.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The request's id as text.
    pub fn id(&self) -> &str {
        self.request_id.to_str().unwrap_or("-")
    }

    /// Counts bytes of a body that go to the client.
    pub fn add_bytes(&mut self, bytes: usize) {
        if self.first_byte.is_none() {
            self.first_byte = Some(self.started.elapsed());
        }
        self.bytes += bytes as u64;
    }

    /// Sets the number of events passed on so far; true when the first one was among them.
    pub fn set_events(&mut self, events: u64) -> bool {
        let first = self.events == 0 && events > 0;
        if first {
            self.first_event = Some(self.started.elapsed());
            if let Some(turn) = &mut self.turn {
                turn.first_event();
            }
        }
        self.events = events;
        first
    }

    /// Whether it ended as nearly all requests do whose series is `series`.
    fn is_usual(&self, series: &RouteSeries) -> bool {
        let route = &series.labels.route.0;
        self.status.is_some_and(|status| status.is_success())
            && self.outcome == Outcome::Ended(Ending::Complete)
            && self
                .route
                .as_ref()
                .is_some_and(|own| Arc::ptr_eq(own, route))
    }

    /// Counts requests that ended like it.
    fn counter(&self) -> Counter {
        let name = |name: Option<&Arc<str>>| Name(name.cloned().unwrap_or_default());
        let labels = RequestLabels {
            route: name(self.route.as_ref()),
            upstream: self
                .entry()
                .map_or_else(|| name(None), |entry| entry.series.labels.upstream.clone()),
            status: self
                .status
                .map_or("none", |status| status_class(status.as_u16())),
            ending: self.outcome.word(),
        };
        self.metrics.requests.get_or_create_owned(&labels)
    }

    fn count(&self) {
        let series = self.entry().map(|entry| &entry.series);
        match series.filter(|series| self.is_usual(series)) {
            Some(series) => series.complete.get_or_init(|| self.counter()).inc(),
            None => self.counter().inc(),
        };
        self.metrics.in_flight.dec();
        let (Some(first_byte), Some(series)) = (self.first_byte, series) else {
            return;
        };
        series.first_byte.observe(first_byte.as_secs_f64());
        series.bytes.inc_by(self.bytes);
        if let Some(first_event) = self.first_event {
            series.first_event.observe(first_event.as_secs_f64());
            series.events.inc_by(self.events);
        }
        series.heartbeats.inc_by(self.heartbeats);
        self.count_tokens();
    }

    fn count_tokens(&self) {
        let Some(entry) = self.entry() else { return };
        entry.count_tokens(&self.took);
    }

    /// What became of the last attempt, in a word.
    fn last_word(&self) -> &'static str {
        match (self.trouble, self.outcome) {
            (Some(trouble), _) => trouble.word(),
            (None, Outcome::Ended(Ending::Truncated)) => "cut",
            (None, Outcome::Ended(Ending::Failed)) => Trouble::Failed.word(),
            (None, _) => "answered",
        }
    }

    /// The request was given up at entry `index`.
    pub fn came_to(&mut self, index: Option<u32>) {
        if let (Some((_, entry)), Some(index)) = (&mut self.entry, index) {
            *entry = index as usize;
        }
    }

    /// The upstream that is asked, or has answered.
    pub(super) fn upstream(&self) -> Option<&str> {
        self.entry().map(|entry| &*entry.upstream.name)
    }

    /// What was tried, where that was more than one attempt.
    pub(super) fn attempts(&self) -> Option<String> {
        let answered = self.upstream().filter(|_| self.is_last);
        self.trail
            .told(answered.map(|upstream| (upstream, self.last_word())))
    }

    fn learn_answerer(&mut self) {
        let Some(answerer) = self.answerer.take() else {
            return;
        };
        let known = answerer.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some((index, endpoint)), Some((_, entry))) = (&*known, &mut self.entry) {
            self.is_last = true;
            *entry = *index;
            self.endpoint = Some(endpoint.clone());
        }
    }

    /// What the end says about the endpoint: nothing where a client left, or was too slow.
    fn judge(&mut self) {
        let well = match self.outcome {
            Outcome::Ended(Ending::Complete) | Outcome::Upgraded => true,
            Outcome::Ended(Ending::Truncated | Ending::Failed) => false,
            Outcome::Ended(Ending::Left) | Outcome::Refused(_) | Outcome::Stalled => return,
        };
        if let Some(turn) = &mut self.turn {
            turn.judge(well);
        }
    }

    fn log(&self) {
        // To the microsecond.
        let millis = |time: Duration| time.as_micros() as f64 / 1000.0;
        let completion = self.took.completion();
        let refusal = match self.outcome {
            Outcome::Refused(code) => Some(code),
            _ => None,
        };
        tracing::info!(
            target: "deltaway::access",
            client = %self.socket.peer().ip(),
            method = %self.method,
            path = %self.path,
            version = ?self.version,
            status = self.status.map(|status| status.as_u16()),
            ending = self.outcome.word(),
            route = self.route.as_deref(),
            upstream = self.upstream(),
            endpoint = self.endpoint.as_deref(),
            attempts = self.attempts().as_deref(),
            model = self.model.as_deref(),
            stream = self.stream.as_deref(),
            principal = self.principal.as_deref(),
            refusal,
            reason = self.reason.as_deref(),
            events = self.events,
            bytes = self.bytes,
            heartbeats = self.heartbeats,
            prompt_tokens = self.took.usage.prompt,
            completion_tokens = completion.map(|(tokens, _)| tokens),
            cached_tokens = self.took.usage.cached,
            reasoning_tokens = self.took.usage.reasoning,
            tokens = completion.map(|(_, estimated)| counted(estimated)),
            first_byte_ms = self.first_byte.map(millis),
            first_event_ms = self.first_event.map(millis),
            total_ms = millis(self.started.elapsed()),
            request_id = self.id(),
            trace_id = self.trace_id.as_ref().map(TraceId::as_str),
            "request",
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.outcome == Outcome::Ended(Ending::Left) && self.socket.has_stalled() {
            self.outcome = Outcome::Stalled;
        }
        self.socket.set_idle();
        self.learn_answerer();
        self.judge();
        self.count();
        if self.access_log {
            self.log();
        }
    }
}
