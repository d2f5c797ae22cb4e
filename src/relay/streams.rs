//! What outlives requests and configurations: the hub, the feeds and the kept answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::feed::Feeds;
use super::generation::Generations;
use crate::config::Config;
use crate::hub::{Full, Hub, Stream, StreamRules};
use crate::metrics::Metrics;

/// Everything that requests can share.
#[derive(Debug)]
pub struct Streams {
    /// Streams and topics.
    pub hub: Arc<Hub>,
    pub(super) feeds: Feeds,
    pub(super) generations: Generations,
    /// How long the process waits for subscribers once it is to end.
    patience: Duration,
    drain: watch::Sender<Option<Duration>>,
}

/// Where a request is served.
#[derive(Debug, Clone)]
pub struct Here {
    /// What it can share.
    pub streams: Arc<Streams>,
    /// The number of the worker whose thread this is.
    pub worker: usize,
}

impl Streams {
    /// Nothing is shared yet.
    pub fn new(config: &Config, workers: usize, metrics: &Metrics) -> Arc<Self> {
        let rules = config.topics.clone();
        Arc::new(Self {
            hub: Hub::new(&config.hub, rules, workers, metrics.hub.clone()),
            feeds: Feeds::default(),
            generations: Generations::default(),
            patience: config.server.drain,
            drain: watch::Sender::new(None),
        })
    }

    /// The process is about to end: subscribers are sent away soon.
    pub fn drain(&self) {
        self.drain.send_replace(Some(self.patience));
    }

    /// Tells within how long a subscriber is to be sent away, once it is.
    pub(super) fn draining(&self) -> watch::Receiver<Option<Duration>> {
        self.drain.subscribe()
    }

    /// Opens a stream; where there are too many, in the place of a kept answer that ended and that nobody reads.
    ///
    /// # Errors
    ///
    /// [`Full`] when there is none.
    pub(super) fn open(&self, rules: StreamRules) -> Result<Arc<Stream>, Full> {
        self.hub
            .open(rules)
            .or_else(|full| match self.gives_way(&full) {
                true => self.hub.open(rules),
                false => Err(full),
            })
    }

    /// Whether a kept answer has made the room that was wanting.
    pub(super) fn gives_way(&self, full: &Full) -> bool {
        matches!(full, Full::Streams(_)) && self.generations.make_room()
    }

    /// Lets go of what is too old. To be called about once a second.
    pub fn sweep(&self) {
        self.hub.sweep();
        self.feeds.sweep();
        self.generations.sweep();
    }
}
