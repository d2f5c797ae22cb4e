//! The direct path: an upstream's body, polled by the server that writes it to the client.
//!
//! No task, channel or copy of its own stands between the two sockets. The [`Watcher`] looks at the
//! bytes as they pass and never holds one back; silence is filled with heartbeats where the stream can
//! bear them; and the end is what [`judge`] makes of it.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::attempts::is_no_fault;
use super::incoming::Incoming;
use super::parting::Parting;
use super::record::{Outcome, Record};
use super::source::{Arrival, Source};
use super::told::Told;
use crate::delivery::{Direct as Written, Framing, Silence, SilenceClock};
use crate::dialect::{
    BodyKind, ClientEnd, Ending, Failure, TransportEnd, Verdict, Watcher, error_event, heartbeat,
    judge,
};
use crate::upstream::{BodyEnd, Past, Piece, Reason, UploadFault};

/// Limits of the gateway that no endpoint is to blame for.
const OURS: [&str; 2] = ["gateway_stopping", "total_timeout"];
/// UTF-8's byte order mark; it means something only at the very start of a stream.
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// An answer that could not be ended properly; the connection is closed without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer was cut")]
pub struct Aborted;

/// An upstream's body on its way to the client.
pub(super) struct Direct {
    source: Source,
    watcher: Watcher,
    clock: SilenceClock,
    state: State,
    parting: Parting,
    /// How the caller is told what its answer took.
    told: Option<Told>,
    /// Trailers of the upstream that follow what the caller was told.
    trailers: Option<Box<HeaderMap>>,
    record: Box<Record>,
    /// Whether the server was told last that there is nothing.
    waits: bool,
    /// What was read for the server when it was not its turn.
    held: Option<Option<Result<Piece, Reason>>>,
}

impl Drop for Direct {
    /// However it ends, also by a caller who leaves: what went by is known.
    fn drop(&mut self) {
        self.record.took.usage = self.watcher.usage();
        // Many a client hangs up on the last word, before the body's end is there. It has got all of it.
        let left = self.record.outcome == Outcome::Ended(Ending::Left);
        if left && !self.record.socket().has_stalled() {
            let verdict = judge(TransportEnd::Cut, &self.watcher);
            if verdict.ending == Ending::Complete {
                self.ends(Ending::Complete);
            }
        }
    }
}

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Everything was handed out, and how it ended is recorded.
    Over,
    /// The answer will be aborted once what was handed out has left.
    Aborting,
}

impl Direct {
    /// Relays `source`, in whose stream `watcher` looks and which `clock` times.
    pub(super) fn new(
        source: Source,
        watcher: Watcher,
        clock: SilenceClock,
        record: Box<Record>,
    ) -> Self {
        Self {
            source,
            watcher,
            clock,
            state: State::Open,
            parting: Parting::default(),
            told: None,
            trailers: None,
            record,
            waits: false,
            held: None,
        }
    }

    /// Tells the caller at the end what its answer took.
    pub(super) fn telling(mut self, told: Option<Told>) -> Self {
        self.told = told;
        self
    }

    /// The next frame for the client.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let next = self.poll_next(cx);
        self.waits = next.is_pending();
        next
    }

    /// Writes what has come past the server; see [`crate::delivery::Pump`]. The beginning, the end and whatever is out
    /// of the ordinary are left to [`Direct::poll_frame`].
    pub(super) fn poll_past(&mut self, cx: &mut Context<'_>) -> bool {
        let is_due = self.waits && self.held.is_none() && !self.record.socket().is_stopping();
        if !is_due || self.state != State::Open || self.record.events == 0 {
            return false;
        }
        let Source::Answer(body) = &mut self.source else {
            return false;
        };
        // What is taken of an upload wakes the server, which reads on.
        if body.is_sending() {
            return false;
        }
        let framing = Framing::of(self.record.version());
        let mut outcome = None;
        loop {
            let past = body.poll_past(cx, |data| {
                let written = self.record.socket().write_framed(framing, data);
                outcome = Some(written);
                if written == Written::Busy {
                    return false;
                }
                self.watcher.feed(data);
                self.record.add_bytes(data.len());
                self.record.set_events(self.watcher.events());
                self.clock.broken();
                true
            });
            match past {
                // What the client did not take is the server's to send on.
                Poll::Ready(Past::Taken) if outcome == Some(Written::Partly) => return false,
                Poll::Ready(Past::Taken) => {}
                Poll::Ready(Past::Piece(piece)) => {
                    self.held = Some(piece);
                    return false;
                }
                // Woken for nothing of the upstream's, the server may know for what.
                Poll::Pending => return outcome.is_some() && self.clock.rests(),
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        loop {
            match self.state {
                State::Open => {}
                State::Over => {
                    let trailers = self.trailers.take();
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(*trailers))));
                }
                State::Aborting => return self.poll_abort(cx),
            }
            if self.record.socket().is_stopping() {
                let event = self.ran_out("gateway_stopping", || {
                    "the gateway ends, and the time for running answers is over".to_owned()
                });
                match event {
                    Some(event) => return Poll::Ready(Some(Ok(event))),
                    None => continue,
                }
            }
            let step = match self.poll_source(cx) {
                Poll::Ready(step) => step,
                Poll::Pending => match self.poll_silence(cx) {
                    Poll::Ready(step) => step,
                    Poll::Pending => return Poll::Pending,
                },
            };
            if let Some(frame) = step {
                return Poll::Ready(Some(Ok(frame)));
            }
        }
    }

    /// Whether nothing more will be handed out.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over && self.trailers.is_none()
    }

    /// The number of bytes to come, where it is known and stays.
    pub(super) fn size_hint(&self) -> SizeHint {
        match (&self.source, self.watcher.kind()) {
            (Source::Answer(body), BodyKind::Opaque) => body
                .remaining()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
            _ => SizeHint::default(),
        }
    }

    /// What the upstream has: a frame, or a change of state.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        let body = match &mut self.source {
            Source::Answer(body) => body,
            Source::Awaited(awaited) => {
                return match awaited.as_mut().poll(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(arrival) => Poll::Ready(self.arrived(arrival)),
                };
            }
        };
        let piece = match self.held.take() {
            Some(held) => held,
            None => std::task::ready!(body.poll_piece(cx)),
        };
        let end = body.end();
        if let Some(handover) = body.handover() {
            self.record.hand_over(handover);
        }
        Poll::Ready(match piece {
            Some(Ok(Piece::Data(data))) => self.pass(data),
            Some(Ok(Piece::Trailers(trailers))) => self.close_with(trailers),
            Some(Err(reason)) => self.cut(reason),
            None => {
                let end = match end {
                    Some(BodyEnd::Framed) => TransportEnd::Framed,
                    Some(BodyEnd::Closed) => TransportEnd::Closed,
                    None => TransportEnd::Cut,
                };
                self.close(end)
            }
        })
    }

    /// The upstream's body has ended.
    fn close(&mut self, end: TransportEnd) -> Option<Frame<Bytes>> {
        self.finish(judge(end, &self.watcher), 502, "upstream_truncated", || {
            "the upstream's answer ended before it was complete".to_owned()
        })
    }

    /// Trailers end a body; they are passed on unless something else has to be said.
    fn close_with(&mut self, mut trailers: HeaderMap) -> Option<Frame<Bytes>> {
        let telling = self.told.is_some();
        let last = self.close(TransportEnd::Framed);
        if self.state != State::Over {
            return last;
        }
        let last = match last.map(Frame::into_trailers) {
            None => return Some(Frame::trailers(trailers)),
            Some(Ok(ours)) => {
                trailers.extend(ours);
                return Some(Frame::trailers(trailers));
            }
            Some(Err(last)) => last,
        };
        // Behind an error there is nothing more to say.
        self.trailers = telling.then(|| Box::new(trailers));
        Some(last)
    }

    /// What is due because the upstream has nothing: a frame, or a change of state.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        let silence = match self.clock.poll(cx) {
            Poll::Ready(silence) => silence,
            Poll::Pending if self.is_gone(cx) => {
                self.leave();
                return Poll::Ready(None);
            }
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(match silence {
            Silence::HeartbeatDue => self.heartbeat(),
            Silence::Idle(limit) => self.ran_out("idle_timeout", || {
                format!("the upstream sent nothing for {limit:?}")
            }),
            Silence::FirstEvent(limit) => self.ran_out("first_event_timeout", || {
                format!("no event came within {limit:?}")
            }),
            Silence::Total(limit) => self.ran_out("total_timeout", || {
                format!("the answer took longer than {limit:?}")
            }),
        })
    }

    fn is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        let socket = self.record.socket();
        self.parting.poll_hung_up(socket, cx).is_ready()
    }

    /// The client is gone, or takes nothing more.
    fn leave(&mut self) {
        self.parting.at_once();
        self.state = State::Aborting;
    }

    fn heartbeat(&mut self) -> Option<Frame<Bytes>> {
        let bearable = self.watcher.kind() == BodyKind::Sse && self.watcher.at_boundary();
        bearable.then(|| {
            self.record.heartbeats += 1;
            Frame::data(Bytes::from_static(heartbeat(self.watcher.dialect())))
        })
    }

    fn pass(&mut self, mut data: Bytes) -> Option<Frame<Bytes>> {
        // A mark that is no longer at the start would become part of the first field's name.
        if self.record.bytes == 0 && self.record.heartbeats > 0 && data.starts_with(BOM) {
            data = data.slice(BOM.len()..);
        }
        self.watcher.feed(&data);
        self.record.add_bytes(data.len());
        if self.record.set_events(self.watcher.events()) {
            self.clock.first_event_seen();
        }
        self.clock.broken();
        self.end_with_last_data();
        Some(Frame::data(data))
    }

    /// When the body's end came with its last data and is a clean one, the two go out in one write.
    fn end_with_last_data(&mut self) {
        let Source::Answer(body) = &self.source else {
            return;
        };
        if !body.is_over() || self.told.is_some() {
            return;
        }
        let verdict = judge(TransportEnd::Framed, &self.watcher);
        if verdict.client == ClientEnd::Clean {
            self.ends(verdict.ending);
            self.state = State::Over;
        }
    }

    fn arrived(&mut self, arrival: Arrival) -> Option<Frame<Bytes>> {
        match arrival {
            Arrival::Stream(mut reached) => {
                self.record.move_to(&mut reached);
                if let Some(limit) = reached.clocks.first_event {
                    self.clock.limit_first_event(reached.began, limit);
                }
                let idle = reached.clocks.idle;
                let incoming = Incoming::of(reached);
                self.clock
                    .begin_idle(idle.filter(|_| !incoming.keeps_time()));
                self.source = Source::Answer(incoming);
                None
            }
            Arrival::Unfit {
                status,
                code,
                message,
                detail,
                trail,
            } => {
                self.record.trail = trail;
                let verdict = judge(TransportEnd::Cut, &self.watcher);
                let event = self.finish(verdict, status, code, || message);
                if let Some(detail) = detail {
                    self.record.reason = Some(format!("{code}: {detail}").into());
                }
                event
            }
        }
    }

    fn cut(&mut self, reason: Reason) -> Option<Frame<Bytes>> {
        // A client that broke off its upload has left: the record says so from the start.
        if matches!(reason, Reason::Upload(UploadFault::Client)) {
            self.leave();
            return None;
        }
        let verdict = judge(TransportEnd::Cut, &self.watcher);
        self.finish(verdict, 502, "upstream_cut", || {
            format!("the upstream's answer broke off: {reason}")
        })
    }

    fn ran_out(
        &mut self,
        code: &'static str,
        message: impl FnOnce() -> String,
    ) -> Option<Frame<Bytes>> {
        let verdict = judge(TransportEnd::Cut, &self.watcher);
        if OURS.contains(&code) {
            // Neither is the endpoint's doing.
            self.record.turn = None;
        }
        self.finish(verdict, 504, code, message)
    }

    /// What the caller is told of what its answer took, behind a good end.
    fn tell_usage(&mut self) -> Option<Frame<Bytes>> {
        let told = self.told.take()?;
        self.record.took.usage = self.watcher.usage();
        told.frame(&self.record, self.watcher.at_boundary())
    }

    fn ends(&mut self, ending: Ending) {
        if ending == Ending::Failed && is_no_fault(&self.watcher) {
            self.record.turn = None;
        }
        self.record.outcome = Outcome::Ended(ending);
    }

    /// Ends the answer as `verdict` says; the error event, if there is to be one.
    fn finish(
        &mut self,
        verdict: Verdict,
        status: u16,
        code: &'static str,
        message: impl FnOnce() -> String,
    ) -> Option<Frame<Bytes>> {
        self.ends(verdict.ending);
        if verdict.ending == Ending::Truncated {
            self.record.reason = Some(format!("{code}: {}", message()).into());
        }
        let event = match verdict.client {
            ClientEnd::Clean => self.tell_usage(),
            ClientEnd::ErrorEvent => self.error_event(status, code),
            ClientEnd::Abort => None,
        };
        if verdict.client != ClientEnd::Clean && event.is_none() {
            self.state = State::Aborting;
            return None;
        }
        // Nothing more is read: what still comes from the upstream is nobody's.
        self.state = State::Over;
        event
    }

    fn error_event(&self, status: u16, code: &'static str) -> Option<Frame<Bytes>> {
        let reason = self.record.reason.as_deref().unwrap_or_default();
        let message = reason
            .strip_prefix(code)
            .map_or(reason, |rest| rest.trim_start_matches(": "));
        let failure = Failure {
            status,
            code,
            message,
            request_id: self.record.id(),
        };
        error_event(self.watcher.dialect(), self.watcher.kind(), &failure).map(Frame::data)
    }

    fn poll_abort(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        std::task::ready!(self.parting.poll_abort(&self.record, cx));
        self.state = State::Over;
        Poll::Ready(Some(Err(Aborted)))
    }
}
