//! The part of a subscription that its stream knows: where it stands, and how to reach it.
//!
//! # Parking
//!
//! A reader is parked when it has read all there is. It then says so and looks at its streams once more; an
//! appender moves the stream's end and then has the parked readers looked for. Whichever comes second sees the
//! other: all four steps are sequentially consistent. So a reader that sleeps has nothing to read, or a herald on
//! its way to it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

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
    /// Events up to here are gone, and the reader was told.
    pub(super) reported: u64,
}

/// A subscription, as its streams see it.
#[derive(Debug)]
pub(super) struct Reader {
    /// The worker whose thread reads it.
    pub(super) worker: usize,
    /// The last event it has.
    position: AtomicU64,
    parked: AtomicBool,
    waker: Mutex<Option<Waker>>,
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
            parked: AtomicBool::new(false),
            waker: Mutex::new(None),
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

    pub(super) fn move_to(&self, position: u64) {
        self.position.store(position, Ordering::Release);
        self.began.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_read(&self) -> bool {
        self.began.load(Ordering::Relaxed)
    }

    pub(super) fn joined(&self) -> MutexGuard<'_, Vec<Joined>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_parked(&self) -> bool {
        self.parked.load(Ordering::SeqCst)
    }

    /// Says that there is nothing to read, and whom to wake when there is.
    pub(super) fn park(&self, waker: &Waker) {
        let mut known = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
        drop(known);
        self.parked.store(true, Ordering::SeqCst);
    }

    pub(super) fn unpark(&self) {
        self.parked.store(false, Ordering::SeqCst);
    }

    /// Has the reader read by itself.
    pub(super) fn wake(&self) {
        self.unpark();
        let waker = self
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(waker) = waker {
            waker.wake();
        }
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
