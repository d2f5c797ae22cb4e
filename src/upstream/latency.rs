//! How long an endpoint takes to its first event, lately.
//!
//! A moving average that is sensitive to peaks, as Finagle's balancer has it: one slow answer is believed at
//! once, and forgotten by and by. An endpoint that begins to be slow so loses its requests with the first
//! answer that shows it, and not after a dozen of them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// In this time what is known loses all but a third (1/e) of its weight.
const DECAY: Duration = Duration::from_secs(10);
/// What an attempt without an event counts as at least.
const MISSED: Duration = Duration::from_secs(1);
/// And at most, however many there are in a row.
const MOST_MISSED: Duration = Duration::from_secs(60);

/// The moving average of one endpoint's time to the first event. Shared by threads.
#[derive(Debug, Default)]
pub struct Latency(Mutex<Option<Average>>);

#[derive(Debug, Clone, Copy)]
struct Average {
    seconds: f64,
    at: Instant,
}

impl Latency {
    /// An answer's first event came after this time.
    pub fn observe(&self, took: Duration, now: Instant) {
        self.update(now, |_| took);
    }

    /// An attempt was let go after this time without an event, which would have come later. Were that not known, an
    /// endpoint that never answers would stay the unknown one that is tried first.
    pub fn at_least(&self, waited: Duration, now: Instant) {
        if self.estimate(now).is_none_or(|known| known < waited) {
            self.observe(waited, now);
        }
    }

    /// An attempt ended without an event. It counts as a slow answer, twice as slow as the average, from one
    /// second to one minute: an endpoint that refuses at once would be the fastest of all otherwise, or
    /// stay the unknown one that is tried first.
    pub fn miss(&self, now: Instant) {
        self.update(now, |known| {
            let twice = known.unwrap_or_default().saturating_mul(2);
            twice.clamp(MISSED, MOST_MISSED)
        });
    }

    /// What the next answer is thought to take; none while nothing is known. It falls while nothing is
    /// observed, so that an endpoint that was slow once is asked again.
    pub fn estimate(&self, now: Instant) -> Option<Duration> {
        let average = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        average.map(|average| average.at(now))
    }

    fn update(&self, now: Instant, took: impl FnOnce(Option<Duration>) -> Duration) {
        let mut average = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let took = took(average.map(|average| average.at(now))).as_secs_f64();
        *average = Some(match *average {
            Some(average) => average.with(took, now),
            None => Average {
                seconds: took,
                at: now,
            },
        });
    }
}

impl Average {
    fn with(self, took: f64, now: Instant) -> Self {
        let kept = self.kept(now);
        let seconds = if took > self.seconds {
            took
        } else {
            self.seconds * kept + took * (1.0 - kept)
        };
        Self {
            seconds,
            at: self.at.max(now),
        }
    }

    fn at(self, now: Instant) -> Duration {
        Duration::try_from_secs_f64(self.seconds * self.kept(now)).unwrap_or(Duration::MAX)
    }

    /// The weight that is left of what is known.
    fn kept(self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at);
        (-age.as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
#[path = "latency_tests.rs"]
mod tests;
