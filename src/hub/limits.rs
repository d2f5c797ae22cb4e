//! Bounds of all streams together: their number and their bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config;
use crate::metrics::HubSeries;

/// A bound of the configuration was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// As many streams as `hub.streams` allows.
    #[error("there are {0} streams, which is as many as `hub.streams` allows")]
    Streams(usize),
    /// As many bytes as `hub.bytes` allows, and nothing that could be let go.
    #[error("{0} bytes of events are kept, which is as many as `hub.bytes` allows")]
    Bytes(usize),
}

/// The bounds, and how much of them is taken.
#[derive(Debug)]
pub(super) struct Limits {
    /// Largest event, in bytes.
    pub(super) event: usize,
    most_streams: usize,
    most_bytes: usize,
    streams: AtomicUsize,
    bytes: AtomicUsize,
    series: HubSeries,
}

/// The place of one stream among those there may be; given back when dropped.
#[derive(Debug)]
pub struct StreamSlot(Arc<super::Shared>);

impl Limits {
    pub(super) fn new(bounds: &config::Hub, series: HubSeries) -> Self {
        Self {
            event: bounds.event,
            most_streams: bounds.streams,
            most_bytes: bounds.bytes,
            streams: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            series,
        }
    }

    /// Notes that `added` bytes are kept more and `freed` fewer; how many are now too many.
    pub(super) fn weigh(&self, added: usize, freed: usize) -> usize {
        self.bytes.fetch_add(added, Ordering::Relaxed);
        let before = self.bytes.fetch_sub(freed, Ordering::Relaxed);
        let change = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.series.bytes.inc_by(change(added) - change(freed));
        before.saturating_sub(freed).saturating_sub(self.most_bytes)
    }

    /// Most bytes there may be.
    pub(super) fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// How many bytes would be too many, were `added` kept more.
    pub(super) fn over(&self, added: usize) -> usize {
        let now = self.bytes.load(Ordering::Relaxed) + added;
        now.saturating_sub(self.most_bytes)
    }

    /// The fault for too many bytes.
    pub(super) fn too_many_bytes(&self) -> Full {
        self.series.full_bytes.inc();
        Full::Bytes(self.most_bytes)
    }
}

impl StreamSlot {
    pub(super) fn shared(&self) -> &Arc<super::Shared> {
        &self.0
    }

    /// Takes a place.
    pub(super) fn take(shared: &Arc<super::Shared>) -> Result<Self, Full> {
        let limits = &shared.limits;
        let taken = limits.streams.fetch_add(1, Ordering::Relaxed);
        if taken >= limits.most_streams {
            limits.streams.fetch_sub(1, Ordering::Relaxed);
            limits.series.full_streams.inc();
            return Err(Full::Streams(limits.most_streams));
        }
        limits.series.streams.inc();
        Ok(Self(shared.clone()))
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.0.limits.streams.fetch_sub(1, Ordering::Relaxed);
        self.0.series.streams.dec();
    }
}
