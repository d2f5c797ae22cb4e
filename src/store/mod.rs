//! What is kept of a stream: its newest events in memory, and the contract for keeping more.
//!
//! A [`Log`] is the tail that readers follow. A [`Store`] numbers the events of named streams and
//! may keep them for longer than a process lives; the one here, [`Memory`], numbers them and keeps
//! nothing. Neither has a clock, a runtime or a lock: time comes in as milliseconds on any clock
//! that does not go back, and answers that take time are futures.

mod log;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

pub use log::{Entry, Limits, Log, Missed, Read};

use crate::sse::{Epoch, Frame};

/// The name of a stream in its store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamKey(Arc<str>);

impl StreamKey {
    /// The key of this text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An event that its store has yet to number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unnumbered {
    /// When it came, in milliseconds on the clock of the store's owner.
    pub at_ms: u64,
    /// The event.
    pub frame: Frame,
    /// The id that the backend or the publisher gave to it.
    pub alias: Option<Arc<str>>,
}

/// How a store numbers a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// The numbering. Streams of one store may share it.
    pub epoch: Epoch,
    /// The last position that was given out in it; zero if none was.
    pub last: u64,
}

/// Why a store could not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the store could not {what} the stream {stream}: {why}")]
pub struct StoreFault {
    /// The attempt: "open", "append to" or "read".
    pub what: &'static str,
    /// The key of the stream.
    pub stream: String,
    /// The store's own words.
    pub why: String,
}

/// An answer that takes time.
pub type Later<T> = Pin<Box<dyn Future<Output = Result<T, StoreFault>> + Send>>;

/// A store's answer: at once from memory, later from anything that has to be waited for.
pub enum Answer<T> {
    /// The answer is here.
    Ready(Result<T, StoreFault>),
    /// The answer comes.
    Later(Later<T>),
}

impl<T> Answer<T> {
    /// The answer, once it is here.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn wait(self) -> Result<T, StoreFault> {
        match self {
            Self::Ready(answer) => answer,
            Self::Later(answer) => answer.await,
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(answer) => f.debug_tuple("Ready").field(answer).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// Numbers the events of streams, and may keep them.
pub trait Store: Send + Sync {
    /// The numbering of a stream, before its first event is appended by this process.
    fn open(&self, key: &StreamKey) -> Answer<Opened>;

    /// Takes an event, and gives its position: greater than all before in the same numbering.
    fn append(&self, key: &StreamKey, event: Unnumbered) -> Answer<u64>;

    /// Events of a stream behind `after`, as many as have `most` bytes in their frames, and at
    /// least one if the store has any. Asked where a [`Log`] says that a reader has missed events;
    /// those that are not in this answer are missed for good.
    fn read(&self, key: &StreamKey, after: u64, most: usize) -> Answer<Read>;

    /// Lets go of a stream and of all that is kept of it. Its positions are not given out again.
    fn forget(&self, key: &StreamKey);
}

/// A store that numbers and keeps nothing: what a stream's [`Log`] has is all there is.
///
/// All its streams share one numbering, so that one position is a place in any set of them.
#[derive(Debug)]
pub struct Memory {
    epoch: Epoch,
    last: AtomicU64,
}

impl Memory {
    /// A store that numbers from one, under an epoch that no other run has.
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            last: AtomicU64::new(0),
        }
    }
}

impl Store for Memory {
    fn open(&self, _: &StreamKey) -> Answer<Opened> {
        Answer::Ready(Ok(Opened {
            epoch: self.epoch,
            last: self.last.load(Ordering::Acquire),
        }))
    }

    fn append(&self, _: &StreamKey, _: Unnumbered) -> Answer<u64> {
        Answer::Ready(Ok(self.last.fetch_add(1, Ordering::AcqRel) + 1))
    }

    fn read(&self, _: &StreamKey, _: u64, _: usize) -> Answer<Read> {
        Answer::Ready(Ok(Read::default()))
    }

    fn forget(&self, _: &StreamKey) {}
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
