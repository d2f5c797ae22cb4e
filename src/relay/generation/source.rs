//! The source of a kept answer: asks the upstream once, and reads the answer to its end, or until nobody wants it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::{Generation, State};
use crate::config::{Dialect, OnLeave, ResolvedClocks};
use crate::dialect::{
    BodyKind, ClientEnd, Ending, Failure, TransportEnd, Verdict, Watcher, body_kind, judge,
};
use crate::edge::{credentials, forwarded, hop};
use crate::hub::{End, Stream};
use crate::relay::attempts::is_no_fault;
use crate::relay::context::Reached;
use crate::relay::error_frame::error_frame;
use crate::relay::incoming::Incoming;
use crate::relay::order::{self, Order};
use crate::relay::refusal::Refusal;
use crate::relay::streams::Streams;
use crate::relay::tail::{Cut, Tail, TailEnd};
use crate::relay::took::counted;
use crate::relay::unfit;
use crate::sse::{Lines, Splitter};
use crate::upstream::BodyEnd;

/// Where an answer goes that is no stream.
type Arrival = oneshot::Sender<Result<Box<Reached>, Refusal>>;

/// Asks, and reads the answer into the generation's stream.
pub(super) async fn run(
    generation: Arc<Generation>,
    order: Box<Order>,
    on_leave: OnLeave,
    streams: Arc<Streams>,
    give: Arrival,
) {
    let _end = AtLast(&generation, &streams);
    let started = Instant::now();
    let clocks = order::clocks_of(&order.route, 0, order.dialect);
    let mut stop = generation.stop.subscribe();
    let asked = tokio::select! {
        biased;
        asked = order::ask_within_total(order, clocks.total.map(|limit| (started, limit))) => Some(asked),
        () = unwanted(&generation.stream, on_leave) => None,
        _ = stop.wait_for(|stop| *stop) => None,
    };
    let reached = match asked {
        Some(Ok(reached)) => reached,
        Some(Err(refusal)) => return pass(&generation, &streams, Err(refusal), give).await,
        None => return pass(&generation, &streams, Err(Refusal::stopped()), give).await,
    };
    let kind = body_kind(&reached.asked.answer.head.headers);
    if reached.asked.answer.head.status != StatusCode::OK || kind == BodyKind::Opaque {
        return pass(&generation, &streams, Ok(reached), give).await;
    }
    Source {
        generation: &generation,
        streams: &streams,
        kind,
    }
    .read(reached, started, on_leave)
    .await;
}

/// A source that fails in the middle leaves nobody waiting, and no answer that looks whole.
struct AtLast<'g>(&'g Arc<Generation>, &'g Streams);

impl Drop for AtLast<'_> {
    fn drop(&mut self) {
        let Self(generation, streams) = self;
        if generation.stream.end().is_none() {
            streams.generations.forget(generation);
            generation.state.send_replace(State::Passed);
            generation.ended(End {
                ending: Ending::Truncated,
                abort: true,
            });
        }
    }
}

/// What came is no stream: it is the first caller's, and nothing is kept.
async fn pass(
    generation: &Arc<Generation>,
    streams: &Streams,
    what: Result<Box<Reached>, Refusal>,
    give: Arrival,
) {
    streams.generations.forget(generation);
    let end = match give.send(what) {
        Ok(()) => End {
            ending: Ending::Complete,
            abort: false,
        },
        // The caller has left, or was sent a head already.
        Err(what) => refuse(generation, what).await,
    };
    generation.state.send_replace(State::Passed);
    generation.ended(end);
}

/// Tells who reads the stream already that there is none.
async fn refuse(generation: &Generation, what: Result<Box<Reached>, Refusal>) -> End {
    let (status, code, message) = match what {
        Ok(mut reached) => {
            let message = unfit::told(&mut reached.asked.answer).await;
            let status = reached.asked.answer.head.status;
            (status, "upstream_refused", message)
        }
        Err(refusal) => (refusal.status, refusal.code, refusal.message),
    };
    let failure = Failure {
        status: status.as_u16(),
        code,
        message: &message,
        request_id: &generation.id,
    };
    let told = error_frame(generation.dialect, BodyKind::Sse, &failure);
    let abort = told.is_none();
    if let Some(frame) = told {
        // Only this task closes the stream.
        let _ = generation.stream.append(frame, None);
    }
    End {
        ending: Ending::Failed,
        abort,
    }
}

/// Ends when nobody reads any more, for as long as `on_leave` says.
async fn unwanted(stream: &Stream, on_leave: OnLeave) {
    let grace = match on_leave {
        OnLeave::Finish => return std::future::pending().await,
        OnLeave::Cancel => Duration::ZERO,
        OnLeave::Linger(grace) => grace,
    };
    loop {
        stream.deserted().await;
        if grace.is_zero() {
            return;
        }
        tokio::select! {
            () = stream.joined() => {}
            () = sleep(grace) => return,
        }
    }
}

struct Source<'g> {
    generation: &'g Arc<Generation>,
    streams: &'g Streams,
    kind: BodyKind,
}

impl Source<'_> {
    async fn read(&self, mut reached: Box<Reached>, started: Instant, on_leave: OnLeave) {
        let generation = self.generation;
        let clocks: ResolvedClocks = reached.clocks;
        let headers = self.fields(&mut reached);
        generation
            .state
            .send_replace(State::Live(Arc::new(headers), self.kind));
        let began = reached.began;
        let answerer = (reached.entry, reached.asked.endpoint.name.clone());
        generation.answered_by(answerer.0, answerer.1.clone());
        let mut tail = Tail::new(generation.stream.clone(), self.cut());
        tail.trail = std::mem::take(&mut reached.trail);
        // An answer that is continued judges each of its backends by itself.
        if reached.question.is_none() {
            tail.turn = reached.turn.take();
        }
        let mut incoming = Incoming::of(reached);
        tail.watcher = Some(Watcher::new(generation.dialect, self.kind));
        let mut stop = generation.stop.subscribe();
        let ended = tokio::select! {
            biased;
            end = tail.run(&mut incoming, &clocks, (started, began)) => Ok(end),
            _ = stop.wait_for(|stop| *stop) => Err(("stopped", "its caller stopped the answer")),
            () = unwanted(&generation.stream, on_leave) => Err(("deserted", "nobody was reading the answer")),
        };
        self.streams.generations.no_longer_in_flight(generation);
        let watcher = tail
            .watcher
            .take()
            .unwrap_or_else(|| Watcher::new(generation.dialect, self.kind));
        let (transport, code, message) = match ended {
            Ok(end) => told(&end),
            Err((code, message)) => (TransportEnd::Cut, code, message.to_owned()),
        };
        let verdict = for_whole_events(judge(transport, &watcher));
        if verdict.ending != Ending::Complete {
            // It is there for its readers; who tries again wants another.
            self.streams.generations.forget_keys(generation);
        }
        let whole = verdict.client == ClientEnd::Clean;
        if whole && transport != TransportEnd::Cut {
            tail.finish();
        }
        let concerns = blames_endpoint(code, &verdict) && !is_no_fault(&watcher);
        if let Some(turn) = tail.turn.take().filter(|_| concerns) {
            turn.end(Some(verdict.ending == Ending::Complete));
        }
        tail.took.usage = watcher.usage();
        let (entry, endpoint) = tail.answerer.take().unwrap_or(answerer);
        generation.answered_by(entry, endpoint.clone());
        generation.route.chain[entry].count_tokens(&tail.took);
        self.finish(verdict, code, &message);
        let ended = Ended {
            entry,
            endpoint: &endpoint,
            verdict,
            reason: (!whole).then_some(message.as_str()),
        };
        self.log(&tail, &ended, started);
    }

    fn log(&self, tail: &Tail, ended: &Ended<'_>, started: Instant) {
        let generation = self.generation;
        let upstream = &generation.route.chain[ended.entry].upstream.name;
        let last = (&**upstream, word_of(ended.verdict.ending));
        let completion = tail.took.completion();
        tracing::info!(
            route = %generation.route.config.name,
            stream = %generation.id,
            endpoint = ended.endpoint,
            attempts = tail.trail.told((!tail.is_lost).then_some(last)),
            prompt_tokens = tail.took.usage.prompt,
            completion_tokens = completion.map(|(tokens, _)| tokens),
            tokens = completion.map(|(_, estimated)| counted(estimated)),
            events = tail.events,
            total_ms = started.elapsed().as_millis() as u64,
            ending = %ended.verdict.ending,
            reason = ended.reason,
            "a kept answer has ended"
        );
    }

    /// How the answer's events are told apart.
    fn cut(&self) -> Cut {
        let most = self.streams.hub.largest_event();
        match self.kind {
            BodyKind::Ndjson => Cut::Lines(Lines::new(most)),
            _ if self.generation.dialect == Dialect::Gemini => {
                Cut::Events(Splitter::keeping_strays(most))
            }
            _ => Cut::Events(Splitter::new(most)),
        }
    }

    /// Writes the end down, and tells the readers in the dialect where it is not the whole.
    fn finish(&self, verdict: Verdict, code: &'static str, message: &str) {
        let generation = self.generation;
        let failure = Failure {
            status: 502,
            code,
            message,
            request_id: &generation.id,
        };
        let told = match verdict.client {
            ClientEnd::ErrorEvent => error_frame(generation.dialect, self.kind, &failure),
            ClientEnd::Clean | ClientEnd::Abort => None,
        };
        let abort = verdict.client != ClientEnd::Clean && told.is_none();
        if let Some(frame) = told {
            // Only this task closes the stream.
            let _ = generation.stream.append(frame, None);
        }
        generation.ended(End {
            ending: verdict.ending,
            abort,
        });
    }

    /// The fields of the answer as its callers get them.
    fn fields(&self, reached: &mut Reached) -> HeaderMap {
        let generation = self.generation;
        let head = &mut reached.asked.answer.head;
        let mut headers = std::mem::take(&mut head.headers);
        if let Some(credential) = &generation.route.chain[reached.entry].upstream.credential {
            credentials::conceal(credential, &mut headers);
        }
        forwarded::via(&mut headers, head.version);
        hop::strip_response(&mut headers);
        headers.remove(http::header::CONTENT_LENGTH);
        headers
    }
}

/// How a kept answer ended.
struct Ended<'e> {
    /// The entry of the chain that gave the end of it.
    entry: usize,
    endpoint: &'e str,
    verdict: Verdict,
    reason: Option<&'e str>,
}

/// What became of the last attempt, in a word.
fn word_of(ending: Ending) -> &'static str {
    match ending {
        Ending::Truncated => "cut",
        Ending::Failed => "failed",
        Ending::Complete | Ending::Left => "answered",
    }
}

/// Whether the end says anything about the endpoint: nothing where it was ours.
fn blames_endpoint(code: &str, verdict: &Verdict) -> bool {
    let ours = [
        "stopped",
        "deserted",
        "closed",
        "total_timeout",
        "event_too_large",
    ];
    verdict.ending == Ending::Complete || !ours.contains(&code)
}

/// The verdict for readers who never get part of an event: what comes next can always be told.
fn for_whole_events(verdict: Verdict) -> Verdict {
    let client = match (verdict.client, verdict.ending) {
        (ClientEnd::Abort, Ending::Failed) => ClientEnd::Clean,
        (ClientEnd::Abort, _) => ClientEnd::ErrorEvent,
        (client, _) => client,
    };
    Verdict { client, ..verdict }
}

/// How the body ended, in the words of the endings, and in ours.
fn told(end: &TailEnd) -> (TransportEnd, &'static str, String) {
    match end {
        TailEnd::Over(Some(BodyEnd::Framed)) => {
            (TransportEnd::Framed, "upstream_truncated", truncated())
        }
        TailEnd::Over(Some(BodyEnd::Closed)) => {
            (TransportEnd::Closed, "upstream_truncated", truncated())
        }
        TailEnd::Over(None) => (TransportEnd::Cut, "upstream_truncated", truncated()),
        TailEnd::Cut(reason) => (
            TransportEnd::Cut,
            "upstream_cut",
            format!("the upstream's answer broke off: {reason}"),
        ),
        TailEnd::TooLarge(fault) => (
            TransportEnd::Cut,
            "event_too_large",
            format!("{fault}, which is what `hub.event` allows"),
        ),
        TailEnd::Idle(limit) => (
            TransportEnd::Cut,
            "idle_timeout",
            format!("the upstream sent nothing for {limit:?}"),
        ),
        TailEnd::FirstEvent(limit) => (
            TransportEnd::Cut,
            "first_event_timeout",
            format!("no event came within {limit:?}"),
        ),
        TailEnd::Total(limit) => (
            TransportEnd::Cut,
            "total_timeout",
            format!("the answer took longer than {limit:?}"),
        ),
        TailEnd::Closed => (
            TransportEnd::Cut,
            "closed",
            "the stream was closed".to_owned(),
        ),
    }
}

fn truncated() -> String {
    "the upstream's answer ended before it was complete".to_owned()
}
