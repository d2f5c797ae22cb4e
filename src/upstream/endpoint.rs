//! One address of an upstream, and what is known of it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use rustls::pki_types::ServerName;
use tokio::time::Instant;

use super::breaker::Breaker;
use super::connect::Place;
use super::latency::Latency;

/// One endpoint, alive: it outlives the configuration that names it.
#[derive(Debug)]
pub struct Endpoint {
    /// Its number, unique in the process.
    pub number: u64,
    /// How it is named in logs and metrics, `http://host:port/base`.
    pub name: Arc<str>,
    /// The value of `Host` for it.
    pub authority: HeaderValue,
    /// What is put before every path: empty, or `/…` without a slash at the end.
    pub base: Arc<str>,
    /// Where it is reached.
    pub place: Place,
    /// The name TLS checks; none without TLS.
    pub server_name: Option<ServerName<'static>>,
    /// What its answers have shown.
    pub health: Health,
}

/// What requests and checks have shown of an endpoint. Shared by all workers.
#[derive(Debug)]
pub struct Health {
    /// What the last checks say; true where there are none.
    checked: AtomicBool,
    breaker: Mutex<Breaker>,
    in_flight: AtomicUsize,
    latency: Latency,
    began: Instant,
    /// Until when it wants to be left alone, in milliseconds since `began`.
    rests: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            checked: AtomicBool::new(true),
            breaker: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            latency: Latency::default(),
            began: Instant::now(),
            rests: AtomicU64::new(0),
        }
    }
}

impl Health {
    /// Whether its checks say that it is well.
    pub fn is_checked(&self) -> bool {
        self.checked.load(Ordering::Relaxed)
    }

    /// Notes what its checks say; true if that is something new.
    pub fn set_checked(&self, well: bool) -> bool {
        self.checked.swap(well, Ordering::Relaxed) != well
    }

    /// Requests whose answers have not ended.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The moving average of the time to its first event.
    pub fn latency(&self, now: Instant) -> Option<Duration> {
        self.latency.estimate(now)
    }

    /// Its breaker.
    pub fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn observe_first_event(&self, took: Duration, now: Instant) {
        self.latency.observe(took, now);
    }

    /// An attempt was let go after this time, before any event.
    pub(super) fn observe_at_least(&self, waited: Duration, now: Instant) {
        self.latency.at_least(waited, now);
    }

    /// An attempt failed before any event.
    pub(super) fn observe_miss(&self, now: Instant) {
        self.latency.miss(now);
    }

    /// Leaves it alone for so long, since it has asked for that.
    pub(super) fn rest(&self, pause: Duration, now: Instant) {
        let until = now.saturating_duration_since(self.began) + pause;
        let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.rests.fetch_max(until, Ordering::Relaxed);
    }

    /// Whether it wants to be left alone.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.rests_for(now).is_some()
    }

    /// How long it wants to be left alone yet.
    pub(super) fn rests_for(&self, now: Instant) -> Option<Duration> {
        let until = match self.rests.load(Ordering::Relaxed) {
            // It never did, as nearly all.
            0 => return None,
            millis => Duration::from_millis(millis),
        };
        let left = until.saturating_sub(now.saturating_duration_since(self.began));
        (!left.is_zero()).then_some(left)
    }
}
