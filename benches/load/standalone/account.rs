//! What all clients of a run saw, counted in one place.
//!
//! Invariant: each stream ends in one of the ways there are and is counted there once. What cannot
//! happen with an honest server (lost, repeated, out of order, a cut that looks whole) is never
//! counted together with what can.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;

use crate::error::{LoadError, Result};
use crate::tally::histogram;

const ERRORS_KEPT: usize = 5;
/// In place of a client's progress: nobody waits for it any more.
pub const GONE: u64 = u64::MAX;

/// The counts, shared by all clients.
pub struct Account {
    counts: Mutex<Counts>,
}

/// How one stream or connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// All of it came, and its end said so.
    Whole,
    /// The answer was an error, by its status.
    Refused(u16),
    /// An error was told in the stream.
    Told,
    /// The connection broke within the answer.
    Cut(String),
    /// It looked whole and was not.
    Disguised(String),
    /// There was no connection, or it broke before an answer came.
    Unreached(String),
    /// The server does not do what this kind of client needs.
    Unfit(String),
}

/// The counts themselves; times in nanoseconds.
pub struct Counts {
    /// Whether the measured window is open.
    pub measuring: bool,
    /// Events, numbered or not.
    pub events: u64,
    /// Those of this tool's own.
    pub numbered: u64,
    /// Numbered events that never came.
    pub lost: u64,
    /// Numbered events that came again.
    pub repeated: u64,
    /// Numbered events that came after later ones.
    pub out_of_order: u64,
    /// Events named `gap`, by which the server says that some are missing.
    pub gaps_told: u64,
    /// Streams whose answer has begun.
    pub begun: u64,
    /// How streams ended.
    pub whole: u64,
    /// By status.
    pub refused: BTreeMap<u16, u64>,
    /// Errors told in streams.
    pub told: u64,
    /// Broken connections.
    pub cut: u64,
    /// Cuts that look whole.
    pub disguised: u64,
    /// Requests without a connection, or without an answer.
    pub unreached: u64,
    /// Answers without numbers that were read once more, and compared.
    pub compared: u64,
    /// Streams that should have ended and had not.
    pub endless: u64,
    /// Why the server cannot be loaded so, if it cannot.
    pub unfit: Option<String>,
    /// Connections that clients cut themselves, to come back.
    pub own_cuts: u64,
    /// The first few reasons.
    pub errors: Vec<String>,
    /// From an event's sending to its arrival.
    pub latency: Histogram<u64>,
    /// From the time a stream's request was due to its first event.
    pub first_event: Histogram<u64>,
    /// From one event to the next.
    pub gaps: Histogram<u64>,
    /// The gap between two arrivals against the gap between the stamps of the same two events.
    pub unevenness: Histogram<u64>,
    /// Neighbours that were sent apart.
    pub sent_apart: u64,
    /// And of these those that came in one read.
    pub came_together: u64,
    /// From coming back after a cut to the next event.
    pub resumption: Histogram<u64>,
    /// From the stamp of a publication to its answer.
    pub publication: Histogram<u64>,
    /// The longest way of each published event.
    pub worst: Vec<u64>,
    /// The number after each client's highest, by its place.
    pub progress: Vec<u64>,
}

impl Account {
    /// Nothing seen yet, by so many clients that have a place, of so many publications.
    pub fn new(places: u64, published: u64) -> Result<Self> {
        let zeros = |count| vec![0; usize::try_from(count).unwrap_or(0)];
        let counts = Counts {
            measuring: false,
            events: 0,
            numbered: 0,
            lost: 0,
            repeated: 0,
            out_of_order: 0,
            gaps_told: 0,
            begun: 0,
            whole: 0,
            refused: BTreeMap::new(),
            told: 0,
            cut: 0,
            disguised: 0,
            unreached: 0,
            compared: 0,
            endless: 0,
            unfit: None,
            own_cuts: 0,
            errors: Vec::new(),
            latency: histogram()?,
            first_event: histogram()?,
            gaps: histogram()?,
            unevenness: histogram()?,
            sent_apart: 0,
            came_together: 0,
            resumption: histogram()?,
            publication: histogram()?,
            worst: zeros(published),
            progress: zeros(places),
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

    /// Notes how one stream ended.
    pub fn ended(&self, ended: Ended) {
        let mut counts = self.counts();
        let why = match ended {
            Ended::Whole => {
                counts.whole += 1;
                return;
            }
            Ended::Refused(status) => {
                *counts.refused.entry(status).or_default() += 1;
                format!("status {status}")
            }
            Ended::Told => {
                counts.told += 1;
                "an error was told in the stream".to_owned()
            }
            Ended::Cut(why) => {
                counts.cut += 1;
                why
            }
            Ended::Disguised(why) => {
                counts.disguised += 1;
                why
            }
            Ended::Unreached(why) => {
                counts.unreached += 1;
                why
            }
            Ended::Unfit(why) => {
                counts.unfit = Some(why);
                return;
            }
        };
        if counts.errors.len() < ERRORS_KEPT && !counts.errors.contains(&why) {
            counts.errors.push(why);
        }
    }

    /// An error if something happened that must not: with `expect_faults` only what is impossible with
    /// an honest server, else anything but whole streams.
    pub fn check(&self, expect_faults: bool) -> Result<()> {
        let counts = self.counts();
        if let Some(why) = &counts.unfit {
            return Err(LoadError::Failed(why.clone()));
        }
        let impossible = counts.lost + counts.repeated + counts.out_of_order + counts.disguised;
        let failed = counts.failed() + counts.endless;
        if impossible == 0 && (expect_faults || failed == 0) {
            return match counts.begun + counts.refused.values().sum::<u64>() {
                0 => Err(LoadError::Failed("nothing was answered at all".into())),
                _ => Ok(()),
            };
        }
        Err(LoadError::Failed(format!(
            "{} events lost, {} repeated, {} out of order; {failed} streams failed or did not end, {} cuts looked whole: {}",
            counts.lost,
            counts.repeated,
            counts.out_of_order,
            counts.disguised,
            counts.errors.join("; ")
        )))
    }
}

impl Counts {
    /// Streams that ended otherwise than whole, those apart that looked so.
    pub fn failed(&self) -> u64 {
        self.refused.values().sum::<u64>() + self.told + self.cut + self.unreached
    }

    /// Streams that were begun and have not ended.
    pub fn open(&self) -> u64 {
        let broken = self.told + self.cut + self.disguised;
        self.begun.saturating_sub(self.whole + broken)
    }

    /// Streams that ended.
    pub fn ended(&self) -> u64 {
        self.whole + self.failed() + self.disguised
    }
}
