//! Where a subscription begins.

use std::sync::Arc;

use super::gap::{Gap, GapReason};
use super::stream::Stream;
use super::subscription::{From, Numbering};
use crate::config::Start;
use crate::sse::{Epoch, EventId};

/// What is there when a subscription begins.
pub(super) struct Beginning<'s> {
    streams: &'s [Arc<Stream>],
    epoch: Epoch,
    /// The last position there is.
    last: u64,
    /// Events up to here may have been in topics that nobody remembers.
    forgotten: u64,
}

/// Where a subscription begins.
pub(super) struct Begun {
    /// It has what there is up to here, or did not ask for it.
    pub(super) position: u64,
    /// The same for each stream, where that is further.
    pub(super) from: Vec<u64>,
    /// What it is told first.
    pub(super) gap: Option<Gap>,
}

impl<'s> Beginning<'s> {
    pub(super) fn of(streams: &'s [Arc<Stream>], epoch: Epoch, board: Option<&Numbering>) -> Self {
        let last = match board {
            Some(board) => board.watermark.get(),
            None => streams.first().map_or(0, |stream| stream.last()),
        };
        Self {
            streams,
            epoch,
            last,
            forgotten: board.map_or(0, |board| board.forgotten),
        }
    }

    /// Where a subscription begins that asks for `from`.
    pub(super) fn find(&self, from: &From) -> Begun {
        match from {
            From::Start => self.start(|stream| stream.rules().start),
            From::Count(position) => self.behind(*position),
            From::After(text) => match text.parse::<EventId>() {
                Ok(id) if id.epoch == self.epoch => self.behind(id.position),
                parsed => match self.known_as(text) {
                    Some(position) => self.behind(position),
                    None if parsed.is_ok() => self.oldest(GapReason::Epoch),
                    None => self.oldest(GapReason::Unknown),
                },
            },
        }
    }

    fn behind(&self, position: u64) -> Begun {
        if position > self.last {
            return self.oldest(GapReason::Ahead);
        }
        let gap = (self.forgotten > position).then(|| Gap {
            reason: GapReason::Evicted,
            after: Some(self.id(position)),
            through: Some(self.id(self.forgotten)),
            missed: None,
            topic: None,
            id: self.id(position),
        });
        Begun {
            position,
            from: Vec::new(),
            gap,
        }
    }

    /// With the oldest there is, after a gap about which nothing more is known.
    fn oldest(&self, reason: GapReason) -> Begun {
        let begun = self.start(|_| Start::Oldest);
        let gap = Gap {
            reason,
            after: None,
            through: None,
            missed: None,
            topic: None,
            id: self.id(begun.position),
        };
        Begun {
            gap: Some(gap),
            ..begun
        }
    }

    /// Each stream as `start` says. What is gone already is not asked for, so nothing of it is missing.
    fn start(&self, start: impl Fn(&Stream) -> Start) -> Begun {
        let mut position = self.last;
        let mut from = Vec::with_capacity(self.streams.len());
        for stream in self.streams {
            let kept = stream.kept();
            let next = match (start(stream), kept.log.first()) {
                (Start::Latest, Some(_)) => kept.log.last(),
                (Start::Oldest, Some(first)) => first,
                (Start::Live | Start::Latest | Start::Oldest, _) => self.last + 1,
            };
            from.push(next - 1);
            position = position.min(next - 1);
        }
        Begun {
            position,
            from,
            gap: None,
        }
    }

    /// The newest event whose source called it `alias`. Where several topics have one, the oldest of these: better
    /// an event twice than one not at all.
    fn known_as(&self, alias: &str) -> Option<u64> {
        let known = self
            .streams
            .iter()
            .filter_map(|stream| stream.kept().log.find(alias));
        known.min()
    }

    fn id(&self, position: u64) -> EventId {
        EventId {
            epoch: self.epoch,
            position,
        }
    }
}
