//! How many further requests (retries, hedges) an upstream's load may contain.
//!
//! Retries help while few requests fail; when all do, they multiply the load of what is already down. So
//! they are a share of the first requests, and a few a second that are always allowed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::time::Instant;

/// The window, in seconds: the running one and the nine before.
const WINDOW: u64 = 10;
/// Seconds that are kept apart: more than the window, so that a thread a little behind the others still finds
/// its own.
const KEPT: usize = 16;

/// The first requests and the further ones of the last ten seconds.
///
/// A further request is allowed if, with it,
///
/// - those of the window (ten seconds, counted from the first request ever in whole ones, the running one
///   included) are at most `percent` of the window's first requests and `least` for each of its seconds, and
/// - those of the running second are at most `percent` of the window's first requests and `least` once.
///
/// The second rule bounds what comes at once: after a quiet time `least` requests, not ten times as many; and
/// under load what the first requests of the window allow. Shares are rounded down.
#[derive(Debug, Default)]
pub struct Budget {
    /// Where the seconds are counted from.
    start: OnceLock<Instant>,
    requests: [Second; KEPT],
    taken: Mutex<Taken>,
}

/// Which second it is, counted from 1 (upper half), and how many requests it had (lower half). 0 is unused.
#[derive(Debug, Default)]
struct Second(AtomicU64);

/// The further requests of the window. Behind a lock, other than the first ones: they are few, and the rule
/// holds exactly only if nobody else takes meanwhile.
#[derive(Debug, Default)]
struct Taken {
    /// The running second.
    second: u64,
    /// Of each second of the window, at its number modulo [`WINDOW`].
    counts: [u64; WINDOW as usize],
}

impl Budget {
    /// Counts a first request.
    pub fn count(&self, now: Instant) {
        let second = self.second(now);
        self.requests[second as usize % KEPT].count(second);
    }

    /// Takes a further request, if there is one left: `percent` of the window's first requests, and `least` a
    /// second.
    pub fn take(&self, percent: u32, least: u32, now: Instant) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.advance(self.second(now));
        let allowed = self.allowed(&taken, percent, least) > 0;
        if allowed {
            taken.add();
        }
        allowed
    }

    /// How many further requests could be taken at this moment.
    pub fn left(&self, percent: u32, least: u32, now: Instant) -> u64 {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.advance(self.second(now));
        self.allowed(&taken, percent, least)
    }

    fn allowed(&self, taken: &Taken, percent: u32, least: u32) -> u64 {
        let share = self.requests(taken.second) * u64::from(percent) / 100;
        let least = u64::from(least);
        let in_window = (share + least * WINDOW).saturating_sub(taken.in_window());
        let at_once = (share + least).saturating_sub(taken.at_once());
        in_window.min(at_once)
    }

    /// The first requests of the window that ends with `second`.
    fn requests(&self, second: u64) -> u64 {
        let window = second.saturating_sub(WINDOW - 1)..=second;
        let counts = self.requests.iter().map(Second::get);
        counts
            .filter(|(second, _)| window.contains(second))
            .map(|(_, count)| count)
            .sum()
    }

    /// The number of the running second, from 1.
    fn second(&self, now: Instant) -> u64 {
        let start = *self.start.get_or_init(|| now);
        // It has half a word, which is enough for 136 years.
        1 + now.saturating_duration_since(start).as_secs() % u64::from(u32::MAX)
    }
}

impl Second {
    /// One request more of `second`. A thread that comes when the place is already another's is a whole round
    /// behind: its request is out of the window, and not counted.
    fn count(&self, second: u64) {
        let mut known = self.0.load(Ordering::Relaxed);
        while known >> 32 < second {
            let first = second << 32 | 1;
            match self
                .0
                .compare_exchange_weak(known, first, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(other) => known = other,
            }
        }
        if known >> 32 == second {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The second and its count.
    fn get(&self) -> (u64, u64) {
        let word = self.0.load(Ordering::Relaxed);
        (word >> 32, word & u64::from(u32::MAX))
    }
}

impl Taken {
    /// Goes on to `second`, unless another thread was there already.
    fn advance(&mut self, second: u64) {
        let passed = second.saturating_sub(self.second).min(WINDOW);
        self.second = self.second.max(second);
        for back in 0..passed {
            let place = self.place(self.second - back);
            self.counts[place] = 0;
        }
    }

    fn add(&mut self) {
        let place = self.place(self.second);
        self.counts[place] += 1;
    }

    fn in_window(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn at_once(&self) -> u64 {
        self.counts[self.place(self.second)]
    }

    fn place(&self, second: u64) -> usize {
        (second % WINDOW) as usize
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
