//! The herald of a worker: brings new events to the parked readers of its thread.
//!
//! A round goes over the readers of one stream. What they get is encoded once for all that stand at the same
//! place; each costs one write to its socket, and nothing is woken. Whoever cannot be served so is woken and
//! reads by itself.

use std::future::poll_fn;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};

use super::Shared;
use super::reader::{Outlet, Reader};
use super::stream::Stream;
use super::subscription::{BATCH, shown};
use crate::delivery::{self, Direct, Encoding, Framing, Item};

/// Readers served before others in the thread have their turn. A stream counts as one more.
const TURN: usize = 128;
/// Most places that readers of one round stand at, for all of them to be served from here.
const BATCHES: usize = 16;
/// A reader of more streams than this reads by itself: to know that none of them has anything older
/// would cost more than it saves.
const MANY: usize = 8;

/// Goes its rounds for ever.
pub(super) async fn run(shared: &Shared, worker: usize) {
    let mut left = TURN;
    loop {
        let stream = poll_fn(|cx| shared.bells[worker].poll_next(cx)).await;
        let mut round = Round::new(&stream, worker);
        let mut key = Some(0);
        while let Some(first) = key {
            key = round.serve(first, &mut left);
            if left == 0 {
                left = TURN;
                tokio::task::yield_now().await;
            }
        }
    }
}

/// What readers at one place get.
struct Batch {
    after: u64,
    through: u64,
    encoding: Encoding,
    framing: Framing,
    events: u64,
    /// Bytes without framing.
    size: usize,
    bytes: Bytes,
}

/// One round over the readers of a stream.
struct Round<'s> {
    stream: &'s Stream,
    worker: usize,
    /// The last event when the round began.
    last: u64,
    now_ms: u64,
    ended: bool,
    batches: Vec<Batch>,
}

impl<'s> Round<'s> {
    fn new(stream: &'s Stream, worker: usize) -> Self {
        // Before the end is looked at: whatever is appended from now on is told anew.
        stream.ring(worker).ear.heed();
        Self {
            stream,
            worker,
            last: stream.last(),
            now_ms: stream.shared().now_ms(),
            ended: stream.has_ended(),
            batches: Vec::new(),
        }
    }

    /// Serves readers from place `first` on, as long as some of the turn is `left`; where to go on, if there are
    /// more.
    fn serve(&mut self, first: usize, left: &mut usize) -> Option<usize> {
        let stream = self.stream;
        let readers = stream.ring(self.worker).readers();
        for key in first..readers.capacity() {
            if *left == 0 {
                return Some(key);
            }
            if let Some(reader) = readers.get(key).filter(|reader| reader.seat.is_parked()) {
                *left -= 1;
                self.bring(reader);
            }
        }
        *left = left.saturating_sub(1);
        None
    }

    fn bring(&mut self, reader: &Reader) {
        let position = reader.position();
        if position < self.last && !self.write(reader, position) {
            return reader.seat.wake();
        }
        if self.ended {
            reader.seat.wake();
        }
    }

    /// Writes what is new to the reader's socket; false where it has to read by itself.
    fn write(&mut self, reader: &Reader, position: u64) -> bool {
        let Some(outlet) = reader.outlet.get() else {
            return false;
        };
        if reader.many.load(Ordering::SeqCst) && !self.is_alone(reader, position) {
            return false;
        }
        let now_ms = self.now_ms;
        let Some(batch) = self.batch(position, outlet) else {
            return false;
        };
        let written = outlet.socket.write_direct(&batch.bytes);
        if written == Direct::Busy {
            return false;
        }
        reader.move_to(batch.through);
        reader.count(batch.events, batch.size, now_ms);
        written == Direct::Written && batch.through == self.last
    }

    /// Whether nothing older waits for the reader in its other streams. Numbers below the end of this stream, which was
    /// looked at before, were all given and their events are there.
    fn is_alone(&self, reader: &Reader, position: u64) -> bool {
        let joined = reader.joined();
        joined.len() <= MANY
            && joined.iter().all(|joined| {
                std::ptr::eq(&*joined.stream, self.stream) || !joined.has_news(position)
            })
    }

    /// The bytes for readers at `position`; none where events are missing, or not to be encoded at once.
    fn batch(&mut self, position: u64, outlet: &Outlet) -> Option<&Batch> {
        let fits = |batch: &Batch| {
            batch.after == position
                && batch.encoding == outlet.encoding
                && batch.framing == outlet.framing
        };
        if let Some(known) = self.batches.iter().position(fits) {
            return self.batches.get(known);
        }
        if self.batches.len() == BATCHES {
            return None;
        }
        let batch = self.encode(position, outlet)?;
        self.batches.push(batch);
        self.batches.last()
    }

    fn encode(&self, position: u64, outlet: &Outlet) -> Option<Batch> {
        let read = self.stream.kept().log.after(position, BATCH);
        if read.missed.is_some() {
            return None;
        }
        let upto = read
            .entries
            .iter()
            .take_while(|entry| entry.position <= self.last);
        let ids = (self.stream.epoch(), self.stream.shown_ids());
        let mut plain = BytesMut::new();
        let mut events = 0;
        let mut through = position;
        for entry in upto {
            let id = shown(ids, entry);
            let item = Item {
                id: &id,
                frame: &entry.frame,
            };
            delivery::encode(outlet.encoding, item, &mut plain);
            events += 1;
            through = entry.position;
        }
        if events == 0 {
            return None;
        }
        let size = plain.len();
        let bytes = match outlet.framing {
            Framing::Bare => plain.freeze(),
            Framing::Chunked => {
                let mut framed = BytesMut::new();
                delivery::chunk(&plain, &mut framed);
                framed.freeze()
            }
        };
        Some(Batch {
            after: position,
            through,
            encoding: outlet.encoding,
            framing: outlet.framing,
            events,
            size,
            bytes,
        })
    }
}
