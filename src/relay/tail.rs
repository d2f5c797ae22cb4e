//! An upstream's body, read into a stream for as long as it lasts.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::attempts::Trail;
use super::incoming::Incoming;
use super::took::Took;
use crate::config::ResolvedClocks;
use crate::dialect::Watcher;
use crate::hub::Stream;
use crate::sse::{Block, Lines, Splitter, TooLarge};
use crate::upstream::{BodyEnd, Piece, Reason, Turn};

/// How a body's events are told apart.
#[derive(Debug)]
pub(super) enum Cut {
    /// An event stream.
    Events(Splitter),
    /// A line an event.
    Lines(Lines),
}

/// Why there is no more.
#[derive(Debug)]
pub(super) enum TailEnd {
    /// The body has ended.
    Over(Option<BodyEnd>),
    /// It broke off.
    Cut(Reason),
    /// An event is too large to be kept.
    TooLarge(TooLarge),
    /// Nothing came for so long.
    Idle(Duration),
    /// No event came for so long.
    FirstEvent(Duration),
    /// It took longer than this.
    Total(Duration),
    /// The stream was closed by somebody else.
    Closed,
}

/// Reads a body into a stream.
pub(super) struct Tail {
    stream: Arc<Stream>,
    cut: Cut,
    /// The id the upstream gave last; to be shown to it when it is asked again.
    pub(super) last_id: Option<Arc<str>>,
    /// How long the upstream wants its clients to wait before they come again.
    pub(super) retry: Option<Duration>,
    /// Looks at the bytes, where it has to be known how the answer ends.
    pub(super) watcher: Option<Watcher>,
    /// Events appended.
    pub(super) events: u64,
    /// The place at the endpoint that sends it.
    pub(super) turn: Option<Turn>,
    /// What was tried for it.
    pub(super) trail: Trail,
    /// What it took, but for what its watcher tells.
    pub(super) took: Took,
    /// The entry of the chain, and the endpoint, that went on with it.
    pub(super) answerer: Option<(usize, Arc<str>)>,
    /// Whether it was cut, and nobody could go on.
    pub(super) is_lost: bool,
}

impl Tail {
    pub(super) fn new(stream: Arc<Stream>, cut: Cut) -> Self {
        Self {
            stream,
            cut,
            last_id: None,
            retry: None,
            watcher: None,
            events: 0,
            turn: None,
            trail: Trail::default(),
            took: Took::default(),
            answerer: None,
            is_lost: false,
        }
    }

    /// Reads until there is no more. `since` is when the request came, and when the attempt began.
    pub(super) async fn run(
        &mut self,
        body: &mut Incoming,
        clocks: &ResolvedClocks,
        since: (Instant, Instant),
    ) -> TailEnd {
        loop {
            // What is continued by others times each of them itself.
            let idle = clocks.idle.filter(|_| !body.keeps_time());
            let (due, why) = self.due(clocks, idle, since);
            let piece = poll_fn(|cx| body.poll_piece(cx));
            let piece = match due {
                None => piece.await,
                Some(due) => match timeout_at(due, piece).await {
                    Ok(piece) => piece,
                    Err(_) => return why,
                },
            };
            if let Some(handover) = body.handover() {
                self.trail.join(handover.trail);
                self.is_lost = handover.to.is_none();
                if let Some(next) = handover.to {
                    self.took.hand_over(&next);
                    self.answerer = Some((next.entry, next.endpoint));
                }
            }
            match piece {
                Some(Ok(Piece::Data(data))) => {
                    if let Err(end) = self.take(&data) {
                        return end;
                    }
                }
                Some(Ok(Piece::Trailers(_))) => {}
                Some(Err(reason)) => return TailEnd::Cut(reason),
                None => return TailEnd::Over(body.end()),
            }
        }
    }

    /// What is due first, and what it would mean.
    fn due(
        &self,
        clocks: &ResolvedClocks,
        idle: Option<Duration>,
        (started, began): (Instant, Instant),
    ) -> (Option<Instant>, TailEnd) {
        let first = clocks.first_event.filter(|_| self.events == 0);
        let limits = [
            idle.map(|idle| (Instant::now() + idle, TailEnd::Idle(idle))),
            first.map(|limit| (began + limit, TailEnd::FirstEvent(limit))),
            clocks
                .total
                .map(|limit| (started + limit, TailEnd::Total(limit))),
        ];
        let next = limits.into_iter().flatten().min_by_key(|(at, _)| *at);
        next.map_or((None, TailEnd::Closed), |(at, why)| (Some(at), why))
    }

    fn take(&mut self, data: &Bytes) -> Result<(), TailEnd> {
        if let Some(watcher) = &mut self.watcher {
            watcher.feed(data);
        }
        self.split(data)
    }

    /// Takes what came without its end for whole: the last line, or the last event without its blank line.
    pub(super) fn finish(&mut self) {
        let end: &[u8] = match &self.cut {
            Cut::Events(_) => b"\n\n",
            Cut::Lines(_) => b"\n",
        };
        // What is too large is not whole, and a closed stream wants no more.
        let _ = self.split(end);
    }

    /// Whether its events are lines.
    pub(super) fn is_lines(&self) -> bool {
        matches!(self.cut, Cut::Lines(_))
    }

    fn split(&mut self, data: &[u8]) -> Result<(), TailEnd> {
        let mut open = true;
        let (stream, events) = (&self.stream, &mut self.events);
        let (last_id, retry) = (&mut self.last_id, &mut self.retry);
        let mut append = |block: Block| {
            // An event without an id of its own is not found by that of another, though a browser says it.
            let own: Option<Arc<str>> = block.id.map(Arc::from);
            if let Some(id) = &own {
                *last_id = Some(id.clone()).filter(|id| !id.is_empty());
            }
            if let Some(millis) = block.retry {
                *retry = Some(Duration::from_millis(millis));
            }
            if let Some(frame) = block.frame {
                *events += 1;
                let own = own.filter(|id| !id.is_empty());
                open &= stream.append(frame, own).is_ok();
            }
        };
        let fed = match &mut self.cut {
            Cut::Events(splitter) => splitter.feed(data, &mut append),
            Cut::Lines(lines) => lines.feed(data, &mut append),
        };
        if let Some(turn) = self.turn.as_mut().filter(|_| self.events > 0) {
            turn.first_event();
        }
        fed.map_err(TailEnd::TooLarge)?;
        if open { Ok(()) } else { Err(TailEnd::Closed) }
    }
}
