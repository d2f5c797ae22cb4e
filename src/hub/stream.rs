//! A stream: a log, its end, and who reads it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;
use tokio::sync::watch;

use super::Shared;
use super::limits::{Full, StreamSlot};
use super::parking::{Ear, Tip};
use super::reader::Reader;
use crate::config::{History, Ids, Slow, Start};
use crate::dialect::Ending;
use crate::sse::{Epoch, EventId, Frame};
use crate::store::{Limits, Log};

/// What a stream keeps and how it treats its readers.
#[derive(Debug, Clone, Copy)]
pub struct StreamRules {
    /// How much is kept.
    pub history: History,
    /// What happens to a reader whose next event was evicted.
    pub slow: Slow,
    /// Where a reader begins that names no event.
    pub start: Start,
    /// Whose ids readers see.
    pub ids: Ids,
}

/// How a stream ended, for its readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// What is written down.
    pub ending: Ending,
    /// Whether the readers' connections are broken off rather than ended.
    pub abort: bool,
}

/// The stream has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream has ended")]
pub struct Ended;

/// The log, and whether anything more will come.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) log: Log,
    pub(super) end: Option<End>,
}

/// The readers of a stream in one worker.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) ear: Ear,
    readers: Mutex<Slab<Arc<Reader>>>,
}

impl Ring {
    fn new() -> Self {
        Self {
            ear: Ear::new(),
            readers: Mutex::default(),
        }
    }

    pub(super) fn readers(&self) -> MutexGuard<'_, Slab<Arc<Reader>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, key: usize) -> Option<Arc<Reader>> {
        let mut readers = self.readers();
        let taken = readers.try_remove(key);
        if readers.is_empty() {
            // A round goes over all places there ever were.
            *readers = Slab::new();
        }
        taken
    }
}

/// A log of events that any number of readers follow.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    epoch: Epoch,
    rules: StreamRules,
    /// Its name, where it is a topic.
    name: Option<Arc<str>>,
    kept: Mutex<Kept>,
    tip: Tip,
    rings: Box<[Ring]>,
    readers: watch::Sender<usize>,
    /// Its place among all streams.
    place: usize,
    _slot: StreamSlot,
}

impl Stream {
    pub(super) fn open(shared: Arc<Shared>, rules: StreamRules) -> Result<Arc<Self>, Full> {
        let epoch = Epoch::new(fastrand::u64(..));
        Ok(Self::named(
            StreamSlot::take(&shared)?,
            rules,
            (epoch, 0),
            None,
        ))
    }

    /// A stream whose events are numbered by somebody else. Up to `floor` it may have had events that are gone.
    pub(super) fn named(
        slot: StreamSlot,
        rules: StreamRules,
        (epoch, floor): (Epoch, u64),
        name: Option<Arc<str>>,
    ) -> Arc<Self> {
        let shared = slot.shared().clone();
        let limits = Limits {
            events: rules.history.events,
            bytes: rules.history.bytes,
            age: rules.history.age,
        };
        Arc::new_cyclic(|own| Self {
            place: shared.known.add(own),
            _slot: slot,
            rings: shared.bells.iter().map(|_| Ring::new()).collect(),
            shared,
            epoch,
            rules,
            name,
            kept: Mutex::new(Kept {
                log: Log::behind(limits, floor),
                end: None,
            }),
            tip: Tip::new(floor),
            readers: watch::Sender::new(0),
        })
    }

    /// Appends an event, numbered after the one before; `alias` is the id its source gave it.
    ///
    /// # Errors
    ///
    /// [`Ended`] when nothing more may come.
    pub fn append(
        self: &Arc<Self>,
        frame: Frame,
        alias: Option<Arc<str>>,
    ) -> Result<EventId, Ended> {
        let mut kept = self.kept();
        if kept.end.is_some() {
            return Err(Ended);
        }
        let position = self.last() + 1;
        let over = self.push(&mut kept, position, frame, alias);
        drop(kept);
        self.tell();
        if over > 0 {
            self.relieve(over);
        }
        Ok(EventId {
            epoch: self.epoch,
            position,
        })
    }

    /// Makes room for `added` bytes, at the cost of those who give way, and then of this stream's own older events.
    ///
    /// # Errors
    ///
    /// [`Full`] when that is not enough.
    pub(super) fn make_room(&self, added: usize) -> Result<(), Full> {
        let limits = &self.shared.limits;
        let over = limits.over(added);
        if over > 0 {
            self.relieve(over);
            self.drop_oldest(limits.over(added));
        }
        if limits.over(added) > 0 {
            return Err(limits.too_many_bytes());
        }
        Ok(())
    }

    /// Appends an event that was numbered already; nobody is told yet.
    pub(super) fn append_at(&self, position: u64, frame: Frame, alias: Option<Arc<str>>) {
        self.push(&mut self.kept(), position, frame, alias);
    }

    fn relieve(&self, over: usize) {
        let limits = &self.shared.limits;
        self.shared.known.relieve(over, limits.most_bytes());
        // The newest is always kept, or its readers could not get it.
        self.drop_oldest(limits.over(0));
    }

    /// Lets go of at least so many bytes, the newest event excepted; how many it were.
    pub(super) fn drop_oldest(&self, bytes: usize) -> usize {
        if bytes == 0 {
            return 0;
        }
        let freed = self.kept().log.drop_oldest(bytes);
        self.shared.limits.weigh(0, freed);
        freed
    }

    /// Bytes kept.
    pub(super) fn bytes(&self) -> usize {
        self.kept().log.bytes()
    }

    /// Puts an event into the log; how many bytes all streams together keep too many.
    fn push(&self, kept: &mut Kept, position: u64, frame: Frame, alias: Option<Arc<str>>) -> usize {
        let limits = &self.shared.limits;
        let before = kept.log.bytes();
        kept.log.push(self.shared.now_ms(), position, frame, alias);
        let after = kept.log.bytes();
        let over = limits.weigh(after.saturating_sub(before), before.saturating_sub(after));
        self.tip.last.rise(position);
        self.shared.series.appended.inc();
        over
    }

    /// Nothing more will come. Readers get what there is, and then this end. Only the first call counts.
    pub fn close(self: &Arc<Self>, end: End) {
        self.kept().end.get_or_insert(end);
        self.tip.end();
        self.tell();
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<End> {
        self.kept().end
    }

    /// The id of its last event; position 0 before the first.
    pub fn last_id(&self) -> EventId {
        self.id(self.last())
    }

    /// What makes its ids its own.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How many subscriptions are open.
    pub fn readers(&self) -> usize {
        *self.readers.borrow()
    }

    /// Waits until nobody reads.
    pub async fn deserted(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self
            .readers
            .subscribe()
            .wait_for(|readers| *readers == 0)
            .await;
    }

    /// Waits until somebody reads.
    pub async fn joined(&self) {
        let _ = self
            .readers
            .subscribe()
            .wait_for(|readers| *readers > 0)
            .await;
    }

    /// Lets go of events that are too old.
    pub fn evict_old(&self) {
        let freed = self.kept().log.evict(self.shared.now_ms());
        if freed > 0 {
            self.shared.limits.weigh(0, freed);
        }
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.kept().log.is_empty()
    }

    pub(super) fn rules(&self) -> &StreamRules {
        &self.rules
    }

    pub(super) fn shown_ids(&self) -> Ids {
        self.rules.ids
    }

    pub(super) fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn id(&self, position: u64) -> EventId {
        EventId {
            epoch: self.epoch,
            position,
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.tip.last.get()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.tip.has_ended()
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ring(&self, worker: usize) -> &Ring {
        &self.rings[worker]
    }

    /// Adds a reader; its place in the ring.
    pub(super) fn enter(&self, reader: Arc<Reader>) -> usize {
        let ring = self.ring(reader.worker);
        let key = ring.readers().insert(reader);
        ring.ear.enter();
        self.readers.send_modify(|readers| *readers += 1);
        key
    }

    /// Takes a reader out.
    pub(super) fn leave(&self, worker: usize, key: usize) {
        let ring = self.ring(worker);
        // Dropped after the lock: what its waker holds may lead back here.
        let reader = ring.take(key);
        ring.ear.leave();
        self.readers.send_modify(|readers| *readers -= 1);
        drop(reader);
    }

    /// Has the heralds look for parked readers.
    pub(super) fn tell(self: &Arc<Self>) {
        for (worker, ring) in self.rings.iter().enumerate() {
            if ring.ear.is_to_ring() {
                self.shared.bells[worker].ring(self.clone());
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.known.remove(self.place);
        let kept = self.kept.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.shared.limits.weigh(0, kept.log.bytes());
    }
}
