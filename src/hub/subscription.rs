//! A cursor over one stream, or over topics that are numbered together.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use super::Shared;
use super::beginning::Beginning;
use super::gap::{Gap, GapReason};
use super::parking::Mark;
use super::reader::{Joined, Outlet, Reader, Written};
use super::stream::{End, Stream};
use crate::config::{Ids, Slow};
use crate::sse::{Epoch, EventId};
use crate::store::Entry;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

/// Most bytes handed out at once.
pub(super) const BATCH: usize = 64 * 1024;
/// Most bytes taken from each of many topics, which share [`BATCH`] otherwise.
const SHARE: usize = 4 * 1024;

/// Where a reader begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// Where its stream has readers begin that name no event.
    Start,
    /// After the event with this id, as a client shows it.
    After(String),
    /// After so many events of a stream of its own.
    Count(u64),
}

/// What comes next for a reader.
#[derive(Debug)]
pub enum Next {
    /// Events, at least one.
    Events(Vec<Entry>),
    /// Events it can no longer get.
    Gap(Gap),
    /// Nothing more will come.
    End(End),
    /// It was too slow, and has to connect again.
    Lagged,
}

/// A cursor. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    reader: Arc<Reader>,
    epoch: Epoch,
    ids: Ids,
    /// What is to be told before anything else.
    pending: Option<Gap>,
    /// Up to where topics may be read: what has a number below is there. None for a stream of its own.
    watermark: Option<Arc<Mark>>,
    subscribers: Gauge,
    /// When the hub began.
    clock: Instant,
    /// Its interest in topics that are not there yet.
    watching: Option<Arc<super::board::Watching>>,
}

impl Stream {
    /// Subscribes in the thread of `worker`.
    pub fn subscribe(self: &Arc<Self>, worker: usize, from: &From) -> Subscription {
        let streams = vec![self.clone()];
        Subscription::begin((self.shared(), worker), streams, from, None)
    }
}

impl Subscription {
    /// A subscription to `streams`, of which there is at least one unless `board` is given.
    pub(super) fn begin(
        (shared, worker): (&Shared, usize),
        streams: Vec<Arc<Stream>>,
        from: &From,
        board: Option<Numbering>,
    ) -> Self {
        let subscribers = shared.series.subscribers.clone();
        subscribers.inc();
        let rules = streams.first().map(|stream| *stream.rules());
        let epoch = match (&board, streams.first()) {
            (Some(board), _) => board.epoch,
            (None, Some(stream)) => stream.epoch(),
            (None, None) => Epoch::new(0),
        };
        let ids = match &board {
            Some(_) => Ids::Backend,
            None => rules.map_or(Ids::Gateway, |rules| rules.ids),
        };
        let begun = Beginning::of(&streams, epoch, board.as_ref()).find(from);
        let subscription = Self {
            reader: Arc::new(Reader::new(worker, begun.position)),
            epoch,
            ids,
            pending: begun.gap,
            subscribers,
            clock: shared.started,
            watermark: board.as_ref().map(|board| board.watermark.clone()),
            watching: board.and_then(|board| board.watching),
        };
        for (at, stream) in streams.into_iter().enumerate() {
            join(
                &subscription.reader,
                stream,
                begun.from.get(at).copied().unwrap_or(0),
            );
        }
        if let Some(watching) = &subscription.watching {
            watching.begin(&subscription.reader);
        }
        subscription
    }

    /// Lets events be written to `outlet` directly from now on, whenever the reader waits for more.
    pub fn write_to(&self, outlet: Outlet) {
        // Only the first counts: a subscription has one client.
        let _ = self.reader.outlet.set(outlet);
    }

    /// What comes next. Pending parks the reader: what comes may be written past it, to its outlet, and
    /// [`Subscription::written`] and [`Subscription::id`] tell of it.
    ///
    /// To be polled by the thread of the worker it was begun for.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.reader.seat.unpark();
        loop {
            if let Some(next) = self.read() {
                return Poll::Ready(next);
            }
            self.reader.seat.park(cx.waker());
            if !self.has_news() {
                return Poll::Pending;
            }
            self.reader.seat.unpark();
        }
    }

    /// What is there now, without waiting.
    pub fn read(&mut self) -> Option<Next> {
        if let Some(gap) = self.pending.take() {
            return Some(Next::Gap(gap));
        }
        match self.watermark.clone() {
            Some(watermark) => self.read_topics(watermark.get()),
            None => self.read_stream(),
        }
    }

    fn read_stream(&mut self) -> Option<Next> {
        let position = self.reader.position();
        let stream = self.reader.joined().first()?.stream.clone();
        let kept = stream.kept();
        let read = kept.log.after(position, BATCH);
        if let Some(missed) = read.missed {
            drop(kept);
            let through = match self.skip(&stream, missed.through) {
                Some(through) => through,
                None => return Some(Next::Lagged),
            };
            self.reader.move_to(through);
            return Some(Next::Gap(Gap {
                reason: GapReason::Evicted,
                after: Some(stream.id(position)),
                through: Some(stream.id(through)),
                missed: Some(through - position),
                topic: None,
                id: stream.id(through),
            }));
        }
        if let Some(last) = read.entries.last() {
            self.reader.move_to(last.position);
            return Some(Next::Events(read.entries));
        }
        kept.end.map(Next::End)
    }

    /// Behind what a reader goes on whose next events, up to `through`, were evicted; none if it does not.
    fn skip(&self, stream: &Stream, through: u64) -> Option<u64> {
        let series = &stream.shared().series;
        let through = match stream.rules().slow {
            Slow::Disconnect if self.reader.has_read() => {
                series.lagged.inc();
                return None;
            }
            Slow::Latest => through.max(stream.last().saturating_sub(1)),
            Slow::Disconnect | Slow::Skip => through,
        };
        series.gaps.inc();
        Some(through)
    }

    /// What is new in any topic, in the order of the numbers: as far as all of them were read.
    fn read_topics(&mut self, watermark: u64) -> Option<Next> {
        let position = self.reader.position();
        let mut upto = watermark;
        let mut found: Vec<Entry> = Vec::new();
        let mut joined = self.reader.joined();
        let news = joined
            .iter()
            .filter(|joined| joined.has_news(position))
            .count();
        let share = (BATCH / news.max(1)).max(SHARE);
        for joined in joined.iter_mut().filter(|joined| joined.has_news(position)) {
            let stream = &joined.stream;
            let after = position.max(joined.from);
            let read = stream.kept().log.after(after, share);
            if let Some(missed) = read.missed {
                let Some(through) = self.skip(stream, missed.through) else {
                    return Some(Next::Lagged);
                };
                joined.from = through;
                return Some(Next::Gap(Gap {
                    reason: GapReason::Evicted,
                    after: Some(stream.id(after)),
                    through: Some(stream.id(through)),
                    missed: None,
                    topic: stream.name().cloned(),
                    // What the other topics still have must not be skipped.
                    id: stream.id(position),
                }));
            }
            if let Some(last) = read
                .entries
                .last()
                .filter(|last| last.position < stream.last())
            {
                upto = upto.min(last.position);
            }
            if found.is_empty() {
                found = read.entries;
            } else {
                found.extend(read.entries);
            }
        }
        drop(joined);
        found.retain(|entry| entry.position <= upto);
        found.sort_unstable_by_key(|entry| entry.position);
        let Some(last) = found.last() else {
            // Had a topic more than was read, it would have given something: all were read up to here.
            self.reader.pass_to(position.max(watermark));
            return None;
        };
        self.reader.move_to(last.position);
        Some(Next::Events(found))
    }

    fn has_news(&self) -> bool {
        let position = self.reader.position();
        let upto = self
            .watermark
            .as_ref()
            .map_or(u64::MAX, |watermark| watermark.get());
        let joined = self.reader.joined();
        joined.iter().any(|joined| {
            (upto > position && joined.has_news(position)) || joined.stream.has_ended()
        })
    }

    /// Where it stands: the id to resume after.
    pub fn id(&self) -> EventId {
        EventId {
            epoch: self.epoch,
            position: self.reader.position(),
        }
    }

    /// The id that readers see of an event.
    pub fn shown<'e>(&self, entry: &'e Entry) -> Cow<'e, str> {
        shown((self.epoch, self.ids), entry)
    }

    /// What was written to the outlet so far.
    pub fn written(&self) -> Written {
        self.reader.written()
    }

    /// How long ago that was last done.
    pub fn silence(&self) -> Duration {
        let now = self.clock.elapsed();
        now.saturating_sub(Duration::from_millis(self.reader.written().at_ms))
    }

    /// Whether nothing more will come, and all was read.
    pub fn is_over(&self) -> bool {
        let position = self.reader.position();
        let joined = self.reader.joined();
        self.watermark.is_none()
            && self.pending.is_none()
            && joined
                .iter()
                .all(|joined| joined.stream.has_ended() && joined.stream.last() <= position)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.subscribers.dec();
        if let Some(watching) = &self.watching {
            watching.end();
        }
        let joined = std::mem::take(&mut *self.reader.joined());
        for Joined { stream, key, .. } in joined {
            stream.leave(self.reader.worker, key);
        }
    }
}

/// What a subscription to topics needs of their numbering.
pub(super) struct Numbering {
    pub(super) epoch: Epoch,
    pub(super) watermark: Arc<Mark>,
    pub(super) watching: Option<Arc<super::board::Watching>>,
    /// No topic that it watches for, and that was forgotten, had an event beyond this.
    pub(super) forgotten: u64,
}

/// Has `reader` follow `stream` too, behind `from`.
pub(super) fn join(reader: &Arc<Reader>, stream: Arc<Stream>, from: u64) {
    let key = stream.enter(reader.clone());
    let mut joined = reader.joined();
    joined.push(Joined { stream, key, from });
    if joined.len() > 1 {
        reader.many.store(true, Ordering::SeqCst);
    }
}

/// The id that readers see of an event.
pub(super) fn shown((epoch, ids): (Epoch, Ids), entry: &Entry) -> Cow<'_, str> {
    match &entry.alias {
        Some(alias) if ids == Ids::Backend => Cow::Borrowed(alias),
        _ => Cow::Owned(
            EventId {
                epoch,
                position: entry.position,
            }
            .to_string(),
        ),
    }
}
