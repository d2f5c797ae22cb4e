//! The source of a feed: asks the upstream, reads it into the stream, and asks again when it drops.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use tokio::time::{Instant, sleep};

use super::shared_answer::{self, SharedAnswer};
use super::{ANSWER_STANDS, Feed, LAST_EVENT_ID, State};
use crate::config::{Dialect, Share};
use crate::dialect::{BodyKind, Ending, body_kind};
use crate::edge::added::Added;
use crate::hub::End;
use crate::relay::context::Reached;
use crate::relay::fingerprint::Digest;
use crate::relay::head::essence;
use crate::relay::incoming::Incoming;
use crate::relay::order::{self, Order};
use crate::relay::plane::LiveRoute;
use crate::relay::refusal::Refusal;
use crate::relay::streams::Here;
use crate::relay::tail::{Cut, Tail, TailEnd};
use crate::relay::upload::Inbound;
use crate::sse::{Frame, Lines, Splitter};
use crate::upstream::Pool;

/// The first pause before the upstream is asked again, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long an upstream must have stayed for the next pause to be the first one again.
const STEADY: Duration = Duration::from_secs(10);
/// The shortest pause, whatever the upstream wants.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// What the upstream is asked.
pub(super) struct Template {
    pub(super) route: Arc<LiveRoute>,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) dialect: Dialect,
    pub(super) pool: Arc<Pool>,
}

impl Template {
    /// The request, with `more` set on top.
    fn order(&self, more: Option<(http::HeaderName, HeaderValue)>) -> Box<Order> {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = self.method.clone();
        parts.uri = self.uri.clone();
        parts.headers = self.headers.clone();
        if let Some((name, value)) = more {
            parts.headers.insert(name, value);
        }
        Box::new(Order {
            route: self.route.clone(),
            parts: Box::new(parts),
            added: Added::default(),
            body: Inbound::none(),
            kept: None,
            facts: None,
            dialect: self.dialect,
            pool: self.pool.clone(),
            principal: None,
            visit: None,
        })
    }
}

/// Keeps the feed for as long as anybody reads it.
pub(super) async fn run(
    feed: Arc<Feed>,
    key: Digest,
    template: Template,
    share: Share,
    here: Here,
) {
    let _end = AtLast {
        feed: &feed,
        key: &key,
        here: &here,
    };
    let source = Source {
        feed: &feed,
        template: &template,
        here: &here,
    };
    let sourcing = async {
        match share.poll {
            None => source.follow().await,
            Some(every) => source.ask_often(every).await,
        }
    };
    tokio::select! {
        () = sourcing => {
            // Whoever comes within a moment gets the same answer; later ones ask anew.
            sleep(ANSWER_STANDS).await;
        }
        () = unread(&feed, &key, share.on_last_leave, &here) => {}
    }
}

/// Whatever its source came to, even if it failed in the middle: the feed is over, and nobody waits for it.
struct AtLast<'f> {
    feed: &'f Arc<Feed>,
    key: &'f Digest,
    here: &'f Here,
}

impl Drop for AtLast<'_> {
    fn drop(&mut self) {
        self.here.streams.feeds.forget(self.key, self.feed);
        self.feed.state.send_if_modified(|state| {
            let unanswered = matches!(state, State::Opening);
            if unanswered {
                *state = State::Answered(Arc::new(SharedAnswer::Refused(Refusal::internal())));
            }
            unanswered
        });
        // Only the first end counts.
        self.feed.stream.close(End {
            ending: Ending::Complete,
            abort: false,
        });
    }
}

/// Ends when nobody has read for so long; the feed is forgotten then.
async fn unread(feed: &Feed, key: &Digest, grace: Option<Duration>, here: &Here) {
    let Some(grace) = grace else {
        return std::future::pending().await;
    };
    loop {
        feed.stream.deserted().await;
        let back = tokio::time::timeout(grace, feed.stream.joined())
            .await
            .is_ok();
        if !back && here.streams.feeds.forget_unread(key) {
            return;
        }
    }
}

/// What one attempt came to.
enum Attempt {
    /// It was a stream. Whether it sent events, and after how long it wants to be asked again.
    Dropped(bool, Option<Duration>),
    /// It cannot be had now.
    Failed(SharedAnswer),
    /// It is over: this is its answer.
    Refused(SharedAnswer),
}

struct Source<'f> {
    feed: &'f Feed,
    template: &'f Template,
    here: &'f Here,
}

impl Source<'_> {
    /// Follows an event stream until it says itself that there is no more.
    async fn follow(&self) {
        let mut last_id: Option<Arc<str>> = None;
        let mut pause = PAUSE.0;
        loop {
            let began = Instant::now();
            let attempt = self.attempt(&mut last_id).await;
            // One that ends after each event is not failing: some have no other way to send.
            let steady = began.elapsed() >= STEADY || matches!(attempt, Attempt::Dropped(true, _));
            if steady {
                pause = PAUSE.0;
            }
            let wait = match attempt {
                Attempt::Dropped(true, Some(retry)) => retry.max(LEAST_PAUSE),
                Attempt::Dropped(_, retry) => retry.map_or(pause, |retry| retry.max(pause)),
                Attempt::Failed(_) if self.is_live() => pause,
                Attempt::Failed(answer) | Attempt::Refused(answer) => return self.answer(answer),
            };
            tracing::debug!(route = %self.template.route.config.name, ?wait, "a feed is opened again");
            sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Gives everybody who waits, or reads, the upstream's answer.
    fn answer(&self, answer: SharedAnswer) {
        self.feed
            .state
            .send_replace(State::Answered(Arc::new(answer)));
        self.feed.stream.close(End {
            ending: Ending::Complete,
            abort: false,
        });
    }

    /// Those who wait for the upstream's answer may read.
    fn go_live(&self) {
        self.feed.state.send_if_modified(|state| {
            let opening = matches!(state, State::Opening);
            if opening {
                *state = State::Live;
            }
            opening
        });
    }

    fn is_live(&self) -> bool {
        matches!(*self.feed.state.borrow(), State::Live)
    }

    async fn attempt(&self, last_id: &mut Option<Arc<str>>) -> Attempt {
        let shown = last_id
            .as_deref()
            .and_then(|id| HeaderValue::from_str(id).ok());
        let order = self.template.order(shown.map(|id| (LAST_EVENT_ID, id)));
        let started = Instant::now();
        let mut reached = match order::ask_for_many(order).await {
            Ok(reached) => reached,
            Err(refusal) => return Attempt::Failed(SharedAnswer::Refused(refusal)),
        };
        let Some(cut) = self.cut(&reached) else {
            let transient = is_transient(reached.asked.answer.head.status);
            let answer = shared_answer::collect(&mut reached, &self.template.route).await;
            return match transient {
                true => Attempt::Failed(answer),
                false => Attempt::Refused(answer),
            };
        };
        self.here.streams.hub.count_feed_connection();
        self.go_live();
        let mut tail = Tail::new(self.feed.stream.clone(), cut);
        tail.turn = reached.turn.take();
        tail.last_id = last_id.take();
        let began = reached.began;
        let clocks = crate::config::ResolvedClocks {
            total: None,
            ..reached.clocks
        };
        let end = tail
            .run(&mut Incoming::of(reached), &clocks, (started, began))
            .await;
        if matches!(end, TailEnd::Over(Some(_))) && tail.is_lines() {
            tail.finish();
        }
        if let Some(turn) = tail.turn.take() {
            let well = matches!(end, TailEnd::Over(_)) || tail.events > 0;
            // What is too large for us need not be for others.
            let ours = matches!(end, TailEnd::TooLarge(_) | TailEnd::Closed);
            turn.end((well || !ours).then_some(well));
        }
        *last_id = tail.last_id;
        if !matches!(end, TailEnd::Over(_)) {
            tracing::info!(route = %self.template.route.config.name, ?end, "a feed's upstream dropped");
        }
        Attempt::Dropped(tail.events > 0, tail.retry)
    }

    /// How the answer's events are told apart; none where it is no stream.
    fn cut(&self, reached: &Reached) -> Option<Cut> {
        let head = &reached.asked.answer.head;
        if head.status != StatusCode::OK {
            return None;
        }
        let most = self.here.streams.hub.largest_event();
        let body = &reached.asked.answer.body;
        match body_kind(&head.headers) {
            BodyKind::Sse => Some(Cut::Events(Splitter::new(most))),
            BodyKind::Ndjson => Some(Cut::Lines(Lines::new(most))),
            // A text of known length is a document; one without is a log that goes on.
            _ if body.remaining().is_none()
                && essence(&head.headers) == Some("text/plain")
                && !head.headers.contains_key(CONTENT_ENCODING) =>
            {
                Some(Cut::Lines(Lines::new(most)))
            }
            _ => None,
        }
    }

    /// Asks an ordinary endpoint again and again, and publishes what has changed.
    async fn ask_often(&self, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut etag: Option<HeaderValue> = None;
        let mut known: Option<String> = None;
        loop {
            ticks.tick().await;
            let order = self
                .template
                .order(etag.clone().map(|etag| (IF_NONE_MATCH, etag)));
            let answer = match order::ask_for_many(order).await {
                Err(refusal) => SharedAnswer::Refused(refusal),
                Ok(mut reached) => {
                    self.here.streams.hub.count_feed_connection();
                    let head = &reached.asked.answer.head;
                    if head.status == StatusCode::NOT_MODIFIED && known.is_some() {
                        continue;
                    }
                    let fresh = head.headers.get(ETAG).cloned();
                    let answer = shared_answer::collect(&mut reached, &self.template.route).await;
                    if let Some(text) = answer.text() {
                        etag = fresh;
                        self.changed(text, &mut known);
                        continue;
                    }
                    answer
                }
            };
            if !self.is_live() {
                return self.answer(answer);
            }
            tracing::info!(route = %self.template.route.config.name, status = ?answer.status(), "a polled source failed");
        }
    }

    fn changed(&self, text: String, known: &mut Option<String>) {
        self.go_live();
        if known.as_ref() == Some(&text) {
            return;
        }
        if let Ok(frame) = Frame::new(None, &text, None) {
            // Nobody else closes this stream.
            let _ = self.feed.stream.append(frame, None);
        }
        *known = Some(text);
    }
}

/// Whether an upstream may well answer otherwise a little later.
fn is_transient(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        )
}
