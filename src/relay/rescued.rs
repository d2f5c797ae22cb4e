//! An answer that other backends continue when it is cut, or falls silent.
//!
//! Only whole events are handed on, so that what comes next can follow at any moment. When a backend drops the
//! answer, the next entry of the chain is asked for the rest: with what was delivered as the beginning of its answer
//! where it takes that, else from the start, and then what it repeats is compared and left out. What cannot be
//! continued (a tool call, a structured answer, another text) ends as any cut answer does.

mod rest;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::IgnoredAny;
use tokio::time::{Instant, Sleep, sleep_until};

use self::rest::{Rest, ask_for_the_rest};
use super::attempts::{Question, Trail};
use super::context::Reached;
use super::incoming::{Handover, Next};
use super::took::Took;
use crate::config::{Dialect, Remedy, ResolvedClocks, Trouble};
use crate::dialect::{
    BodyKind, Ending, Marker, Passed, Sequel, Transcript, TransportEnd, Watcher, judge,
};
use crate::sse::{Block, Frame, Splitter};
use crate::upstream::{AnswerBody, BodyEnd, Piece, Reason, Turn};

/// Most backends that go on with one answer, besides the first.
const MOST_LEGS: usize = 2;
/// Largest event of an answer that can be continued, in bytes.
const LARGEST_EVENT: usize = 8 << 20;

/// An answer that is continued when it is cut.
pub(super) struct Rescued {
    question: Question,
    dialect: Dialect,
    leg: Leg,
    state: State,
    transcript: Transcript,
    /// Backends that went on so far.
    legs: usize,
    /// The endpoints that were cut, by number.
    spent: Vec<u64>,
    /// Events to hand out.
    ready: VecDeque<Bytes>,
    end: Option<BodyEnd>,
    handover: Option<Handover>,
    /// The error that the leg has told, kept back while somebody else is looked for.
    error: Option<Bytes>,
    /// Whether somebody was looked for who goes on.
    sought: bool,
}

/// One backend's part.
struct Leg {
    /// None once it is of no more use.
    body: Option<Box<AnswerBody>>,
    turn: Option<Turn>,
    /// Its endpoint's number.
    endpoint: u64,
    entry: usize,
    clocks: ResolvedClocks,
    splitter: Splitter,
    watcher: Watcher,
    /// Turns its events into those of the first; none for the first itself.
    sequel: Option<Sequel>,
    silence: Option<Pin<Box<Sleep>>>,
}

enum State {
    Reading,
    /// Somebody is asked to go on; why that was necessary.
    Asking(Pin<Box<dyn Future<Output = Rest> + Send>>, Reason),
    Over,
    Broken(Option<Reason>),
}

/// What an event of a leg came to.
enum Taken {
    More,
    /// The leg is of no more use.
    Spoilt(Reason),
    /// Nor would another one be: it is not the answer that was begun.
    Differs,
}

impl std::fmt::Debug for Rescued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rescued")
            .field("legs", &self.legs)
            .finish_non_exhaustive()
    }
}

impl Rescued {
    /// The answer that `reached` begins, to `question`.
    pub(super) fn new(reached: Box<Reached>, question: Question) -> Self {
        let dialect = question.dialect;
        Self {
            leg: Leg::new(reached, dialect, None),
            question,
            dialect,
            state: State::Reading,
            transcript: Transcript::new(dialect),
            legs: 0,
            spent: Vec::new(),
            ready: VecDeque::new(),
            end: None,
            handover: None,
            error: None,
            sought: false,
        }
    }

    pub(super) fn end(&self) -> Option<BodyEnd> {
        self.end
    }

    pub(super) fn handover(&mut self) -> Option<Handover> {
        self.handover.take()
    }

    /// The next events, or `None` at the end.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, Reason>>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Piece::Data(self.joined(event)))));
            }
            match &mut self.state {
                State::Over => return Poll::Ready(None),
                State::Broken(reason) => return Poll::Ready(reason.take().map(Err)),
                State::Reading => ready!(self.poll_leg(cx)),
                State::Asking(asking, _) => {
                    let next = ready!(asking.as_mut().poll(cx));
                    self.go_on(next);
                }
            }
        }
    }

    /// All that is ready, in one piece.
    fn joined(&mut self, first: Bytes) -> Bytes {
        if self.ready.is_empty() {
            return first;
        }
        let mut all = BytesMut::from(&*first);
        for event in self.ready.drain(..) {
            all.put(event);
        }
        all.freeze()
    }

    /// Reads on in the leg, until there are events or its end.
    fn poll_leg(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(body) = &mut self.leg.body else {
            self.state = State::Over;
            return Poll::Ready(());
        };
        let piece = match body.poll_piece(cx) {
            Poll::Ready(piece) => piece,
            Poll::Pending => {
                let limit = ready!(self.leg.poll_silence(cx));
                self.leg_ended(TransportEnd::Cut, limit);
                return Poll::Ready(());
            }
        };
        self.leg.silence = None;
        match piece {
            Some(Ok(Piece::Data(data))) => self.take(&data),
            Some(Ok(Piece::Trailers(_))) => {}
            Some(Err(reason)) => self.leg_ended(TransportEnd::Cut, reason),
            None => {
                let end = match body.end() {
                    Some(BodyEnd::Framed) => TransportEnd::Framed,
                    Some(BodyEnd::Closed) => TransportEnd::Closed,
                    None => TransportEnd::Cut,
                };
                self.leg_ended(end, Reason::Cut);
            }
        }
        Poll::Ready(())
    }

    fn take(&mut self, data: &Bytes) {
        let mut blocks = Vec::new();
        let fed = self
            .leg
            .splitter
            .feed(data, &mut |block: Block| blocks.push(block));
        for block in blocks {
            if !self.take_event(block) {
                return;
            }
        }
        if fed.is_err() {
            self.cut(Reason::NotContinued(
                "an event is too large to be continued",
            ));
        }
    }

    /// Whether the leg may go on behind this event.
    fn take_event(&mut self, block: Block) -> bool {
        match self.event(block) {
            Taken::More => return true,
            Taken::Spoilt(reason) => self.cut(reason),
            Taken::Differs => {
                // Two models seldom say the same: that is no illness.
                self.leg.turn = None;
                let words = "another backend's answer is not the one that was begun";
                self.give_up(Reason::NotContinued(words));
            }
        }
        false
    }

    /// Takes the last event where it lacks its blank line. Half of one is none: who goes on says it whole.
    fn take_last(&mut self) {
        let mut last = None;
        let fed = self
            .leg
            .splitter
            .finish(&mut |block: Block| last = Some(block));
        if let Some(block) = last.filter(is_whole)
            && fed.is_ok()
        {
            self.take_event(block);
        }
    }

    /// One event of the leg, on its way to the caller.
    fn event(&mut self, block: Block) -> Taken {
        let Some(frame) = block.frame else {
            return Taken::More;
        };
        let before = self.leg.watcher.marker();
        self.leg.watcher.feed(frame.as_bytes());
        self.leg.watcher.feed(b"\n");
        if before < Marker::Failed && self.leg.watcher.marker() == Marker::Failed {
            return self.failed(&frame, block.id.as_deref());
        }
        if let Some(turn) = &mut self.leg.turn {
            turn.first_event();
        }
        let parts = frame.parts();
        let passed = match &mut self.leg.sequel {
            None => Passed::Keep,
            Some(sequel) => sequel.pass(parts.data.as_bytes()),
        };
        let name = parts.event.as_deref();
        let instead = match passed {
            Passed::Drop => return Taken::More,
            Passed::Differs => return Taken::Differs,
            Passed::Keep => None,
            Passed::Instead(data) => event_of(name, &data),
            Passed::Behind {
                name: ahead,
                first,
                data,
            } => {
                if let Some(first) = event_of(Some(ahead), &first) {
                    self.deliver(&first, None);
                }
                data.and_then(|data| event_of(name, &data))
            }
        };
        self.deliver(instead.as_ref().unwrap_or(&frame), block.id.as_deref());
        Taken::More
    }

    /// The leg has told an error.
    fn failed(&mut self, frame: &Frame, id: Option<&str>) -> Taken {
        let trouble = self.leg.watcher.trouble().unwrap_or(Trouble::Failed);
        if !trouble.blames_endpoint() {
            self.leg.turn = None;
        }
        // What the route has given up before an answer began, it gives up within one.
        let remedy = self.question.route.config.failures.of(trouble);
        let helps = matches!(remedy, Remedy::Again | Remedy::Next);
        if helps && self.can_go_on() {
            self.error = Some(event_bytes(frame, None));
            return Taken::Spoilt(Reason::NotContinued("it reported an error"));
        }
        // Nobody can help: the backend's own words are the most honest ones.
        self.hand_out(frame, id);
        Taken::More
    }

    /// An event goes to the caller, and is part of what was delivered.
    fn deliver(&mut self, frame: &Frame, id: Option<&str>) {
        self.transcript.take(frame.parts().data.as_bytes());
        self.hand_out(frame, id);
    }

    fn hand_out(&mut self, frame: &Frame, id: Option<&str>) {
        let id = id.filter(|_| self.legs == 0);
        self.ready.push_back(event_bytes(frame, id));
    }

    fn leg_ended(&mut self, end: TransportEnd, reason: Reason) {
        if end != TransportEnd::Cut {
            self.take_last();
            if !matches!(self.state, State::Reading) {
                return;
            }
        }
        let verdict = judge(end, &self.leg.watcher);
        if verdict.ending == Ending::Truncated {
            return self.cut(reason);
        }
        self.leg.judge(verdict.ending == Ending::Complete);
        if self.legs > 0 {
            self.question.route.rescues.whole.inc();
        }
        self.end = Some(match end {
            TransportEnd::Closed => BodyEnd::Closed,
            TransportEnd::Framed | TransportEnd::Cut => BodyEnd::Framed,
        });
        self.state = State::Over;
    }

    /// Whether somebody else may go on with what was delivered.
    fn can_go_on(&self) -> bool {
        self.legs < MOST_LEGS && self.transcript.is_open()
    }

    /// The leg is of no more use: somebody else goes on, or nobody can.
    fn cut(&mut self, reason: Reason) {
        self.leg.judge(false);
        // Its backend is to work for nobody while another one is asked.
        self.leg.body = None;
        if !self.can_go_on() {
            self.give_up(reason);
            return;
        }
        self.sought = true;
        self.spent.push(self.leg.endpoint);
        let cut = rest::Cut {
            entry: self.leg.entry,
            spent: self.spent.clone(),
            text: self.transcript.text().into(),
        };
        let asking = ask_for_the_rest(self.question.clone(), cut);
        self.state = State::Asking(Box::pin(asking), reason);
    }

    /// Nobody goes on. Where the backend has told an error, its own words are the most honest ones.
    fn give_up(&mut self, reason: Reason) {
        if self.legs > 0 || self.sought {
            self.question.route.rescues.failed.inc();
        }
        self.state = match self.error.take() {
            None => State::Broken(Some(reason)),
            Some(error) => {
                self.ready.push_back(error);
                self.end = Some(BodyEnd::Framed);
                State::Over
            }
        };
    }

    fn go_on(&mut self, rest: Rest) {
        let State::Asking(_, reason) = std::mem::replace(&mut self.state, State::Reading) else {
            return;
        };
        let chain = &self.question.route.chain;
        let mut trail = Trail::default();
        let word = match reason {
            Reason::Idle(_) => "stalled",
            _ if self.error.is_some() => Trouble::Failed.word(),
            _ => "cut",
        };
        trail.note(&chain[self.leg.entry].group.name, word);
        trail.join(rest.trail);
        let Some((reached, is_prefilled)) = rest.next else {
            self.handover = Some(Handover { trail, to: None });
            self.give_up(reason);
            return;
        };
        let usage = self.leg.watcher.usage();
        chain[self.leg.entry].count_tokens(&Took::of(usage));
        let next = Next {
            entry: reached.entry,
            endpoint: reached.asked.endpoint.name.clone(),
            delivered: usage.delivered().map_or(0, |(tokens, _)| tokens),
            is_prefilled,
        };
        let to = Some(next);
        self.handover = Some(Handover { trail, to });
        self.legs += 1;
        self.error = None;
        let sequel = Sequel::after(&self.transcript, is_prefilled);
        self.leg = Leg::new(reached, self.dialect, Some(sequel));
    }
}

impl Leg {
    fn new(mut reached: Box<Reached>, dialect: Dialect, sequel: Option<Sequel>) -> Self {
        Self {
            turn: reached.turn.take(),
            endpoint: reached.asked.endpoint.number,
            entry: reached.entry,
            clocks: reached.clocks,
            body: Some(reached.asked.answer.body),
            splitter: Splitter::new(LARGEST_EVENT),
            watcher: Watcher::new(dialect, BodyKind::Sse),
            sequel,
            silence: None,
        }
    }

    fn judge(&mut self, well: bool) {
        if let Some(turn) = self.turn.take() {
            turn.end(Some(well));
        }
    }

    /// Ready when the backend has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        let Some(limit) = self.clocks.idle else {
            return Poll::Pending;
        };
        let silence = self
            .silence
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)));
        ready!(silence.as_mut().poll(cx));
        Poll::Ready(Reason::Idle(limit))
    }
}

/// Whether an event without its end says all it was to say: its data is a document, or the last word.
fn is_whole(block: &Block) -> bool {
    let Some(frame) = &block.frame else {
        return false;
    };
    let data = frame.parts().data;
    data.trim() == "[DONE]" || serde_json::from_str::<IgnoredAny>(&data).is_ok()
}

/// An event as it goes over the wire.
fn event_bytes(frame: &Frame, id: Option<&str>) -> Bytes {
    let mut event = BytesMut::with_capacity(frame.len() + 1);
    if let Some(id) = id {
        event.put_slice(b"id: ");
        event.put_slice(id.as_bytes());
        event.put_u8(b'\n');
    }
    event.put_slice(frame.as_bytes());
    event.put_u8(b'\n');
    event.freeze()
}

fn event_of(name: Option<&str>, data: &[u8]) -> Option<Frame> {
    Frame::new(name, &String::from_utf8_lossy(data), None).ok()
}
