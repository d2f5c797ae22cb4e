//! The body of an answer that delivers a subscription: what the log has, then what comes.
//!
//! While the reader has nothing to read it is parked, and what comes is written past this body, by the hub's
//! herald; the body is then asked only when a timer is due, the client is gone, or the herald cannot write.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use tokio::sync::watch;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep};

use super::gap;
use crate::config::Dialect;
use crate::delivery::{self, Encoding, Item};
use crate::dialect::{BodyKind, Ending, Failure};
use crate::hub::{End, Next, Subscription, Written};
use crate::relay::direct::Aborted;
use crate::relay::error_frame::error_frame;
use crate::relay::parting::Parting;
use crate::relay::record::{Outcome, Record};
use crate::sse::EventId;

/// The least time an EventSource waits before it comes back when it was sent away, and what is added by chance.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));

/// The time over which the readers are sent away before the process ends.
const SPREAD: Duration = Duration::from_secs(5);

/// How long one reader may stay when the process ends in `patience`: not the same for all.
pub(super) fn farewell(patience: Duration) -> Duration {
    SPREAD.min(patience).mul_f64(fastrand::f64())
}

/// What a delivery needs besides its subscription.
#[derive(Debug)]
pub(in crate::relay) struct Terms {
    /// How events are written.
    pub(in crate::relay) encoding: Encoding,
    /// What is sent before the first event.
    pub(in crate::relay) opening: Bytes,
    /// A heartbeat after so much silence.
    pub(in crate::relay) heartbeat: Option<Duration>,
    /// What a heartbeat is.
    pub(in crate::relay) beat: Bytes,
    /// How long the process still waits, once it is about to end.
    pub(in crate::relay) drain: watch::Receiver<Option<Duration>>,
    /// When the subscription is over, whatever comes.
    pub(in crate::relay) until: Option<Instant>,
    /// How the end is told in band, where the stream is an answer to a question and not a subscription that is
    /// come back to.
    pub(in crate::relay) speaks: Option<(Dialect, BodyKind)>,
    /// Whether its client knows nothing of gaps: an answer with one is broken off.
    pub(in crate::relay) whole: bool,
}

/// A subscription on its way to a client.
pub(in crate::relay) struct Watch {
    subscription: Subscription,
    terms: Terms,
    state: State,
    /// Fires when something may be due.
    timer: Option<Pin<Box<Sleep>>>,
    /// When something was last handed out or written past.
    beaten: Instant,
    /// What was written past this body when it was last asked.
    seen: Written,
    parting: Parting,
    /// Whether the process is about to end, and the reader has to go.
    sent_away: bool,
    /// Events handed out by this body.
    events: u64,
    record: Box<Record>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Opening,
    Open,
    Over,
    Aborting,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// Delivers `subscription` on `terms`.
    pub(in crate::relay) fn new(
        subscription: Subscription,
        terms: Terms,
        record: Box<Record>,
    ) -> Self {
        Self {
            subscription,
            terms,
            state: State::Opening,
            timer: None,
            beaten: Instant::now(),
            seen: Written::default(),
            parting: Parting::default(),
            sent_away: false,
            events: 0,
            record,
        }
    }

    /// The next frame for the client.
    pub(in crate::relay) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        loop {
            match self.state {
                State::Opening => {
                    self.state = State::Open;
                    let opening = std::mem::take(&mut self.terms.opening);
                    if !opening.is_empty() {
                        return self.hand_out(opening);
                    }
                }
                State::Open => {}
                State::Over => return Poll::Ready(None),
                State::Aborting => return self.poll_abort(cx),
            }
            self.note_written();
            self.note_drain();
            if self.record.socket().is_stopping() {
                self.sent_away = true;
                match self.stop() {
                    Some(bytes) => return self.hand_out(bytes),
                    None => continue,
                }
            }
            // Also of a reader that is never done with what there is.
            if self.is_too_old() {
                match self.retire() {
                    Some(bytes) => return self.hand_out(bytes),
                    None => continue,
                }
            }
            match self.subscription.poll_next(cx) {
                Poll::Ready(next) => {
                    if let Some(bytes) = self.render(next) {
                        return self.hand_out(bytes);
                    }
                }
                Poll::Pending => match self.poll_due(cx) {
                    Poll::Ready(Some(bytes)) => return self.hand_out(bytes),
                    Poll::Ready(None) => {}
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// Whether nothing more will be handed out.
    pub(in crate::relay) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    fn hand_out(&mut self, bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        self.beaten = Instant::now();
        self.record.add_bytes(bytes.len());
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    /// The bytes of what comes next; none where it changed the state alone.
    fn render(&mut self, next: Next) -> Option<Bytes> {
        let mut bytes = BytesMut::new();
        match next {
            Next::Events(entries) => {
                for entry in &entries {
                    let id = self.subscription.shown(entry);
                    let item = Item {
                        id: &id,
                        frame: &entry.frame,
                    };
                    delivery::encode(self.terms.encoding, item, &mut bytes);
                }
                self.events += entries.len() as u64;
                self.count_events();
                if self.terms.speaks.is_some() && self.subscription.is_over() {
                    // With its last events the end goes out in the same write.
                    if let Some(Next::End(end)) = self.subscription.read() {
                        self.end(end);
                    }
                }
            }
            Next::Gap(missing) if self.terms.whole => {
                const WHY: &str = "the client was too slow: the next events are no longer kept";
                // Whoever comes back after it is told of the gap.
                let had = missing.after.unwrap_or(missing.id);
                return self.break_off(had, ("evicted", WHY));
            }
            Next::Gap(missing) => gap::put(self.terms.encoding, &missing, &mut bytes),
            Next::End(end) => self.end(end),
            Next::Lagged => {
                self.record.reason = Some("the client was too slow for what is kept".into());
                self.record.outcome = Outcome::Stalled;
                self.state = State::Over;
            }
        }
        (!bytes.is_empty()).then(|| bytes.freeze())
    }

    fn end(&mut self, end: End) {
        self.record.outcome = Outcome::Ended(end.ending);
        self.state = if end.abort {
            State::Aborting
        } else {
            State::Over
        };
    }

    /// Ends what is left when the process does: an answer must not look whole.
    fn stop(&mut self) -> Option<Bytes> {
        const WHY: &str = "the gateway ends, and the time for running answers is over";
        if self.terms.speaks.is_none() {
            return self.send_away("the gateway ends");
        }
        self.break_off(self.subscription.id(), ("gateway_stopping", WHY))
    }

    /// Ends an answer that is not whole, in words of its own where there are any. Up to `had` its reader has it.
    fn break_off(&mut self, had: EventId, (code, why): (&'static str, &str)) -> Option<Bytes> {
        let (dialect, kind) = self.terms.speaks?;
        let failure = Failure {
            status: 504,
            code,
            message: why,
            request_id: self.record.id(),
        };
        let event = error_frame(dialect, kind, &failure).map(|frame| {
            let id = had.to_string();
            let item = Item {
                id: &id,
                frame: &frame,
            };
            let mut bytes = BytesMut::new();
            delivery::encode(self.terms.encoding, item, &mut bytes);
            bytes.freeze()
        });
        self.record.outcome = Outcome::Ended(Ending::Truncated);
        self.record.reason = Some(format!("{code}: {why}").into());
        self.state = match event {
            Some(_) => State::Over,
            None => State::Aborting,
        };
        event
    }

    fn is_too_old(&self) -> bool {
        self.terms
            .until
            .is_some_and(|until| until <= Instant::now())
    }

    /// Ends a subscription whose time is over.
    fn retire(&mut self) -> Option<Bytes> {
        self.send_away(match self.sent_away {
            true => "the gateway ends",
            false => "the subscription was as old as it may be",
        })
    }

    /// Ends a subscription that its client will come back to, not all clients at once.
    fn send_away(&mut self, why: &str) -> Option<Bytes> {
        self.record.reason = Some(why.into());
        self.record.outcome = Outcome::Ended(Ending::Complete);
        self.state = State::Over;
        if self.terms.encoding != Encoding::Sse || !self.sent_away {
            return None;
        }
        // Whoever was told a time by the publisher keeps to ours from now on; a new process may say otherwise.
        let retry = RETRY.0 + RETRY.1.mul_f64(fastrand::f64());
        Some(format!("retry: {}\n\n", retry.as_millis()).into())
    }

    /// Takes into account what the herald wrote.
    fn note_written(&mut self) {
        let written = self.subscription.written();
        if written != self.seen {
            let bytes = written.bytes - self.seen.bytes;
            self.record.add_bytes(usize::try_from(bytes).unwrap_or(0));
            self.seen = written;
            self.count_events();
            let last = Instant::now() - self.subscription.silence();
            self.beaten = self.beaten.max(last);
        }
    }

    /// A subscription ends with the process, but not all of them at once.
    fn note_drain(&mut self) {
        if self.sent_away || self.terms.speaks.is_some() {
            return;
        }
        // The connection is woken for it.
        let Some(patience) = *self.terms.drain.borrow() else {
            return;
        };
        self.sent_away = true;
        let soon = Instant::now() + farewell(patience);
        self.terms.until = Some(self.terms.until.map_or(soon, |until| until.min(soon)));
    }

    fn count_events(&mut self) {
        self.record.set_events(self.events + self.seen.events);
    }

    /// What is due because there is nothing to read.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let socket = self.record.socket();
        if self.parting.poll_hung_up(socket, cx).is_ready() {
            self.parting.at_once();
            self.state = State::Aborting;
            return Poll::Ready(None);
        }
        loop {
            let now = Instant::now();
            if self.is_too_old() {
                return Poll::Ready(self.retire());
            }
            let beat = self.terms.heartbeat.map(|every| self.beaten + every);
            if beat.is_some_and(|beat| beat <= now) {
                self.beaten = now;
                self.record.heartbeats += 1;
                return Poll::Ready(Some(self.terms.beat.clone()));
            }
            let Some(due) = beat.into_iter().chain(self.terms.until).min() else {
                return Poll::Pending;
            };
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if timer.deadline() > due || timer.is_elapsed() {
                timer.as_mut().reset(due);
            }
            // Refused for want of budget, it would not be set, and never be asked again.
            if pin!(unconstrained(timer.as_mut())).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn poll_abort(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        std::task::ready!(self.parting.poll_abort(&self.record, cx));
        self.state = State::Over;
        Poll::Ready(Some(Err(Aborted)))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.note_written();
    }
}
