//! When all streams together keep too much: who gives way.
//!
//! What nobody reads gives way first, and of that what has ended; then whatever keeps most. Each keeps its newest
//! event. More is let go than is asked for, so that it is not done for every event at the bound.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use slab::Slab;

use super::stream::Stream;

/// The share of the bound that is let go beyond what is needed.
const SPARE: usize = 16;

/// All streams there are.
#[derive(Debug, Default)]
pub(super) struct Known {
    streams: Mutex<Slab<Weak<Stream>>>,
    /// Held while room is made: one at a time is enough.
    relieving: Mutex<()>,
}

impl Known {
    /// Adds a stream; its place.
    pub(super) fn add(&self, stream: &Weak<Stream>) -> usize {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.insert(stream.clone())
    }

    /// Takes a stream out.
    pub(super) fn remove(&self, place: usize) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.try_remove(place);
    }

    /// Lets go of at least `over` bytes where there are as many to be let go, of the `most` there may be. To be called without a lock on
    /// any stream.
    pub(super) fn relieve(&self, over: usize, most: usize) {
        let Ok(_one) = self.relieving.try_lock() else {
            return;
        };
        let mut left = over + most / SPARE;
        let mut streams: Vec<_> = self
            .all()
            .into_iter()
            .map(|stream| (rank(&stream), stream))
            .collect();
        streams.sort_by_key(|(rank, _)| *rank);
        for ((class, Reverse(bytes)), stream) in streams {
            // Of what is read no stream gives all at once, and the next time it may be another's turn.
            let part = if class == Class::Read {
                bytes / 2
            } else {
                bytes
            };
            left = left.saturating_sub(stream.drop_oldest(part.min(left)));
            if left == 0 {
                return;
            }
        }
    }

    fn all(&self) -> Vec<Arc<Stream>> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams
            .iter()
            .filter_map(|(_, stream)| stream.upgrade())
            .collect()
    }
}

/// Who gives way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// It has ended, and nobody reads it.
    Ended,
    /// Nobody reads it.
    Unread,
    /// Somebody reads it.
    Read,
}

fn rank(stream: &Stream) -> (Class, Reverse<usize>) {
    let class = match (stream.readers() > 0, stream.has_ended()) {
        (true, _) => Class::Read,
        (false, true) => Class::Ended,
        (false, false) => Class::Unread,
    };
    (class, Reverse(stream.bytes()))
}
