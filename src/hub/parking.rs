//! The moment of parking: how a reader that sleeps is never forgotten.
//!
//! ```text
//! appender                     herald               reader
//! Mark::rise                                        Seat::park
//! ── fence ──                                       ── fence ──
//! Ear::is_to_ring, Bell::ring ──► Ear::heed         Mark::get
//!                                 Seat::is_parked
//! ```
//!
//! A reader is parked when it has read all there is. It then says so, and looks at its stream's end once
//! more. An appender moves that end, and then has the parked readers looked for. Each writes, passes a
//! sequentially consistent fence, and reads what the other writes, the appender by the herald that it tells:
//! whoever passes the fence second sees what the other wrote. So a reader that sleeps has nothing to read, or a
//! herald on its way to it. The same holds of a reader that enters while an appender counts whom to tell.
//!
//! This file stands alone: `tests/parking` compiles it once more and tries every order of these steps.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(loom))]
use std::sync::{Mutex, MutexGuard};

/// A position that only rises.
#[derive(Debug)]
pub(super) struct Mark(AtomicU64);

impl Mark {
    pub(super) fn new(position: u64) -> Self {
        Self(AtomicU64::new(position))
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// To be called by one thread at a time.
    pub(super) fn rise(&self, position: u64) {
        self.0.store(position, Ordering::Release);
    }
}

/// How far a stream has come.
#[derive(Debug)]
pub(super) struct Tip {
    /// The position of its last event.
    pub(super) last: Mark,
    ended: AtomicBool,
}

impl Tip {
    pub(super) fn new(last: u64) -> Self {
        Self {
            last: Mark::new(last),
            ended: AtomicBool::new(false),
        }
    }

    /// Nothing more will come.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// Where a reader waits.
#[derive(Debug)]
pub(super) struct Seat {
    parked: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Seat {
    pub(super) fn new() -> Self {
        Self {
            parked: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// Says that there is nothing to read, and whom to wake when there is. The reader looks once more after this.
    pub(super) fn park(&self, waker: &Waker) {
        let mut known = lock(&self.waker);
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
        drop(known);
        self.parked.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    pub(super) fn unpark(&self) {
        self.parked.store(false, Ordering::Release);
    }

    pub(super) fn is_parked(&self) -> bool {
        self.parked.load(Ordering::Acquire)
    }

    /// Has the reader read by itself.
    pub(super) fn wake(&self) {
        self.unpark();
        let waker = lock(&self.waker).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// What a stream knows of a worker: whether anybody reads it there, and whether the herald was told.
#[derive(Debug)]
pub(super) struct Ear {
    told: AtomicBool,
    readers: AtomicUsize,
}

impl Ear {
    pub(super) fn new() -> Self {
        Self {
            told: AtomicBool::new(false),
            readers: AtomicUsize::new(0),
        }
    }

    pub(super) fn enter(&self) {
        self.readers.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn leave(&self) {
        self.readers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether the bell is to be rung, now that the stream has something new.
    pub(super) fn is_to_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.readers.load(Ordering::Acquire) > 0 && !self.told.swap(true, Ordering::AcqRel)
    }

    /// The herald begins a round: whatever comes from now on is told anew.
    pub(super) fn heed(&self) {
        // Not a mere store: an appender may have found the herald told, and what it wrote is to be seen.
        self.told.swap(false, Ordering::AcqRel);
    }
}

/// Tells a herald what has something new.
#[derive(Debug)]
pub(super) struct Bell<T>(Mutex<Rung<T>>);

#[derive(Debug)]
struct Rung<T> {
    queue: VecDeque<T>,
    herald: Option<Waker>,
}

impl<T> Bell<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Rung {
            queue: VecDeque::new(),
            herald: None,
        }))
    }

    /// Says that `from` has something new. Whoever asks its [`Ear`] first is never queued twice.
    pub(super) fn ring(&self, from: T) {
        let mut rung = lock(&self.0);
        rung.queue.push_back(from);
        let herald = rung.herald.take();
        drop(rung);
        if let Some(herald) = herald {
            herald.wake();
        }
    }

    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<T> {
        let mut rung = lock(&self.0);
        match rung.queue.pop_front() {
            Some(from) => Poll::Ready(from),
            None => {
                rung.herald = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
