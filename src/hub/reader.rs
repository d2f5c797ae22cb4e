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
    pub(super) fn count(&self, events: u64, bytes: usize) {
        // One thread writes: an addition in two steps is enough, and costs no locked instruction.
        let total = self.events.load(Ordering::Relaxed) + events;
        self.events.store(total, Ordering::Relaxed);
        let total = self.bytes.load(Ordering::Relaxed) + bytes as u64;
        self.bytes.store(total, Ordering::Relaxed);
    }

    /// Events and bytes written past the server so far.
    pub(super) fn written(&self) -> (u64, u64) {
        let events = self.events.load(Ordering::Relaxed);
        (events, self.bytes.load(Ordering::Relaxed))
    }
}
