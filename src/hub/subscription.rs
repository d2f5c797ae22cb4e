//! A cursor over one stream, or over topics that are numbered together.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use super::gap::{Gap, GapReason};
use super::reader::{Joined, Outlet, Reader};
use super::stream::{End, Stream};
use crate::config::{Ids, Slow, Start};
use crate::sse::{Epoch, EventId};
use crate::store::Entry;

/// Most bytes handed out at once.
pub(super) const BATCH: usize = 64 * 1024;

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
    slow: Slow,
    ids: Ids,
    /// What is to be told before anything else.
    pending: Option<Gap>,
    /// Whether what is gone already need not be told: the reader asked for what there is.
    quiet: bool,
    /// Up to where topics may be read: what has a number below is there. None for a stream of its own.
    watermark: Option<Arc<AtomicU64>>,
    /// Its interest in topics that are not there yet.
    watching: Option<Arc<super::board::Watching>>,
}

impl Stream {
    /// Subscribes in the thread of `worker`.
    pub fn subscribe(self: &Arc<Self>, worker: usize, from: &From) -> Subscription {
        let streams = vec![self.clone()];
        Subscription::begin(worker, streams, from, None)
    }
}

impl Subscription {
    /// A subscription to `streams`, of which there is at least one unless `board` is given.
    pub(super) fn begin(
        worker: usize,
        streams: Vec<Arc<Stream>>,
        from: &From,
        board: Option<Numbering>,
    ) -> Self {
        let (epoch, last) = match (&board, streams.first()) {
            (Some(board), _) => (board.epoch, board.watermark.load(Ordering::SeqCst)),
            (None, Some(stream)) => (stream.epoch(), stream.last()),
            (None, None) => (Epoch::new(0), 0),
        };
        let rules = streams.first().map(|stream| *stream.rules());
        let start = rules.map_or(Start::Live, |rules| rules.start);
        let ids = match &board {
            Some(_) => Ids::Backend,
            None => rules.map_or(Ids::Gateway, |rules| rules.ids),
        };
        let begun = begin(&streams, from, (epoch, last), start);
        let reader = Arc::new(Reader::new(worker, begun.position));
        let mut subscription = Self {
            reader,
            epoch,
            slow: rules.map_or(Slow::Skip, |rules| rules.slow),
            ids,
            pending: begun.gap,
            quiet: begun.quiet,
            watermark: board.as_ref().map(|board| board.watermark.clone()),
            watching: None,
        };
        for stream in streams {
            subscription.join(stream);
        }
        subscription.watching = board.and_then(|board| board.watching);
        if let Some(watching) = &subscription.watching {
            watching.begin(&subscription.reader);
        }
        subscription
    }

    fn join(&mut self, stream: Arc<Stream>) {
        join(&self.reader, stream);
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
        self.reader.unpark();
        loop {
            if let Some(next) = self.read() {
                return Poll::Ready(next);
            }
            self.reader.park(cx.waker());
            if !self.has_news() {
                return Poll::Pending;
            }
            self.reader.unpark();
        }
    }

    /// What is there now, without waiting.
    pub fn read(&mut self) -> Option<Next> {
        if let Some(gap) = self.pending.take() {
            return Some(Next::Gap(gap));
        }
        let next = match self.watermark.clone() {
            Some(watermark) => self.read_topics(watermark.load(Ordering::SeqCst)),
            None => self.read_stream(),
        };
        if matches!(next, Some(Next::Events(_))) {
            self.quiet = false;
        }
        next
    }

    fn read_stream(&mut self) -> Option<Next> {
        let position = self.reader.position();
        let joined = self.reader.joined();
        let stream = joined.first()?.stream.clone();
        drop(joined);
        let kept = stream.kept();
        let read = kept.log.after(position, BATCH);
        if let Some(missed) = read.missed.filter(|_| !self.quiet) {
            drop(kept);
            return Some(self.missed(&stream, position, missed.through));
        }
        if let Some(last) = read.entries.last() {
            self.reader.move_to(last.position);
            return Some(Next::Events(read.entries));
        }
        kept.end.map(Next::End)
    }

    /// The reader's place in a stream of its own was evicted.
    fn missed(&mut self, stream: &Arc<Stream>, after: u64, through: u64) -> Next {
        stream.shared().series.gaps.inc();
        let through = match self.slow {
            Slow::Disconnect if after > 0 && self.reader.has_read() => return Next::Lagged,
            Slow::Latest => through.max(stream.last().saturating_sub(1)),
            Slow::Disconnect | Slow::Skip => through,
        };
        self.reader.move_to(through);
        Next::Gap(Gap {
            reason: GapReason::Evicted,
            after: Some(stream.id(after)),
            through: Some(stream.id(through)),
            missed: Some(through - after),
            topic: None,
            id: stream.id(through),
        })
    }

    fn read_topics(&mut self, watermark: u64) -> Option<Next> {
        let position = self.reader.position();
        let mut upto = watermark;
        let mut found: Vec<Entry> = Vec::new();
        let mut joined = self.reader.joined();
        for joined in joined.iter_mut() {
            let stream = &joined.stream;
            if stream.last() <= position && stream.floor() <= position {
                continue;
            }
            let read = stream.kept().log.after(position, BATCH);
            let missed = read
                .missed
                .map_or(0, |missed| missed.through)
                .max(stream.floor());
            if missed > position && missed > joined.reported && !self.quiet {
                joined.reported = missed;
                return Some(self.missed_topic(stream, position, missed));
            }
            if let Some(last) = read
                .entries
                .last()
                .filter(|last| last.position < stream.last())
            {
                upto = upto.min(last.position);
            }
            found.extend(read.entries);
        }
        drop(joined);
        found.retain(|entry| entry.position <= upto);
        found.sort_unstable_by_key(|entry| entry.position);
        self.reader.move_to(found.last()?.position);
        Some(Next::Events(found))
    }

    fn missed_topic(&self, stream: &Arc<Stream>, after: u64, through: u64) -> Next {
        stream.shared().series.gaps.inc();
        if self.slow == Slow::Disconnect && self.reader.has_read() {
            return Next::Lagged;
        }
        Next::Gap(Gap {
            reason: GapReason::Evicted,
            after: Some(stream.id(after)),
            through: Some(stream.id(through)),
            missed: None,
            topic: stream.name().cloned(),
            // What the other topics still have must not be skipped.
            id: stream.id(after),
        })
    }

    fn has_news(&self) -> bool {
        let position = self.reader.position();
        let joined = self.reader.joined();
        joined
            .iter()
            .any(|joined| joined.stream.last() > position || joined.stream.has_ended())
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

    /// How many events and bytes were written to the outlet so far.
    pub fn written(&self) -> (u64, u64) {
        self.reader.written()
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
    pub(super) watermark: Arc<AtomicU64>,
    pub(super) watching: Option<Arc<super::board::Watching>>,
}

/// Has `reader` follow `stream` too.
pub(super) fn join(reader: &Arc<Reader>, stream: Arc<Stream>) {
    let key = stream.enter(reader.clone());
    let mut joined = reader.joined();
    joined.push(Joined {
        stream,
        key,
        reported: 0,
    });
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

/// Where a reader begins.
struct Begun {
    position: u64,
    gap: Option<Gap>,
    quiet: bool,
}

impl Begun {
    fn at(position: u64) -> Self {
        Self {
            position,
            gap: None,
            quiet: false,
        }
    }

    /// With the oldest there is, after a gap about which nothing more is known.
    fn oldest(reason: GapReason, epoch: Epoch) -> Self {
        Self {
            position: 0,
            gap: Some(Gap {
                reason,
                after: None,
                through: None,
                missed: None,
                topic: None,
                id: EventId { epoch, position: 0 },
            }),
            quiet: true,
        }
    }
}

fn begin(streams: &[Arc<Stream>], from: &From, (epoch, last): (Epoch, u64), start: Start) -> Begun {
    let ahead = |position| {
        if position > last {
            Begun::oldest(GapReason::Ahead, epoch)
        } else {
            Begun::at(position)
        }
    };
    match from {
        From::Count(position) => ahead(*position),
        From::After(text) => match (text.parse::<EventId>(), find(streams, text)) {
            (_, Some(position)) => Begun::at(position),
            (Ok(id), None) if id.epoch == epoch => ahead(id.position),
            (Ok(_), None) => Begun::oldest(GapReason::Epoch, epoch),
            (Err(_), None) => Begun::oldest(GapReason::Unknown, epoch),
        },
        From::Start => match start {
            Start::Live => Begun::at(last),
            Start::Latest => Begun {
                position: latest(streams).map_or(last, |position| position - 1),
                gap: None,
                quiet: true,
            },
            Start::Oldest => Begun {
                position: 0,
                gap: None,
                quiet: true,
            },
        },
    }
}

/// The newest event whose source called it `alias`.
fn find(streams: &[Arc<Stream>], alias: &str) -> Option<u64> {
    streams
        .iter()
        .filter_map(|stream| stream.kept().log.find(alias))
        .max()
}

/// The position of the newest event that is kept.
fn latest(streams: &[Arc<Stream>]) -> Option<u64> {
    let kept = streams.iter().filter(|stream| !stream.is_empty());
    kept.map(|stream| stream.last()).max()
}
