//! What is kept of a stream: its newest events in memory, and the contract for keeping more.
//!
//! A [`Log`] is the tail that readers follow, always in memory. A [`Store`] numbers the events of topics, may keep them
//! for longer than a process lives, and hands them back in the order of their numbers, to the [`Tail`]: what
//! readers see is what the store has. The one here, [`Memory`], numbers them and keeps nothing.
//!
//! None of them has a clock or a runtime: time comes in as milliseconds on any clock that does not go back, and
//! answers that take time are futures.

mod log;

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;

pub use log::{Entry, Limits, Log, Missed, Read, cost_of};

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
    /// The event.
    pub frame: Frame,
    /// The id that the backend or the publisher gave to it.
    pub alias: Option<Arc<str>>,
}

/// Where a store hands the events of topics, in the order of their numbers and each once: those that were
/// published here, and those that were published elsewhere.
pub trait Tail: Send + Sync {
    /// The next event: `position` is above all before, whatever their topics.
    fn push(&self, key: &StreamKey, position: u64, event: Unnumbered);
}

/// Why a store could not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the store could not {what} the stream {stream}: {why}")]
pub struct StoreFault {
    /// The attempt: "append to".
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

/// Numbers the events of topics, and may keep them.
///
/// All topics of a store share one numbering, so that one position is a place in any set of them.
pub trait Store: Send + Sync + fmt::Debug {
    /// The numbering. One that goes on after a restart keeps its epoch.
    fn epoch(&self) -> Epoch;

    /// Takes events, all or none, and gives the position of the first; the others follow without a gap. By the time of
    /// the answer they were handed to `tail`.
    fn append(&self, key: &StreamKey, events: Vec<Unnumbered>, tail: &Arc<dyn Tail>)
    -> Answer<u64>;
}

/// A store that numbers and keeps nothing: what a stream's [`Log`] has is all there is.
#[derive(Debug)]
pub struct Memory {
    epoch: Epoch,
    /// The last position given. Held while events are handed on: that is what keeps their order.
    last: Mutex<u64>,
}

impl Memory {
    /// A store that numbers from one, under an epoch that no other run has.
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            last: Mutex::new(0),
        }
    }
}

impl Store for Memory {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn append(
        &self,
        key: &StreamKey,
        events: Vec<Unnumbered>,
        tail: &Arc<dyn Tail>,
    ) -> Answer<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *last + 1;
        for event in events {
            *last += 1;
            tail.push(key, *last, event);
        }
        Answer::Ready(Ok(first))
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
