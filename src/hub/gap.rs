//! What a reader is told that can no longer get what it asks for.

use std::sync::Arc;

use crate::sse::EventId;

/// Why there is a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// The events were evicted.
    Evicted,
    /// The id is of another epoch: of another stream, or from before a restart.
    Epoch,
    /// No event of this id is known.
    Unknown,
    /// The id is of an event that has not been.
    Ahead,
}

impl GapReason {
    /// The word that readers get.
    pub fn word(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Epoch => "epoch",
            Self::Unknown => "unknown",
            Self::Ahead => "ahead",
        }
    }
}

/// Events a cursor can no longer get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// The last event the reader had; none where its id says nothing here.
    pub after: Option<EventId>,
    /// The last event that is missing; none where nothing is known to be.
    pub through: Option<EventId>,
    /// How many are missing, where that is known.
    pub missed: Option<u64>,
    /// The topic they belong to.
    pub topic: Option<Arc<str>>,
    /// The id to resume after, once this was read.
    pub id: EventId,
}
