//! What the clients saw, counted in one place.
//!
//! Invariant: every stream is checked to its end: an event that is missing, repeated or out of turn,
//! an answer that is not 200 and a body that was cut are all counted. Latencies are kept only
//! while the measured window is open.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;

use crate::clock::now_ns;
use crate::error::{LoadError, Result};
use crate::event::Seen;

const ERRORS_KEPT: usize = 5;

/// The counts, shared by all clients of one workload.
pub struct Tally {
    counts: Mutex<Counts>,
}

/// The counts themselves; times in nanoseconds.
pub struct Counts {
    /// Whether the measured window is open.
    pub measuring: bool,
    /// Events seen, numbered or not.
    pub events: u64,
    /// Events that are not this tool's own: nothing to check them by.
    pub foreign: u64,
    /// Numbered events that never came.
    pub missing: u64,
    /// Numbered events that came twice or too late.
    pub out_of_turn: u64,
    /// Answers taken whole.
    pub answers: u64,
    /// Bytes of bodies.
    pub bytes: u64,
    /// Streams and requests that failed.
    pub failures: u64,
    /// The first few reasons.
    pub errors: Vec<String>,
    /// From an event's sending to its arrival.
    pub latency: Histogram<u64>,
    /// From the time a stream's request was due, as well as the timer can tell, to its first whole event.
    pub first_event: Histogram<u64>,
    /// From one event to the next of a stream, for events that carry no time of their own.
    pub gaps: Histogram<u64>,
    /// From the sending of one event of a stream to that of the next.
    pub sent_gaps: Histogram<u64>,
    /// How far the gap at the arrival of an event was from the gap at its sending, shorter or longer.
    pub unevenness: Histogram<u64>,
    /// From a request's sending to the end of its answer.
    pub answer_time: Histogram<u64>,
}

impl Tally {
    /// Nothing seen yet.
    pub fn new() -> Result<Self> {
        let counts = Counts {
            measuring: false,
            events: 0,
            foreign: 0,
            missing: 0,
            out_of_turn: 0,
            answers: 0,
            bytes: 0,
            failures: 0,
            errors: Vec::new(),
            latency: histogram()?,
            first_event: histogram()?,
            gaps: histogram()?,
            sent_gaps: histogram()?,
            unevenness: histogram()?,
            answer_time: histogram()?,
        };
        Ok(Self {
            counts: Mutex::new(counts),
        })
    }

    /// The counts, to read or to add to. One guard at a time: a second in the same expression would wait
    /// for ever.
    pub fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how one stream or connection ended.
    pub fn ended(&self, result: Result<()>) {
        if let Err(error) = result {
            let mut counts = self.counts();
            counts.failures += 1;
            if counts.errors.len() < ERRORS_KEPT {
                counts.errors.push(error.to_string());
            }
        }
    }

    /// How many streams have begun, of those that send one event, or failed.
    pub fn begun_or_failed(&self) -> u64 {
        let counts = self.counts();
        counts.events + counts.failures
    }

    /// An error unless everything came, once, in order.
    pub fn check(&self) -> Result<()> {
        let counts = self.counts();
        if counts.failures + counts.missing + counts.out_of_turn == 0 {
            return Ok(());
        }
        Err(LoadError::Failed(format!(
            "{} failed, {} events missing, {} out of turn: {}",
            counts.failures,
            counts.missing,
            counts.out_of_turn,
            counts.errors.join("; ")
        )))
    }
}

/// The quantile of a histogram in microseconds.
pub fn quantile_us(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1_000.0
}

/// Checks one stream's events and times them.
pub struct Follower<'a> {
    tally: &'a Tally,
    /// When the request was due, in nanoseconds.
    due: u64,
    /// Whether the sender's clock is ours.
    same_clock: bool,
    /// The number the next event must have.
    next: u64,
    last: Option<u64>,
    /// When the last numbered event was sent, and when it came.
    last_sent: Option<(u64, u64)>,
}

impl<'a> Follower<'a> {
    /// A follower of a stream whose request was due at `due` nanoseconds.
    pub fn new(tally: &'a Tally, due: u64, same_clock: bool) -> Self {
        Self {
            tally,
            due,
            same_clock,
            next: 0,
            last: None,
            last_sent: None,
        }
    }

    /// Takes one event.
    pub fn saw(&mut self, seen: Seen) {
        if seen == Seen::Done {
            return;
        }
        let now = now_ns();
        let mut counts = self.tally.counts();
        counts.events += 1;
        match (self.last.replace(now), seen) {
            (None, _) => counts
                .first_event
                .saturating_record(now.saturating_sub(self.due)),
            (Some(last), _) if counts.measuring => counts.gaps.saturating_record(now - last),
            _ => {}
        }
        match seen {
            Seen::Numbered { sequence, stamp } => {
                if counts.measuring && self.same_clock {
                    counts.latency.saturating_record(now.saturating_sub(stamp));
                }
                if let Some((sent, came)) = self.last_sent.replace((stamp, now))
                    && counts.measuring
                {
                    let (sent, came) = (stamp.saturating_sub(sent), now - came);
                    counts.sent_gaps.saturating_record(sent);
                    counts.unevenness.saturating_record(came.abs_diff(sent));
                }
                if sequence < self.next {
                    counts.out_of_turn += 1;
                } else {
                    counts.missing += sequence - self.next;
                    self.next = sequence + 1;
                }
            }
            // Events without a number, and the closing one of ours after the last.
            Seen::Foreign | Seen::Gap => counts.foreign += 1,
            Seen::Error | Seen::Done => {}
        }
    }

    /// Whether any event came.
    pub fn has_begun(&self) -> bool {
        self.last.is_some()
    }

    /// The stream ended; `planned` numbered events should have come.
    pub fn ended(&self, planned: u64) {
        self.tally.counts().missing += planned.saturating_sub(self.next);
    }
}

/// A histogram of nanoseconds: three digits, from a microsecond to ten minutes.
pub fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1_000, 600_000_000_000, 3)
        .map_err(|error| LoadError::Usage(error.to_string()))
}
