//! The part of a subscription that its stream knows: where it stands, and how to reach it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::parking::Seat;
use super::stream::Stream;
use crate::delivery::{Encoding, Framing, Socket};

/// A client's connection that events may be written to directly, past the HTTP server.
#[derive(Debug, Clone)]
pub struct Outlet {
    /// The connection.
    pub socket: Arc<Socket>,
    /// How its body is framed.
    pub framing: Framing,
    /// How its events are written.
    pub encoding: Encoding,
}

/// A stream that a reader reads.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) stream: Arc<Stream>,
    /// Its place in the stream's ring.
    pub(super) key: usize,
    /// Events up to here it does not get: it did not ask for them, or was told that they are gone.
    pub(super) from: u64,
}

impl Joined {
    /// Whether there may be anything new in it for a reader at `position`.
    pub(super) fn has_news(&self, position: u64) -> bool {
        self.stream.last() > position.max(self.from)
    }
}

/// What the herald has written for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Events.
    pub events: u64,
    /// Bytes, without framing.
    pub bytes: u64,
    /// When it last wrote, in milliseconds on the hub's clock.
    pub at_ms: u64,
}

/// A subscription, as its streams see it.
#[derive(Debug)]
pub(super) struct Reader {
    /// The worker whose thread reads it.
    pub(super) worker: usize,
    /// The last event it has.
    position: AtomicU64,
    pub(super) seat: Seat,
    pub(super) outlet: OnceLock<Outlet>,
    /// What it reads. More than one are topics, numbered together.
    joined: Mutex<Vec<Joined>>,
    /// Whether it reads more than one.
    pub(super) many: AtomicBool,
    /// Whether it has got anything yet.
    began: AtomicBool,
    /// Events written past the server.
    events: AtomicU64,
    /// Bytes written past the server, without framing.
    bytes: AtomicU64,
    /// When that was last done, in milliseconds since the hub began.
    written_ms: AtomicU64,
}

impl Reader {
    pub(super) fn new(worker: usize, position: u64) -> Self {
        Self {
            worker,
            position: AtomicU64::new(position),
            seat: Seat::new(),
            outlet: OnceLock::new(),
            joined: Mutex::new(Vec::new()),
            many: AtomicBool::new(false),
            began: AtomicBool::new(false),
            events: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            written_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// It has what there is up to `position`.
    pub(super) fn move_to(&self, position: u64) {
        self.pass_to(position);
        self.began.store(true, Ordering::Relaxed);
    }

    /// There was nothing for it up to `position`.
    pub(super) fn pass_to(&self, position: u64) {
        self.position.store(position, Ordering::Release);
    }

    pub(super) fn has_read(&self) -> bool {
        self.began.load(Ordering::Relaxed)
    }

    pub(super) fn joined(&self) -> MutexGuard<'_, Vec<Joined>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was written past the server.
    pub(super) fn count(&self, events: u64, bytes: usize, now_ms: u64) {
        // One thread writes: an addition in two steps is enough, and costs no locked instruction.
        let total = self.events.load(Ordering::Relaxed) + events;
        self.events.store(total, Ordering::Relaxed);
        let total = self.bytes.load(Ordering::Relaxed) + bytes as u64;
        self.bytes.store(total, Ordering::Relaxed);
        self.written_ms.store(now_ms, Ordering::Relaxed);
    }

    /// What was written past the server so far.
    pub(super) fn written(&self) -> Written {
        Written {
            events: self.events.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            at_ms: self.written_ms.load(Ordering::Relaxed),
        }
    }
}
