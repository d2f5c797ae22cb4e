//! What outlives requests and configurations: the hub, the feeds and the kept answers.

use std::sync::Arc;

use tokio::sync::watch;

use super::feed::Feeds;
use super::generation::Generations;
use crate::config::Config;
use crate::hub::Hub;
use crate::metrics::Metrics;

/// Everything that requests can share.
#[derive(Debug)]
pub struct Streams {
    /// Streams and topics.
    pub hub: Arc<Hub>,
    pub(super) feeds: Feeds,
    pub(super) generations: Generations,
    drain: watch::Sender<bool>,
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
            drain: watch::Sender::new(false),
        })
    }

    /// The process is about to end: subscribers over WebSocket are sent away soon.
    pub fn drain(&self) {
        self.drain.send_replace(true);
    }

    pub(super) fn draining(&self) -> watch::Receiver<bool> {
        self.drain.subscribe()
    }

    /// Lets go of what is too old. To be called about once a second.
    pub fn sweep(&self) {
        self.hub.sweep();
        self.feeds.sweep();
        self.generations.sweep();
        while self.hub.is_crowded() && self.generations.make_room() {}
    }
}
