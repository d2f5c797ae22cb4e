//! The newest events of one stream, within bounds of number, bytes and age.
//!
//! Invariant: positions strictly rise from the oldest entry to the newest, and an entry goes only
//! when all older ones are gone. So a reader's place is found by binary search, and the greatest
//! position that went says whether a reader has missed anything.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::sse::Frame;

/// What an entry takes besides its frame and its alias: itself, its buffers' heads, and its place.
const ENTRY_COST: usize = 128;

/// What an alias takes besides its text, with its place in the index.
const ALIAS_COST: usize = 64;

/// Queues of at most so many places are not worth making smaller.
const SMALL: usize = 64;

/// How much a log keeps. What goes beyond any of them goes, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most events.
    pub events: usize,
    /// Most bytes, as [`Log::bytes`] counts them.
    pub bytes: usize,
    /// How old an event gets, in whole milliseconds.
    pub age: Duration,
}

/// One event in a log. A clone shares the event's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The place in the stream's numbering.
    pub position: u64,
    /// When it came, in milliseconds on the clock of the log's owner.
    pub at_ms: u64,
    /// The event.
    pub frame: Frame,
    /// The id that the backend or the publisher gave to it.
    pub alias: Option<Arc<str>>,
}

/// Events that a reader can no longer get: those with positions in `(after, through]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// Where the reader stood.
    pub after: u64,
    /// The greatest position that is gone.
    pub through: u64,
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Read {
    /// What it has missed. The entries begin behind that, with the oldest that is kept.
    pub missed: Option<Missed>,
    /// The next events, in order.
    pub entries: Vec<Entry>,
}

/// The newest events of one stream.
#[derive(Debug)]
pub struct Log {
    limits: Limits,
    age_ms: u64,
    entries: VecDeque<Entry>,
    /// The newest position of each alias.
    aliases: HashMap<Arc<str>, u64>,
    bytes: usize,
    last: u64,
    evicted: u64,
}

impl Log {
    /// A log before its first event.
    pub fn new(limits: Limits) -> Self {
        Self::behind(limits, 0)
    }

    /// A log of a stream whose events up to `position` were evicted before, all of them.
    pub fn behind(limits: Limits, position: u64) -> Self {
        Self {
            limits,
            age_ms: u64::try_from(limits.age.as_millis()).unwrap_or(u64::MAX),
            entries: VecDeque::new(),
            aliases: HashMap::new(),
            bytes: 0,
            last: position,
            evicted: position,
        }
    }

    /// Adds an event, and evicts what goes beyond the limits; never the event itself, however
    /// large. Gives the bytes that were freed.
    ///
    /// The position must be greater than [`Log::last`].
    pub fn push(
        &mut self,
        now_ms: u64,
        position: u64,
        frame: Frame,
        alias: Option<Arc<str>>,
    ) -> usize {
        debug_assert!(position > self.last, "{position} behind {}", self.last);
        let entry = Entry {
            position,
            at_ms: now_ms,
            frame,
            alias,
        };
        self.bytes += cost(&entry);
        self.last = position;
        if let Some(alias) = &entry.alias {
            self.aliases.insert(Arc::clone(alias), position);
        }
        self.entries.push_back(entry);
        self.evict_while(|log| log.entries.len() > 1 && (log.is_over() || log.is_old(now_ms)))
    }

    /// Evicts what is older than the limit, the newest event too. Gives the bytes that were freed.
    pub fn evict(&mut self, now_ms: u64) -> usize {
        self.evict_while(|log| log.is_old(now_ms))
    }

    /// Evicts the oldest events until so many bytes are free, or only the newest event is left.
    /// Gives the bytes that were freed.
    pub fn drop_oldest(&mut self, bytes: usize) -> usize {
        let target = self.bytes.saturating_sub(bytes);
        self.evict_while(|log| log.entries.len() > 1 && log.bytes > target)
    }

    /// The memory that is held: the bytes of frames and aliases, and a fixed cost for each of them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether no event is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The oldest position that is kept.
    pub fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.position)
    }

    /// The last position ever; zero before the first event.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The greatest position that was evicted; zero if none was.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The events behind a cursor: as many as have `most_bytes` bytes in their frames, and at least
    /// one if there is any.
    pub fn after(&self, cursor: u64, most_bytes: usize) -> Read {
        let missed = (self.evicted > cursor).then_some(Missed {
            after: cursor,
            through: self.evicted,
        });
        let start = self.entries.partition_point(|e| e.position <= cursor);
        let mut room = most_bytes;
        let mut end = start;
        for entry in self.entries.range(start..) {
            let fits = entry.frame.len() <= room;
            if !fits && end > start {
                break;
            }
            room = room.saturating_sub(entry.frame.len());
            end += 1;
        }
        Read {
            missed,
            entries: self.entries.range(start..end).cloned().collect(),
        }
    }

    /// The position of the newest event with this alias.
    pub fn find(&self, alias: &str) -> Option<u64> {
        self.aliases.get(alias).copied()
    }

    fn is_over(&self) -> bool {
        self.entries.len() > self.limits.events || self.bytes > self.limits.bytes
    }

    /// Whether the oldest event is too old.
    fn is_old(&self, now_ms: u64) -> bool {
        let oldest = self.entries.front();
        oldest.is_some_and(|entry| now_ms.saturating_sub(entry.at_ms) > self.age_ms)
    }

    fn evict_while(&mut self, more: impl Fn(&Self) -> bool) -> usize {
        let before = self.bytes;
        while more(self)
            && let Some(entry) = self.entries.pop_front()
        {
            self.forget(&entry);
        }
        if self.bytes < before {
            self.shrink();
        }
        before - self.bytes
    }

    fn forget(&mut self, entry: &Entry) {
        self.bytes -= cost(entry);
        self.evicted = entry.position;
        // A newer event may have taken the alias over.
        if let Some(alias) = &entry.alias
            && self.aliases.get(alias) == Some(&entry.position)
        {
            self.aliases.remove(alias);
        }
    }

    /// Gives places back once most are unused. Twice as many as are in use stay, so that this
    /// happens but once in many evictions.
    fn shrink(&mut self) {
        let used = self.entries.len();
        if self.entries.capacity() > SMALL.max(4 * used) {
            self.entries.shrink_to(2 * used);
        }
        let used = self.aliases.len();
        if self.aliases.capacity() > SMALL.max(4 * used) {
            self.aliases.shrink_to(2 * used);
        }
    }
}

fn cost(entry: &Entry) -> usize {
    cost_of(&entry.frame, entry.alias.as_deref())
}

/// What an event weighs in a log, in bytes.
pub fn cost_of(frame: &Frame, alias: Option<&str>) -> usize {
    frame.len() + ENTRY_COST + alias.map_or(0, |alias| alias.len() + ALIAS_COST)
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
