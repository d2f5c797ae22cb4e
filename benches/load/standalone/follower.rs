//! One client's events, checked and timed as they come.
//!
//! Invariant: an event that came late fills its gap and is out of order, one that came twice is
//! repeated, one that never came is lost: never two of these at once.

use std::ops::Range;
use std::sync::Arc;

use super::account::{Account, GONE};
use crate::clock::now_ns;
use crate::event::Seen;

/// Stamps that are this close may be of events sent together: within it nothing is said of bunching.
pub const APART_NS: u64 = 1_000_000;

/// Checks the numbers of one client's events.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Order {
    /// The number that the next event must have; unknown until the first one of a feed.
    next: Option<u64>,
    /// Numbers that were passed over and have not come yet.
    holes: Vec<Range<u64>>,
}

/// How an event's number stands to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The next one, after so many that were passed over.
    After(u64),
    /// One that was passed over.
    Late,
    /// One that came before.
    Repeated,
}

impl Order {
    /// Begins at this number, or with whatever comes first.
    pub fn from(next: Option<u64>) -> Self {
        Self {
            next,
            holes: Vec::new(),
        }
    }

    /// The number after the highest so far.
    pub fn next(&self) -> u64 {
        self.next.unwrap_or(0)
    }

    /// Takes the next number.
    pub fn saw(&mut self, sequence: u64) -> Turn {
        let next = self.next.unwrap_or(sequence);
        if sequence >= next {
            self.next = Some(sequence.saturating_add(1));
            if sequence > next {
                self.holes.push(next..sequence);
            }
            return Turn::After(sequence - next);
        }
        let Some(at) = self.holes.iter().position(|hole| hole.contains(&sequence)) else {
            return Turn::Repeated;
        };
        let hole = self.holes.swap_remove(at);
        let parts = [hole.start..sequence, sequence + 1..hole.end];
        self.holes
            .extend(parts.into_iter().filter(|part| !part.is_empty()));
        Turn::Late
    }
}

/// Follows one client.
pub struct Follower {
    account: Arc<Account>,
    /// The numbers so far.
    pub order: Order,
    /// The numbers that this run sends, where it does itself; others are somebody else's.
    own: Option<Range<u64>>,
    /// The client's place among all, where it has one.
    place: Option<usize>,
    /// When its request was due, where its first event is timed.
    due: Option<u64>,
    /// When it came back after a cut, until an event has come.
    back_since: Option<u64>,
    /// Whether the sender's clock is ours.
    pub same_clock: bool,
    /// The time of the read whose bytes are looked at, and its number.
    now: u64,
    read: u64,
    last: Option<u64>,
    /// Stamp, arrival and read of the last numbered event on this connection.
    last_numbered: Option<(u64, u64, u64)>,
    /// Whether `[DONE]` has come.
    pub is_done: bool,
    /// Whether an error was told in the stream.
    pub has_told: bool,
}

impl Follower {
    /// Follows a stream that begins at number 0, whose request was due at `due`.
    pub fn of_stream(account: &Arc<Account>, due: u64) -> Self {
        Self {
            account: Arc::clone(account),
            order: Order::from(Some(0)),
            own: None,
            place: None,
            due: Some(due),
            back_since: None,
            same_clock: false,
            now: 0,
            read: 0,
            last: None,
            last_numbered: None,
            is_done: false,
            has_told: false,
        }
    }

    /// Follows a feed from its first event on, as number `place` of all clients.
    pub fn of_feed(account: &Arc<Account>, place: usize, due: u64) -> Self {
        Self {
            order: Order::from(None),
            place: Some(place),
            ..Self::of_stream(account, due)
        }
    }

    /// The same where this run sends the events `own` itself, all of which must come.
    pub fn of_published(account: &Arc<Account>, place: usize, own: Range<u64>) -> Self {
        Self {
            order: Order::from(Some(own.start)),
            own: Some(own),
            due: None,
            same_clock: true,
            ..Self::of_feed(account, place, 0)
        }
    }

    /// More bytes were read: what they end has arrived now, and together.
    pub fn arrives(&mut self) {
        self.now = now_ns();
        self.read += 1;
    }

    /// The connection is another one since `since`. How long it takes to the next event is told of the measured
    /// window only: before it there may be nothing to come.
    pub fn comes_back(&mut self, since: u64) {
        self.back_since = self.account.counts().measuring.then_some(since);
        self.last_numbered = None;
        self.last = None;
        self.due = None;
    }

    /// Nobody waits for this client any more: its connection broke, or it was to see no certain end.
    pub fn goes(&self, is_broken: bool) {
        let mut counts = self.account.counts();
        if (is_broken || self.own.is_none())
            && let Some(progress) = self.place.and_then(|place| counts.progress.get_mut(place))
        {
            *progress = GONE;
        }
    }

    /// Takes one event of the bytes that [`Self::arrives`] told of.
    pub fn saw(&mut self, seen: Seen) {
        match seen {
            Seen::Done => self.is_done = true,
            Seen::Error => self.has_told = true,
            Seen::Gap => self.account.counts().gaps_told += 1,
            Seen::Foreign => self.came(),
            Seen::Numbered { sequence, stamp } => {
                if self
                    .own
                    .as_ref()
                    .is_some_and(|own| !own.contains(&sequence))
                {
                    // Of an earlier run, kept by the server.
                    return;
                }
                self.came();
                self.numbered(sequence, stamp);
            }
        }
    }

    fn came(&mut self) {
        let account = Arc::clone(&self.account);
        let mut counts = account.counts();
        counts.events += 1;
        if let Some(last) = self.last.replace(self.now) {
            if counts.measuring {
                counts.gaps.saturating_record(self.now - last);
            }
        } else if let Some(due) = self.due {
            let waited = self.now.saturating_sub(due);
            counts.first_event.saturating_record(waited);
        }
        if let Some(since) = self.back_since.take() {
            let waited = self.now.saturating_sub(since);
            counts.resumption.saturating_record(waited);
        }
    }

    fn numbered(&mut self, sequence: u64, stamp: u64) {
        let turn = self.order.saw(sequence);
        let account = Arc::clone(&self.account);
        let mut counts = account.counts();
        counts.numbered += 1;
        match turn {
            Turn::After(passed_over) => counts.lost += passed_over,
            Turn::Late => {
                counts.lost -= 1;
                counts.out_of_order += 1;
            }
            Turn::Repeated => counts.repeated += 1,
        }
        if let Some(progress) = self.place.and_then(|place| counts.progress.get_mut(place)) {
            *progress = self.order.next();
        }
        let latency = self.now.saturating_sub(stamp);
        if let Some(own) = &self.own
            && let Ok(place) = usize::try_from(sequence - own.start)
            && let Some(worst) = counts.worst.get_mut(place)
        {
            *worst = latency.max(*worst);
        }
        if !counts.measuring {
            self.last_numbered = Some((stamp, self.now, self.read));
            return;
        }
        if self.same_clock {
            counts.latency.saturating_record(latency);
        }
        if let Some((sent, came, read)) = self.last_numbered.replace((stamp, self.now, self.read))
            && let Some(sent_gap) = stamp.checked_sub(sent)
        {
            let came_gap = self.now - came;
            counts
                .unevenness
                .saturating_record(came_gap.abs_diff(sent_gap));
            if sent_gap >= APART_NS {
                counts.sent_apart += 1;
                counts.came_together += u64::from(read == self.read);
            }
        }
    }
}
