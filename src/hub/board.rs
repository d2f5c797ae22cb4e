//! Topics: streams with a name, numbered together.
//!
//! One numbering for all topics makes an id say how far a reader of any set of them has come. The store gives the
//! numbers and hands the events back in their order; each goes into its topic's log, and the *watermark* rises after
//! that: whoever reads up to the watermark has missed nothing below it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use slab::Slab;

use super::Shared;
use super::limits::{Full, StreamSlot};
use super::parking::Mark;
use super::reader::Reader;
use super::stream::{Stream, StreamRules};
use super::subscription::{self, From, Subscription};
use crate::config::{Ids, Topic, TopicPattern, TopicRules};
use crate::sse::{Epoch, EventId};
use crate::store::{Store, StoreFault, StreamKey, Tail, Unnumbered, cost_of};

/// How long the answer to a producer's key is known, in milliseconds.
const PRODUCER_MS: u64 = 10 * 60 * 1000;
/// Most producers' keys that are known at once; beyond it the oldest are forgotten.
const PRODUCERS: usize = 100_000;
/// Most forgotten topics whose last event is known of each; beyond it, only of all together.
const FORGOTTEN: usize = 10_000;

/// What tells one publication from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// A hash over who publishes, where, and the key shown.
    pub key: [u8; 32],
    /// A hash over what is published: a key stands for that alone.
    pub content: [u8; 32],
}

/// Why nothing was published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishFault {
    /// No room.
    #[error(transparent)]
    Full(#[from] Full),
    /// The same publication, by its key, has not been answered yet.
    #[error("the same publication is under way")]
    UnderWay,
    /// Its key was used for something else.
    #[error("the key was used for another publication")]
    Reused,
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// All topics, and the store that numbers their events.
#[derive(Debug)]
pub struct Topics {
    store: Arc<dyn Store>,
    tails: Arc<Tails>,
}

/// The logs of all topics: what the store hands back goes there.
#[derive(Debug)]
struct Tails {
    shared: Arc<Shared>,
    rules: Vec<Arc<TopicRules>>,
    epoch: Epoch,
    watermark: Arc<Mark>,
    board: Arc<Mutex<Board>>,
}

impl Tail for Tails {
    fn push(&self, key: &StreamKey, position: u64, event: Unnumbered) {
        let mut board = lock(&self.board);
        let stream = Topic::new(key.as_str())
            .ok()
            .and_then(|topic| self.stream(&mut board, &topic).ok());
        // Whoever publishes holds the stream, so that it is there; of what comes from elsewhere nobody reads, there may
        // be no place for it.
        if let Some(stream) = &stream {
            stream.append_at(position, event.frame, event.alias);
        }
        self.watermark.rise(position);
        drop(board);
        if let Some(stream) = stream {
            stream.tell();
        }
    }
}

#[derive(Debug, Default)]
struct Board {
    topics: HashMap<Topic, Named>,
    watching: Slab<Weak<Watching>>,
    producers: HashMap<[u8; 32], Produced>,
    /// The same keys with the time they came, oldest first.
    produced: VecDeque<(u64, [u8; 32])>,
    forgotten: Forgotten,
}

/// What became of a publication with a key.
#[derive(Debug, Clone, Copy)]
struct Produced {
    content: [u8; 32],
    /// None while it is under way.
    published: Option<Published>,
}

/// What one publication was numbered.
#[derive(Debug, Clone, Copy)]
struct Published {
    /// The position of its first event.
    first: u64,
    events: u64,
}

impl Published {
    fn ids(self, epoch: Epoch) -> Vec<EventId> {
        let positions = self.first..self.first + self.events;
        positions
            .map(|position| EventId { epoch, position })
            .collect()
    }
}

/// Up to where topics had events that are not there any more.
#[derive(Debug, Default)]
struct Forgotten {
    topics: HashMap<Topic, u64>,
    /// No other topic had an event beyond this.
    others: u64,
}

impl Forgotten {
    fn add(&mut self, topic: &Topic, last: u64) {
        if last <= self.others {
            return;
        }
        if self.topics.len() == FORGOTTEN {
            self.others = self.topics.drain().map(|(_, last)| last).max().unwrap_or(0);
        }
        self.topics.insert(topic.clone(), last);
    }

    /// Up to where `topic` may have had events, which is there again from now on.
    fn take(&mut self, topic: &Topic) -> u64 {
        self.topics.remove(topic).unwrap_or(0).max(self.others)
    }

    /// Up to where topics that one of `patterns` means may have had events.
    fn through(&self, patterns: &[TopicPattern]) -> u64 {
        if patterns.is_empty() {
            return 0;
        }
        let known = self.topics.iter();
        let meant =
            known.filter(|(topic, _)| patterns.iter().any(|pattern| pattern.matches(topic)));
        meant.map(|(_, last)| *last).fold(self.others, u64::max)
    }
}

#[derive(Debug)]
struct Named {
    stream: Arc<Stream>,
    /// Milliseconds since the start when it was last published or subscribed to.
    used_ms: u64,
}

impl Named {
    /// Whether nobody reads it, nor is about to.
    fn is_free(&self) -> bool {
        self.stream.readers() == 0 && Arc::strong_count(&self.stream) == 1
    }
}

/// A subscription's interest in topics that are not there yet.
#[derive(Debug)]
pub(super) struct Watching {
    /// Its place on the board.
    place: usize,
    patterns: Vec<TopicPattern>,
    reader: OnceLock<Arc<Reader>>,
    board: Arc<Mutex<Board>>,
}

impl Watching {
    /// New topics are joined to `reader` from now on. Called while the board is locked.
    pub(super) fn begin(&self, reader: &Arc<Reader>) {
        // Set once, where it was made.
        let _ = self.reader.set(reader.clone());
    }

    /// No more topics are joined once this returns.
    pub(super) fn end(&self) {
        lock(&self.board).watching.try_remove(self.place);
    }

    fn wants(&self, topic: &Topic) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(topic))
    }
}

impl Topics {
    pub(super) fn new(
        shared: Arc<Shared>,
        rules: Vec<Arc<TopicRules>>,
        store: Arc<dyn Store>,
    ) -> Self {
        let tails = Tails {
            shared,
            rules,
            epoch: store.epoch(),
            watermark: Arc::new(Mark::new(0)),
            board: Arc::default(),
        };
        Self {
            store,
            tails: Arc::new(tails),
        }
    }

    /// Publishes `events` to `topic`, all or none; their ids. With a `producer` whose key is known, nothing is
    /// published again, and the ids are those of the first time.
    ///
    /// # Errors
    ///
    /// [`PublishFault`]: nothing was published then.
    pub async fn publish(
        &self,
        topic: &Topic,
        events: Vec<Unnumbered>,
        producer: Option<Producer>,
    ) -> Result<Vec<EventId>, PublishFault> {
        let tails = &self.tails;
        if let Some(published) = producer.map_or(Ok(None), |producer| tails.claim(producer))? {
            return Ok(published.ids(tails.epoch));
        }
        let mut claim = Claim {
            tails,
            producer,
            published: None,
        };
        let count = events.len() as u64;
        // Held until the answer is there: a topic in use is not forgotten.
        let _stream = tails.prepare(topic, &events)?;
        let tail: Arc<dyn Tail> = tails.clone();
        let key = StreamKey::new(topic.as_str());
        let first = self.store.append(&key, events, &tail).wait().await?;
        let published = Published {
            first,
            events: count,
        };
        claim.published = Some(published);
        Ok(published.ids(tails.epoch))
    }

    /// Subscribes to every topic that one of `patterns` means, in the thread of `worker`.
    ///
    /// # Errors
    ///
    /// [`Full`] when a topic is not there yet and there are as many streams as there may be.
    pub fn subscribe(
        &self,
        worker: usize,
        patterns: &[TopicPattern],
        from: &From,
    ) -> Result<Subscription, Full> {
        self.tails.subscribe(worker, patterns, from)
    }

    /// The id of the last event of any topic.
    pub fn last_id(&self) -> EventId {
        EventId {
            epoch: self.tails.epoch,
            position: self.tails.watermark.get(),
        }
    }

    /// Lets go of old events, of topics that nobody used for long, and of old producers' keys.
    pub(super) fn sweep(&self) {
        self.tails.sweep();
    }

    /// Gives the places back of topics that hold nothing and that nobody reads; false if there is none. Nothing is
    /// lost with them, and whoever asks for a name may make one.
    pub(super) fn make_room(&self) -> bool {
        lock(&self.tails.board).forget_empty()
    }
}

/// A producer's key while its publication is under way. What became of it is known from then on; if it failed, it
/// may be tried again.
struct Claim<'t> {
    tails: &'t Tails,
    producer: Option<Producer>,
    published: Option<Published>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(producer) = self.producer {
            let now = self.tails.shared.now_ms();
            lock(&self.tails.board).settle(producer, self.published, now);
        }
    }
}

impl Tails {
    /// Claims a producer's key for a publication that begins; what was published under it, if anything was.
    fn claim(&self, producer: Producer) -> Result<Option<Published>, PublishFault> {
        match lock(&self.board).producers.entry(producer.key) {
            Entry::Occupied(known) if known.get().content != producer.content => {
                Err(PublishFault::Reused)
            }
            Entry::Occupied(known) => {
                let published = known.get().published;
                published.map(Some).ok_or(PublishFault::UnderWay)
            }
            Entry::Vacant(place) => {
                place.insert(Produced {
                    content: producer.content,
                    published: None,
                });
                Ok(None)
            }
        }
    }

    /// The stream of `topic`, with room for `events`.
    fn prepare(&self, topic: &Topic, events: &[Unnumbered]) -> Result<Arc<Stream>, Full> {
        let stream = self.stream(&mut lock(&self.board), topic)?;
        let cost = |event: &Unnumbered| cost_of(&event.frame, event.alias.as_deref());
        stream.make_room(events.iter().map(cost).sum())?;
        Ok(stream)
    }

    fn subscribe(
        &self,
        worker: usize,
        patterns: &[TopicPattern],
        from: &From,
    ) -> Result<Subscription, Full> {
        let mut board = lock(&self.board);
        let mut streams: Vec<Arc<Stream>> = Vec::new();
        let mut open = Vec::new();
        for pattern in patterns {
            match pattern.single() {
                Some(topic) => {
                    let stream = self.stream(&mut board, &topic)?;
                    if !is_among(&streams, &stream) {
                        streams.push(stream);
                    }
                }
                None => open.push(pattern.clone()),
            }
        }
        let single = streams.len();
        for (topic, named) in &board.topics {
            let is_meant = open.iter().any(|pattern| pattern.matches(topic));
            if is_meant && !is_among(&streams[..single], &named.stream) {
                streams.push(named.stream.clone());
            }
        }
        let forgotten = board.forgotten.through(&open);
        let watching = (!open.is_empty()).then(|| {
            let place = board.watching.vacant_entry();
            let watching = Arc::new(Watching {
                place: place.key(),
                patterns: open,
                reader: OnceLock::new(),
                board: self.board.clone(),
            });
            place.insert(Arc::downgrade(&watching));
            watching
        });
        let numbering = subscription::Numbering {
            epoch: self.epoch,
            watermark: self.watermark.clone(),
            watching,
            forgotten,
        };
        let begun = Subscription::begin((&self.shared, worker), streams, from, Some(numbering));
        drop(board);
        Ok(begun)
    }

    fn sweep(&self) {
        let mut board = lock(&self.board);
        let now = self.shared.now_ms();
        for named in board.topics.values_mut() {
            named.stream.evict_old();
            if named.stream.readers() > 0 {
                named.used_ms = now;
            }
        }
        board.forget(|named| {
            let age = named.stream.rules().history.age;
            let idle = Duration::from_millis(now.saturating_sub(named.used_ms));
            named.stream.is_empty() && idle > age
        });
        board.forget_producers(now.saturating_sub(PRODUCER_MS));
    }

    /// The stream of `topic`, made where it is not there.
    fn stream(&self, board: &mut Board, topic: &Topic) -> Result<Arc<Stream>, Full> {
        let now = self.shared.now_ms();
        if let Some(named) = board.topics.get_mut(topic) {
            named.used_ms = now;
            return Ok(named.stream.clone());
        }
        let stream = match self.make(board, topic) {
            Ok(stream) => stream,
            Err(full) => {
                // Whatever was used last stays longest; whoever comes back to a forgotten one is told of a gap.
                if !board.forget_empty() && !board.forget_idlest() {
                    return Err(full);
                }
                self.make(board, topic)?
            }
        };
        board.topics.insert(
            topic.clone(),
            Named {
                stream: stream.clone(),
                used_ms: now,
            },
        );
        // Whoever watches for it was told at its beginning of what it may have had, or did not ask.
        let had = stream.last();
        let watching = board
            .watching
            .iter()
            .filter_map(|(_, watching)| watching.upgrade());
        for watching in watching.filter(|watching| watching.wants(topic)) {
            if let Some(reader) = watching.reader.get() {
                subscription::join(reader, stream.clone(), had);
            }
        }
        Ok(stream)
    }

    fn make(&self, board: &mut Board, topic: &Topic) -> Result<Arc<Stream>, Full> {
        let rules = self.rules.iter().find(|rules| rules.pattern.matches(topic));
        let rules = rules.unwrap_or_else(|| TopicRules::fallback());
        let rules = StreamRules {
            history: rules.history,
            slow: rules.slow,
            start: rules.start,
            ids: Ids::Backend,
        };
        let name = Some(topic.as_str().into());
        let slot = StreamSlot::take(&self.shared)?;
        let had = board.forgotten.take(topic);
        Ok(Stream::named(slot, rules, (self.epoch, had), name))
    }
}

impl Board {
    /// Forgets the topics that nobody reads and that are `idle`.
    fn forget(&mut self, idle: impl Fn(&Named) -> bool) {
        let forgotten = &mut self.forgotten;
        self.topics.retain(|topic, named| {
            let keep = !named.is_free() || !idle(named);
            if !keep {
                forgotten.add(topic, named.stream.last());
            }
            keep
        });
    }

    /// Forgets the topics that hold nothing and that nobody reads, whenever they were used; false if there is none.
    fn forget_empty(&mut self) -> bool {
        let before = self.topics.len();
        self.forget(|named| named.stream.is_empty());
        self.topics.len() < before
    }

    /// Forgets the topic that was used longest ago, of those that nobody reads; false if there is none.
    fn forget_idlest(&mut self) -> bool {
        let free = self.topics.values().filter(|named| named.is_free());
        let Some(oldest) = free.map(|named| named.used_ms).min() else {
            return false;
        };
        self.forget(|named| named.used_ms <= oldest);
        true
    }

    /// Keeps what became of a publication; nothing where it failed.
    fn settle(&mut self, producer: Producer, published: Option<Published>, now: u64) {
        let Producer { key, content } = producer;
        if published.is_none() {
            self.producers.remove(&key);
            return;
        }
        if self.produced.len() == PRODUCERS
            && let Some((_, oldest)) = self.produced.pop_front()
        {
            self.producers.remove(&oldest);
        }
        self.producers.insert(key, Produced { content, published });
        self.produced.push_back((now, key));
    }

    fn forget_producers(&mut self, before: u64) {
        while let Some((_, key)) = self.produced.pop_front_if(|(at, _)| *at < before) {
            self.producers.remove(&key);
        }
    }
}

fn is_among(streams: &[Arc<Stream>], stream: &Arc<Stream>) -> bool {
    streams.iter().any(|known| Arc::ptr_eq(known, stream))
}

fn lock(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}
