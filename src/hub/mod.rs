//! Streams and their subscribers: a stream is a log, a subscriber is a cursor.
//!
//! ```text
//! source ─ Stream::append ─ log ─┬─ herald of worker 0 ─ sockets of its parked subscribers
//!                                └─ herald of worker 1 ─ …
//! ```
//!
//! Replay and live are the same code: a cursor that is behind reads the log, one that has caught up is
//! *parked*. One task in each worker, the herald, hears of new events and writes them straight to the
//! sockets of the parked subscribers there, encoded once for all of them. A subscriber whose socket is full,
//! or that is read over another transport, is woken instead and reads by itself, as far behind as it is:
//! it holds back nobody, and what the log has evicted meanwhile it is told as a gap.
//!
//! Nothing here is lock-free. A log is behind a mutex that is held for the length of a push or a read; what
//! is left between two threads is the moment of parking, which `parking.rs` describes.

mod beginning;
mod board;
mod gap;
mod herald;
mod limits;
mod parking;
mod reader;
mod relief;
mod stream;
mod subscription;
#[cfg(test)]
mod tests;

pub use board::{Producer, PublishFault, Topics};
pub use gap::{Gap, GapReason};
pub use limits::{Full, StreamSlot};
pub use reader::{Outlet, Written};
pub use stream::{End, Ended, Stream, StreamRules};
pub use subscription::{From, Next, Subscription};

pub use crate::store::Unnumbered;

use std::sync::Arc;

use tokio::time::Instant;

use limits::Limits;
use parking::Bell;
use relief::Known;

use crate::config;
use crate::metrics::HubSeries;
use crate::sse::Epoch;
use crate::store::Memory;

/// All streams of the process.
#[derive(Debug)]
pub struct Hub {
    shared: Arc<Shared>,
    topics: Topics,
}

/// What every stream needs of the hub.
#[derive(Debug)]
struct Shared {
    limits: Limits,
    known: Known,
    /// One for each worker.
    bells: Box<[Bell<Arc<Stream>>]>,
    series: HubSeries,
    started: Instant,
}

impl Shared {
    /// Milliseconds since the start.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Hub {
    /// A hub for `workers` workers.
    pub fn new(
        bounds: &config::Hub,
        rules: Vec<Arc<config::TopicRules>>,
        workers: usize,
        series: HubSeries,
    ) -> Arc<Self> {
        // The one place that says which store it is.
        let store = Arc::new(Memory::new(Epoch::new(fastrand::u64(..))));
        let shared = Arc::new(Shared {
            known: Known::default(),
            limits: Limits::new(bounds, series.clone()),
            bells: (0..workers).map(|_| Bell::new()).collect(),
            series,
            started: Instant::now(),
        });
        Arc::new(Self {
            topics: Topics::new(shared.clone(), rules, store),
            shared,
        })
    }

    /// A stream of its own, with a new epoch.
    ///
    /// # Errors
    ///
    /// [`Full`] when there are as many streams as there may be.
    pub fn open(&self, rules: StreamRules) -> Result<Arc<Stream>, Full> {
        Stream::open(self.shared.clone(), rules).or_else(|full| match self.topics.make_room() {
            true => Stream::open(self.shared.clone(), rules),
            false => Err(full),
        })
    }

    /// Streams with a name, which anybody may publish to who has the right.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Counts a connection to an upstream that a feed has opened.
    pub fn count_feed_connection(&self) {
        self.shared.series.feed_connections.inc();
    }

    /// Largest event, in bytes.
    pub fn largest_event(&self) -> usize {
        self.shared.limits.event
    }

    /// Delivers events to the parked subscribers of `worker`. Ends never; dropped with the worker.
    pub async fn herald(self: Arc<Self>, worker: usize) {
        herald::run(&self.shared, worker).await;
    }

    /// Lets go of what is too old. To be called about once a second.
    pub fn sweep(&self) {
        self.topics.sweep();
    }
}
